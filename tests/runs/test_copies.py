"""The tutorial's leak in small: training pictures in the validation folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.cli.evaluate import evaluated
from mobilenets.cli.train import trained as said_by_train
from mobilenets.datasets.prepare import prepare
from mobilenets.doctor.quick import Looking
from mobilenets.runs.copies import THUMBNAILS, look_for_copies

SETTINGS: dict[str, Any] = {
    "model": "mobilenet_v1_cifar",
    "weights": "none",
    "width": 0.25,
    "size": 16,
    "epochs": 1,
    "batch": 8,
    "device": "cpu",
    "threads": 1,
    "workers": 1,
}


def picture(label: int, seed: int) -> Image.Image:
    coarse = np.random.default_rng((label, seed)).integers(0, 200, (6, 6, 3), np.uint8)
    coarse[..., label] //= 3
    return Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)


def leak(data: Path) -> None:
    """Write two classes; of 12 validation pictures 2 are the training files, 2 mirrored, and 1 is cut out of one."""
    for label, name in enumerate(("cat", "dog")):
        for half, seeds in (("train", range(12)), ("validation", range(100, 104))):
            (data / half / name).mkdir(parents=True)
            for seed in seeds:
                picture(label, seed).save(data / half / name / f"{seed}.png")
    validation = data / "validation"
    shutil.copy(data / "train/cat/3.png", validation / "cat/same.png")
    shutil.copy(data / "train/dog/3.png", validation / "dog/same.png")
    mirrored = Image.Transpose.FLIP_LEFT_RIGHT
    picture(0, 5).transpose(mirrored).save(validation / "cat/mirrored.jpg", quality=90)
    picture(1, 5).transpose(mirrored).save(validation / "dog/mirrored.jpg", quality=90)


@pytest.fixture(scope="module")
def leaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("leak")
    leak(place / "data")
    result = mobilenets.train(place / "data", place / "run", **SETTINGS)
    return place / "data", place / "run", result


def test_train_says_so_first(leaked: tuple[Path, Path, dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    data, run, result = leaked
    copies = result["copies"]
    assert (copies["images"], copies["exact"], copies["near"], copies["limited"]) == (4, 2, 2, None)
    assert copies["share"] == pytest.approx(4 / 12) and copies["without"]["images"] == 8
    pairs = {pair["path"]: (pair["partner"], pair["kind"], pair["how"]) for pair in copies["pairs"]}
    assert pairs["validation/cat/same.png"] == ("train/cat/3.png", "exact", "same file")
    assert pairs["validation/dog/mirrored.jpg"] == ("train/dog/5.png", "near", "mirrored")
    first = said_by_train(result | {"data": str(data)}).splitlines()[0]
    assert first.startswith(
        "Leak: 4 of 12 pictures (33.33 %) have a copy in training (2 same file, 2 mirrored); without"
    )
    told = said_by_train(result | {"data": str(data)})
    assert told.count("a copy in training") == 1 and "copies of training pictures" not in told
    notes = [note for note in result["notes"] if "copies of training pictures" in note]
    assert len(notes) == 2 and "2 of the 12 pictures measured on are near copies" in notes[1]
    assert all(note in (run / "report.html").read_text("utf-8") for note in notes)
    assert json.loads((run / "metrics.json").read_bytes())["copies"] == copies


def test_evaluate_says_so_first_though_the_training_pictures_are_gone(
    leaked: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, run, trained = leaked
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(data / "validation", elsewhere / "validation")
    for label, name in enumerate(("cat", "dog")):
        (elsewhere / "train" / name).mkdir(parents=True)
        picture(label, 300).save(elsewhere / "train" / name / "new.png")
    shutil.copytree(run, tmp_path / "run")
    result = mobilenets.evaluate(tmp_path / "run", elsewhere)
    copies = result["copies"]
    assert {key: copies[key] for key in ("images", "exact", "near", "how")} == {
        "images": 4,
        "exact": 2,
        "near": 2,
        "how": "2 same file, 2 mirrored",
    }
    assert copies["without"] == trained["copies"]["without"]
    assert evaluated(result).startswith("Leak: 4 of 12 pictures")
    # Without the thumbnails the same files are still known.
    (tmp_path / "run" / THUMBNAILS).write_bytes(b"damaged")
    result = mobilenets.evaluate(tmp_path / "run", elsewhere)
    assert (result["copies"]["images"], result["copies"]["near"]) == (2, 0)
    assert result["copies"]["limited"].startswith("only for the same files")


def test_the_accuracy_without_copies_is_that_of_the_others(
    leaked: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, run, trained = leaked
    shutil.copytree(data / "validation", tmp_path / "all")
    # Of a folder that is not split the files that it learned from are left out in any case.
    result = mobilenets.evaluate(run, tmp_path / "all")
    without = result["copies"]["without"]
    assert (result["images"], result["copies"]["images"], without) == (10, 2, trained["copies"]["without"])
    for name in ("same.png", "mirrored.jpg"):
        for label in ("cat", "dog"):
            (tmp_path / "all" / label / name).unlink()
    alone = mobilenets.evaluate(run, tmp_path / "all")
    assert (without["top1"], without["top1_interval"]) == (alone["top1"], list(alone["top1_interval"]))
    assert alone["copies"]["images"] == 0 and "Leak" not in evaluated(alone)
    assert "no picture has a copy in training" in evaluated(alone)


def test_near_copies_in_other_folds_are_said(tmp_path: Path) -> None:
    """Pictures that were mirrored and saved beside themselves before the folds were drawn."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for seed in range(4):
            picture(label, seed).save(tmp_path / name / f"{seed}.png")
    picture(0, 1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "cat/flip.jpg", quality=90)
    looking = Looking()
    settings: dict[str, Any] = {"share": 0.2, "seed": 0, "max_unreadable": 0, "workers": 1}
    dataset = prepare(tmp_path, **settings, pooled=True, look=looking)
    places = [Path(sample.path).name for sample in dataset.train]
    apart = [2 if name == "flip.jpg" else 1 for name in places]
    [note] = look_for_copies(dataset, looking, apart)[0]
    assert note.startswith("2 of the 9 pictures are near copies of pictures in other folds (2 mirrored), such as cat/")
    assert "--groups copies" in note
    assert look_for_copies(dataset, looking, [1] * 9)[0] == ()


def test_two_labels_for_one_picture_are_said(tmp_path: Path) -> None:
    leak(tmp_path / "data")
    picture(0, 7).rotate(90).save(tmp_path / "data/train/dog/7-turned.png")
    looking = Looking()
    settings: dict[str, Any] = {"share": 0.2, "seed": 0, "max_unreadable": 0, "workers": 1}
    dataset = prepare(tmp_path / "data", **settings, look=looking)
    said = [note for note in look_for_copies(dataset, looking)[0] if "another class" in note]
    assert len(said) == 1 and "train/dog/7-turned.png" in said[0] and "train/cat/7.png" in said[0]


def test_what_a_model_does_not_say_is_not_known(leaked: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    data, run, _ = leaked
    for name in ("model.json", "model.safetensors", "model.onnx"):
        if (run / name).is_file():
            (tmp_path / "bare").mkdir(exist_ok=True)
            shutil.copy(run / name, tmp_path / "bare" / name)
    result = mobilenets.evaluate(tmp_path / "bare", data)
    assert result["copies"] is None and "is not known" in evaluated(result)
