"""A model that every tensor is kept of is measured before the first epoch, and what training made worse is said."""

from __future__ import annotations

import json
import logging
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mobilenets
from mobilenets.models.saved import save_weights
from mobilenets.runs import class_report
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.runtime.exported import file_hash
from mobilenets.training import checkpoint
from mobilenets.training.loop import Training
from mobilenets.verbs.train import train

WEIGHTS = "model.safetensors"
# A rate at which the model of `trained` is lost in the first epoch.
WORSE: dict[str, Any] = {
    "freeze": "none",
    "epochs": 1,
    "batch": 6,
    "lr": 3.0,
    "optimizer": "sgd",
    "warmup": 0.0,
    "augment": "none",
    "device": "cpu",
    "threads": 1,
    "workers": 1,
}


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in (r.getMessage() for r in caplog.records) if text.startswith("before training")]


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("freeze", ["none", "2", "backbone"])
def test_training_that_makes_a_model_worse_says_so(
    trained: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    freeze: str,
    keep: str,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(class_report, "write_report", lambda _, report: reported.append(report))
    start = 100 * mobilenets.evaluate(trained.run, trained.data)["top1"]
    settings = WORSE | {"weights": str(trained.run), "freeze": freeze, "lr": 30.0 if freeze == "backbone" else 3.0}
    settings["keep"] = keep
    # The split of the same data and seed is that of the first run, so the starting model has its figure there.
    with caplog.at_level(logging.INFO, "mobilenets"):
        result = train(trained.data, tmp_path / "run", **settings)
    assert said(caplog) == [f"before training: validation top-1 {start:.1f} %"]
    (note,) = result["notes"]
    assert f"a lower --lr than {settings['lr']:g}, such as {settings['lr'] / 10:.3g}" in note
    assert ("more frozen blocks" in note) == (freeze != "backbone")
    assert json.loads((tmp_path / "run/metrics.json").read_bytes())["notes"] == reported[0].notes == [note]
    weights = [load_file(run / WEIGHTS) for run in (trained.run, tmp_path / "run")]
    same = all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    if keep == "last":
        assert f"top-1 {start:.1f} % before it, {100 * result['top1']:.1f} % at the kept epoch 1." in note
        assert (result["epoch"], same) == (1, False)
    else:
        # What there was before competes, and wins.
        assert (result["epoch"], result["top1"], same) == (0, start / 100, True)
        assert f"kept unchanged (epoch 0): they reach {start:.1f} % on the validation pictures" in note
        assert result["top1_around"] is None


def test_training_that_does_no_harm_says_nothing(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        result = train(trained.data, tmp_path / "run", weights=str(trained.run), **WORSE | {"lr": 1e-6})
    assert len(said(caplog)) == 1
    assert result["notes"] == []


def test_other_classes_and_random_weights_are_not_measured(
    trained: Any, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, small: dict[str, Any]
) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        train(photos, tmp_path / "other", weights=str(trained.run), **WORSE | {"lr": 0.01})
        train(photos, tmp_path / "random", **small | {"epochs": 1})
    assert said(caplog) == []
    assert checkpoint.peek(tmp_path / "other").before is None


@pytest.mark.parametrize(
    "settings", [{"ema": 0.5, "dropout": 0.2}, {"freeze": "2"}, {"freeze": "backbone"}, {"mixup": 0.3, "freeze": "2"}]
)
def test_the_measurement_changes_nothing_of_the_training(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    settings = WORSE | {"weights": str(trained.run), "epochs": 2, "lr": 0.01, "augment": "light"} | settings
    train(trained.data, tmp_path / "measured", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_value_before", lambda _: None)
        train(trained.data, tmp_path / "plain", **settings)
    one, two = (load_file(tmp_path / run / checkpoint.FILE) for run in ("measured", "plain"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_a_resumed_run_knows_the_figure_without_measuring_again(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, freeze: str
) -> None:
    start = Path(shutil.copytree(trained.run, tmp_path / "start"))
    settings = WORSE | {"weights": str(start), "freeze": freeze, "lr": 30.0 if freeze == "backbone" else 3.0}
    settings["epochs"] = 2
    whole = train(trained.data, tmp_path / "whole", **settings)
    step: Callable[..., float] = Training._step

    def pressed(self: Training, *given: Any) -> float:
        signal.raise_signal(signal.SIGINT)
        return step(self, *given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "_step", pressed)
        train(trained.data, tmp_path / "run", **settings)
    shutil.rmtree(start)
    caplog.clear()
    with caplog.at_level(logging.INFO, "mobilenets"):
        resumed = train(trained.data, tmp_path / "run", resume=True)
    assert said(caplog) == []
    assert resumed["notes"] == whole["notes"] and len(whole["notes"]) == 1
    assert resumed["epoch"] == whole["epoch"] == 0
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_a_checkpoint_from_before_there_was_such_a_figure(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(trained.data, run, weights=str(trained.run), **WORSE)
    state = checkpoint.peek(run)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "asdict", lambda s: {k: v for k, v in asdict(s).items() if k != "before"})
        checkpoint.save(tmp_path / "old", state, torch.nn.Linear(1, 1).state_dict())
    assert state.before is not None
    assert checkpoint.peek(tmp_path / "old").before is None


def test_a_start_that_gives_no_finite_output_is_trained_as_before(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A variance below 0 has no root. Training takes that of the batch."""
    start = Path(shutil.copytree(trained.run, tmp_path / "start"))
    tensors = load_file(start / WEIGHTS)
    tensors[next(name for name in tensors if name.endswith("running_var"))].fill_(-100.0)
    save_weights(start / WEIGHTS, tensors)
    write_bundle(start, replace(read_bundle(start), weights=file_hash(start / WEIGHTS)))
    with caplog.at_level(logging.INFO):
        result = train(trained.data, tmp_path / "run", weights=str(start), **WORSE | {"lr": 0.01})
    assert said(caplog) == [
        "before training: the network's output is not finite, so there is no baseline to compare with"
    ]
    # It does not compete; and the statistics of what is kept are measured anew.
    assert result["epoch"] == 1
