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
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mobilenets
from mobilenets.errors import FaultFound, InputError
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel, load_model
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.detection.finish import draw_found
from mobilenets.runs.detection.train import begin_boxes
from mobilenets.runs.request import Request
from mobilenets.runtime.bundle import Bundle, read_bundle
from mobilenets.training.detection.start import described, fresh_detector
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe
from mobilenets.training.start import follow

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


def test_a_picture_that_has_gone_is_left_out_of_the_sheet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was readable when it was measured; the training is done, and nothing may end it."""
    Image.new("RGB", (40, 20)).save(tmp_path / "there.png")
    nothing = SimpleNamespace(corners=np.zeros((0, 4)), labels=np.zeros(0, int), scores=np.zeros(0))
    found = SimpleNamespace(above=lambda _: nothing)
    measured: Any = SimpleNamespace(
        images=["gone.png", "there.png"], truths=[[], []], found=[found] * 2, shown_from=0.5
    )
    draw_found(tmp_path / "found.png", measured, tmp_path, ["disc"])
    assert "gone.png: left out of found.png" in caplog.text
    with Image.open(tmp_path / "found.png") as sheet:
        assert sheet.size == (480, 240)
    (tmp_path / "there.png").unlink()
    draw_found(tmp_path / "none.png", measured, tmp_path, ["disc"])
    assert not (tmp_path / "none.png").exists()


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


def test_killed_and_stopped_again_and_again_it_ends_in_the_same_bytes(
    run: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [sys.executable, "-m", "mobilenets", "train", str(drawn), "--out", str(tmp_path / "run")]
    settings = {name.replace("_", "-"): value for name, value in SETTINGS.items() if name != "self_test"}
    given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    child = subprocess.Popen([*words, *given, "--no-self-test"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not (tmp_path / "run/history.csv").exists() and time.monotonic() < until and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not (tmp_path / "run/metrics.json").exists() and len(history(tmp_path / "run")) < 3
    step: Callable[..., float] = Training._step
    count = 0

    def pressed(self: Training, *given: Any) -> float:
        nonlocal count
        count += 1
        signal.raise_signal(signal.SIGTERM if count % 2 else signal.SIGINT)
        return step(self, *given)

    monkeypatch.setattr(Training, "_step", pressed)
    # What follows the last step is the same in both, and takes longer than the steps.
    monkeypatch.setattr("mobilenets.runs.detection.train.finish_boxes", lambda *_: {})
    stops = 0
    while True:
        try:
            mobilenets.train(drawn, tmp_path / "run", resume=True)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops == count >= 2
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert history(tmp_path / "run") == history(run)


def test_what_boxes_cannot_have_is_refused(drawn: Path, tmp_path: Path) -> None:
    for settings, words in (
        ({"folds": 3}, "folds: not for boxes yet"),
        ({"seeds": 3}, "seeds: not for boxes yet"),
        ({"head_lr": 0.1}, "leave --head-lr out"),
        ({"mixup": 0.2}, "mixup: not for boxes yet"),
        ({"label_smoothing": 0.1}, "use --label-smoothing 0"),
        ({"dropout": 0.2}, "without effect on a detector; leave --dropout out"),
        ({"variant": "small"}, "use --variant standard"),
        ({"resize": "crop"}, "a picture is seen whole"),
        ({"augment": "imagenet"}, "for boxes choose none, light, photo"),
        ({"freeze": "99"}, "this network has"),
    ):
        with pytest.raises(InputError, match=words):
            mobilenets.train(drawn, tmp_path / "run", **{**SETTINGS, **settings})
        assert not (tmp_path / "run").exists()


def test_what_weights_bring(run: Path) -> None:
    saved = load_model(run)
    recipe = follow(Recipe(task="detection", size=96, resize="stretch", weights="given"), saved, {"size", "resize"})
    assert recipe.width == 0.1
    architecture, detection = described(recipe, saved)
    assert detection.size == 96 and detection.maps[0] == 6
    same, origin = fresh_detector(recipe, architecture, detection, saved.bundle.classes, saved)
    assert origin["head"] == "kept"
    assert all(torch.equal(value, saved.network.state_dict()[name]) for name, value in same.state_dict().items())
    other, origin = fresh_detector(recipe, architecture, detection, ("a", "b", "c"), saved)
    assert origin["head"] == "replaced"
    found, given = other.state_dict(), saved.network.state_dict()
    kept = {name for name in found if found[name].shape == given[name].shape and torch.equal(found[name], given[name])}
    assert {name for name in found if name not in kept} == {name for name in found if ".scores.predict." in name} - kept
    more, origin = fresh_detector(recipe, architecture, detection, ("cat", "square", "disc"), saved)
    assert origin["head"] == "extended"
    for name in (name for name in given if ".scores.predict." in name):
        old, new = (net.state_dict()[name].unflatten(0, (-1, n)) for net, n in ((saved.network, 3), (more, 4)))
        assert torch.equal(new[:, [0, 3, 2]], old)  # the background, disc and square
    with pytest.raises(InputError, match="do not fit"):
        wide = recipe.replace(width=0.5)
        fresh_detector(wide, *described(wide, None), ("a",), saved)


def test_a_classifier_gives_its_body() -> None:
    architecture = describe("mobilenet_v2", 0.1, 64, variant="standard")
    network = Network(architecture, 5)
    bundle = Bundle(architecture.to_json(), tuple("abcde"), Preprocessing(64, mean=(0.4, 0.5, 0.6)))
    recipe = Recipe(task="detection", width=0.1, size=64, resize="stretch", weights="given", box_loss="focal")
    saved = SavedModel(network, bundle)
    found, _ = fresh_detector(recipe, *described(recipe, saved), ("a",), saved)
    assert all(torch.equal(value, found.body.state_dict()[name]) for name, value in network.body.state_dict().items())
    # Under the focal loss every class begins as unlikely as 1 in 100.
    bias = found.state_dict()["heads.0.scores.predict.conv.bias"].view(-1, 2)
    assert torch.sigmoid(bias[:, 1]).numpy() == pytest.approx(0.01) and not bias[:, 0].any()


def test_a_fault_is_said_before_anything_is_written(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise FaultFound("self-test: broken")

    monkeypatch.setattr("mobilenets.runs.detection.train.self_test", broken)
    with pytest.raises(FaultFound, match="self-test: broken"):
        mobilenets.train(drawn, tmp_path / "run", **{**SETTINGS, "self_test": True})
    assert not (tmp_path / "run").exists()


def test_a_test_half_is_opened_and_what_was_found_stays_known(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    (data / "annotations").mkdir(parents=True)
    for seed, half in enumerate(("train", "val", "test")):
        draw_shapes(data / half, 8, seed=seed)
        (data / half / "instances_all.json").rename(data / "annotations" / f"instances_{half}.json")
    Image.open(data / "train" / "000.png").save(data / "test" / "000.png", compress_level=1)  # other bytes
    settings = {name: value for name, value in SETTINGS.items() if name != "epochs"}
    first = mobilenets.train(data, out, **settings, minutes=0.02)  # too short: training stops with what it has
    minutes = json.loads((out / "recipe.json").read_bytes())["minutes"]
    assert minutes == {"chosen": {"epochs": 1}, "most_epochs": 400} and len(history(out)) == 1
    assert (first["evaluated_on"], first["test_set"]["before"]) == ("test", 0)
    assert any("near copies of training pictures" in note for note in first["notes"])
    again = mobilenets.train(data, out, resume=True)
    stays = {note for note in first["notes"] if "too short" not in note}
    assert stays <= set(again["notes"]) and mobilenets.evaluate(out, data)["test_set"]["before"] > 0


def test_a_run_that_starts_from_another_keeps_its_split(run: Path, drawn: Path, tmp_path: Path) -> None:
    recipe = load_recipe("boxes").replace(weights=str(run), split_seed=5, workers=1)
    begun, _ = begin_boxes(Request(drawn, tmp_path / "run", "boxes", {}, False), recipe, {}, {})
    assert begun.recipe.size == 64  # its own, as its width
    with (run / "split.csv").open() as file:
        held_out = {row["image"] for row in csv.DictReader(file) if row["split"] == "validation"}
    assert {sample.path.name for sample in begun.dataset.validation} == held_out
