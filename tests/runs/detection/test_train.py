"""A tiny detector goes the whole way; stopped or killed, it ends in the same bytes."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mobilenets
from mobilenets.errors import FaultFound, InputError
from mobilenets.runtime.bundle import read_bundle
from mobilenets.training.loop import Training

SETTINGS: dict[str, Any] = {
    "width": 0.1,
    "size": 64,
    "weights": "none",
    "epochs": 3,
    "batch": 8,
    "self_test": False,
    "device": "cpu",
    "threads": 1,
    "workers": 1,
}


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished run, to be read only."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    torch.set_num_threads(1)
    mobilenets.train(drawn, folder, **SETTINGS)
    return folder


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def test_it_leaves_a_run_folder(run: Path, drawn: Path) -> None:
    names = ["epoch", "lr", "train_loss", "validation_loss", "validation_ap", "validation_ap50"]
    assert list(history(run)[0]) == names and len(history(run)) == 3
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert {"images", "ap", "ap50", "ap75", "ap50_interval", "classes", "epoch", "notes"} <= metrics.keys()
    assert set(metrics["classes"]) == {"disc", "square"}
    bundle = read_bundle(run)
    assert bundle.task == "detection" and bundle.detection is not None and bundle.detection.size == 64
    assert bundle.preprocessing.resize == "stretch" and bundle.classes == ("disc", "square")
    record = json.loads((run / "recipe.json").read_bytes())
    assert record["recipe"]["task"] == "detection" and record["recipe"]["augment"] == "photo"
    for name in ("model.safetensors", "model.onnx", "split.csv", "curves.png", "found.png", "report.html"):
        assert (run / name).stat().st_size > 100, name
    picture = next(drawn.glob("*.png"))
    assert isinstance(mobilenets.Predictor(run)(picture), list)
    # The score that does best on the validation pictures is what people are shown boxes from.
    assert bundle.threshold == metrics["threshold"] and metrics["threshold_from"] == "these pictures"
    assert metrics["copies"]["images"] == 0 and isinstance(metrics["next_steps"], list)


def test_evaluate_gives_the_figures_of_the_run(run: Path, drawn: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_bytes())
    result = mobilenets.evaluate(run, drawn)
    assert (result["images"], result["evaluated_on"]) == (metrics["images"], "validation")
    assert result["seen_in_training"] == 0 and result["copies"] == metrics["copies"]
    # Through ONNX in place of PyTorch.
    assert result["ap50"] == pytest.approx(metrics["ap50"], abs=1e-3)
    assert result["threshold"] == metrics["threshold"] and result["threshold_from"] == "the model"


def test_the_loss_falls(run: Path) -> None:
    losses = [float(row["train_loss"]) for row in history(run)]
    assert losses[-1] < 0.9 * losses[0]


def test_stopped_again_and_again_it_ends_in_the_same_bytes(
    run: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Callable[..., float] = Training._step
    count = 0

    def pressed(self: Training, *given: Any) -> float:
        nonlocal count
        count += 1
        if count % 4 == 0:
            signal.raise_signal(signal.SIGTERM if count % 8 else signal.SIGINT)
        return step(self, *given)

    monkeypatch.setattr(Training, "_step", pressed)
    stops, settings = 0, SETTINGS
    while True:
        try:
            mobilenets.train(drawn, tmp_path / "parts", **settings)
            break
        except KeyboardInterrupt:
            stops, settings = stops + 1, {"resume": True}
    assert stops >= 2
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert history(tmp_path / "parts") == history(run)


def test_killed_it_is_continued_to_the_same_bytes(run: Path, drawn: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mobilenets", "train", str(drawn), "--out", str(tmp_path / "run")]
    settings = {name.replace("_", "-"): value for name, value in SETTINGS.items() if name != "self_test"}
    given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    child = subprocess.Popen([*words, *given, "--no-self-test"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "run/history.csv").exists() and time.monotonic() < until and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not (tmp_path / "run/metrics.json").exists()
    mobilenets.train(drawn, tmp_path / "run", resume=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_what_boxes_cannot_have_is_refused(drawn: Path, tmp_path: Path) -> None:
    for settings, words in (
        ({"folds": 3}, "folds: not for boxes yet"),
        ({"mixup": 0.2}, "mixup: not for boxes yet"),
        ({"resize": "crop"}, "a picture is seen whole"),
        ({"augment": "imagenet"}, "for boxes choose none, light, photo"),
        ({"freeze": "99"}, "this network has"),
    ):
        with pytest.raises(InputError, match=words):
            mobilenets.train(drawn, tmp_path / "run", **{**SETTINGS, **settings})
        assert not (tmp_path / "run").exists()


def test_a_detector_starts_another(run: Path, drawn: Path, tmp_path: Path) -> None:
    short = {"epochs": 1, "self_test": False, "device": "cpu", "threads": 1, "workers": 1}
    mobilenets.train(drawn, tmp_path / "on", weights=str(run), freeze="3", **short)
    bundle = read_bundle(tmp_path / "on")
    assert bundle.origin["head"] == "kept" and bundle.architecture["width"] == 0.1


def test_a_fault_is_said_before_anything_is_written(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise FaultFound("self-test: broken")

    monkeypatch.setattr("mobilenets.runs.detection.train.self_test", broken)
    with pytest.raises(FaultFound, match="self-test: broken"):
        mobilenets.train(drawn, tmp_path / "run", **{**SETTINGS, "self_test": True})
    assert not (tmp_path / "run").exists()
