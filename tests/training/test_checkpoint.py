from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.training import checkpoint, loop
from mobilenets.training.checkpoint import State


def test_state_and_tensors_come_back(tmp_path: Path) -> None:
    layer, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    state = State(epoch=2, step=3, sums={"loss": 0.1 + 0.2, "top1": 7}, seen=9, history=[{"epoch": 1, "lr": 1e-3}])
    checkpoint.save(tmp_path, state, {f"network.{name}": value for name, value in layer.state_dict().items()})
    assert checkpoint.peek(tmp_path) == state
    assert checkpoint.restore(tmp_path, other, "network.") == state
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("seen", [0, 5])
def test_half_an_epoch_of_an_earlier_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    def earlier(state: State) -> dict[str, Any]:
        return {k: v for k, v in asdict(state).items() if k != "sums"} | {"loss_sum": 2.5, "hits": 3, "scaler": {}}

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "asdict", earlier)
        checkpoint.save(tmp_path, State(epoch=1, step=int(seen > 0), seen=seen), {"a": torch.zeros(1)})
    assert checkpoint.peek(tmp_path).sums == ({"loss": 2.5, "top1": 3} if seen else {})


def test_a_checkpoint_within_an_epoch(begin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many seconds, so that little is lost when the machine goes down: here after every step."""
    kept: list[tuple[int, int]] = []
    save = checkpoint.save

    def noted(run: Path, state: checkpoint.State, tensors: Any) -> None:
        save(run, state, tensors)
        kept.append((state.epoch, checkpoint.peek(run).step))

    monkeypatch.setattr(checkpoint, "save", noted)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        training = begin("often", epochs=1)
        training.fit()
    steps = training.stage.steps_per_epoch
    assert steps == 4
    assert kept == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    # And not after each one that is made within that time.
    kept.clear()
    begin("seldom", epochs=1).fit()
    assert kept == [(1, 0)]
