"""``shrink``: latency first, then successive halving, and the export of the best that fits; stopped and taken up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mobilenets.cli import main
from mobilenets.models.network import Network
from mobilenets.runs.predictor import Predictor
from mobilenets.shrinking.latency import Timed
from mobilenets.verbs import shrink as verb
from mobilenets.verbs import shrink_end, shrink_train

A_MS = 1e6  # multiply-accumulates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a network take a millisecond for a million of its multiply-accumulates; gives what was timed untrained."""
    timed: list[str] = []

    def untrained(_: Any, wanted: Sequence[Any], classes: int, *__: Any) -> list[Timed]:
        timed.extend(f"{one.name}-{one.width:g}-{one.size} {precision}" for one, precision in wanted)
        plans = [(one.plan(classes), 0.5 if precision == "int8" else 1.0) for one, precision in wanted]
        return [Timed(1.0, 0), *(Timed(plan.macs / A_MS * share, 4 * plan.parameters) for plan, share in plans)]

    def milliseconds(networks: list[Network], *_: Any) -> list[float]:
        return [network.plan.macs / A_MS for network in networks]

    def anew(_: Any, points: Sequence[Any], __: float) -> list[Any]:
        return list(points)

    monkeypatch.setattr(verb, "time_all", untrained)
    monkeypatch.setattr(verb, "run_of", lambda *_: None)
    monkeypatch.setattr(verb, "onnx_file", lambda *_: b"")
    monkeypatch.setattr(shrink_train, "milliseconds", milliseconds)
    monkeypatch.setattr(shrink_train, "narrowed", lambda saved, *_: saved)
    monkeypatch.setattr(shrink_end, "timed_anew", anew)
    monkeypatch.setattr(shrink_end, "TRIED", 1)
    return timed


def stopping_after(count: int, real: Callable[..., Any]) -> Callable[..., Any]:
    left = iter(range(count))

    def train(*words: Any, **settings: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*words, **settings)

    return train


def test_from_the_command_line_stopped_and_taken_up(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: list[str]
) -> None:
    out = tmp_path / "small"
    command = ["shrink", str(trained.run), "--data", str(trained.data), "--candidates", "2", "--epochs", "1"]
    command += ["--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(shrink_train, "train_since", stopping_after(1, shrink_train.train_since))
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert not out.exists()
    lines = (tmp_path / "small-candidates" / "points.jsonl").read_bytes()
    count = len(clock)
    assert main([*command, "--within", "2MB"]) == 2 and "begun with another model" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    assert len(clock) == count  # nothing was timed again
    assert (tmp_path / "small-candidates" / "points.jsonl").read_bytes().startswith(lines)
    result = json.loads(capsys.readouterr().out)
    names = [point["name"] for point in result["points"]]
    assert "run-32" in names and result["control"] in names and len(names) == len(set(names))
    assert result["front"] and result["chosen"]["name"] in names
    assert {pair["second"] for pair in result["compare"]} >= {name for name in names if name.endswith("-int8")}
    assert (out / "front.png").stat().st_size > 10_000
    assert json.loads((out / "shrink.json").read_text()) == result
    # The control was trained as long as what is cut of the run: as the run itself, and then as the others.
    by_name = {point["name"]: point for point in result["points"]}
    cut = next(point for point in result["points"] if point["candidate"]["how"] in ("cut", "pruned"))
    assert by_name[result["control"]]["epochs"] >= cut["epochs"]
    assert Predictor(out)(trained.data / "dog/001.png")[0]
    assert main(command) == 2 and "is there already" in capsys.readouterr().err
