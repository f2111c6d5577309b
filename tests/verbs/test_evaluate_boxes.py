"""``evaluate`` of a detector, whose network is three lines: a thing is a quarter that is bright."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.cli.compare import paired
from mobilenets.cli.evaluate import evaluated
from mobilenets.datasets.folder import content_hash
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.detection.measured import boxes_to_export, boxes_to_measure
from mobilenets.runs.seen import write_seen
from mobilenets.runtime.bundle import Bundle, read_bundle, write_bundle
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.verbs.compare_models import compare_boxes
from mobilenets.verbs.evaluate_boxes import evaluate_boxes

SIDE = 32
QUARTERS = [(0, 0), (16, 0), (0, 16), (16, 16)]


def engine(pictures: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Red quarters are cats, green ones dogs; how sure that is follows from the brightness."""
    bright = (pictures + 1).reshape(len(pictures), 2, 16, 2, 16, 3).mean(axis=(2, 4)).reshape(-1, 4, 3)
    outputs = np.zeros((len(pictures), 4, 7), np.float32)
    outputs[..., 5:] = 8 * bright[..., :2] - 6
    return outputs


def a_picture(rng: np.random.Generator, path: Path) -> list[dict[str, Any]]:
    """Draw things into some of the quarters, one in ten of them too dark to be found; gives their boxes."""
    pixels, boxes = np.zeros((SIDE, SIDE, 3), np.uint8), []
    for x, y in QUARTERS:
        kind = int(rng.integers(0, 3))
        if kind < 2:
            pixels[y : y + 16, x : x + 16, kind] = 60 if rng.random() < 0.1 else rng.integers(150, 256)
            boxes.append({"bbox": [x, y, 16, 16], "category_id": kind + 1})
    pixels[0, 0] = rng.integers(0, 256, 3)  # no two files are the same
    Image.fromarray(pixels).save(path)
    return boxes


def write_set(folder: Path, halves: dict[str, int], seed: int = 0) -> Path:
    """Write a set in COCO's form: pictures and ``instances_*.json`` by half."""
    rng, number = np.random.default_rng(seed), 0
    (folder / "annotations").mkdir(parents=True)
    for half, count in halves.items():
        (folder / half).mkdir()
        listed: dict[str, list[Any]] = {"images": [], "annotations": []}
        for _ in range(count):
            number += 1
            name = f"{number:03}.png"
            listed["images"].append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            for box in a_picture(rng, folder / half / name):
                about = {"id": len(listed["annotations"]) + 1 + 1000 * number, "image_id": number, "iscrowd": 0}
                listed["annotations"].append({**about, **box, "area": 256})
        named = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        content = json.dumps({**listed, "categories": named})
        (folder / "annotations" / f"instances_{half}.json").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shapes = (((0.5, 0.5),),)
    bundle = Bundle(
        {},
        ("cat", "dog"),
        Preprocessing(SIDE, resize="stretch", interpolation="nearest"),
        task="detection",
        detection=Detection(SIDE, (2,), shapes),
        threshold=0.5,
    )
    (tmp_path / "run").mkdir()
    write_bundle(tmp_path / "run", bundle)
    return tmp_path / "run"


def measure(model: Path, data: Path, accuracy: float | None = None, out: Path | None = None) -> dict[str, Any]:
    predictor: Any = EnginePredictor(read_bundle(model), engine)
    return evaluate_boxes(predictor, model, data, out, accuracy, False, None)


def test_figures(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 40})
    result = measure(model, data, out=tmp_path / "out")
    assert (result["images"], result["evaluated_on"]) == (40, "validation")
    # Boxes are exact, but the darkest tenth is below the threshold or not there.
    assert result["ap"] == pytest.approx(result["ap50"]) and 0.8 < result["ap50"] <= 1
    low, high = result["ap50_interval"]
    assert low <= result["ap50"] <= high
    assert result["precision"] == 1 and 0.8 < result["recall"] < 1
    assert result["false_alarms_by_kind"] == dict.fromkeys(result["false_alarms_by_kind"], 0)
    assert result["confusion"][0][2] + result["confusion"][1][2] == result["missed"] > 0
    assert result["seen_in_training"] is None and result["copies"] is None and result["test_set"] is None
    assert json.loads((tmp_path / "out" / "metrics.json").read_bytes()) == json.loads(json.dumps(result))
    said = evaluated(result)
    assert "AP50" in said and "cat" in said and "95 % interval" in said and "40 pictures" in said


def test_the_threshold_is_chosen_on_validation_and_measured_on_test(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 30, "test": 20})
    result = measure(model, data, accuracy=0.9)
    assert (result["evaluated_on"], result["threshold_chosen_on"], result["images"]) == ("test", "validation", 20)
    assert result["faults"] == [] and read_bundle(model).threshold == result["threshold"] != 0.5
    assert result["test_set"] == {"before": 0, "first": result["test_set"]["first"]}
    # A second measurement is no longer unseen.
    assert measure(model, data)["test_set"]["before"] == 1


def test_on_the_same_pictures_it_says_so(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 30})
    result = measure(model, data, accuracy=0.9)
    assert result["threshold_chosen_on"] == "validation"
    assert any("chosen on these same pictures" in note for note in result["notes"])
    assert result["precision"] >= 0.9


def test_what_cannot_be_asked_of_a_detector(model: Path, tmp_path: Path) -> None:
    predictor: Any = EnginePredictor(read_bundle(model), engine)
    for calibrate, alarms in ((True, None), (False, 0.05)):
        with pytest.raises(InputError, match="whole pictures apart"):
            evaluate_boxes(predictor, model, tmp_path, None, None, calibrate, alarms)


def test_a_folder_that_is_not_split_is_measured_whole(model: Path, tmp_path: Path) -> None:
    measured = boxes_to_measure(model, write_set(tmp_path / "data", {"train": 1}), ("cat", "dog"))
    assert (measured.which, len(measured.samples)) == ("all", 1)
    assert not any("held out" in note or "learned" in note for note in measured.notes), measured.notes


def test_what_was_learned_from_is_left_out(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 20})
    files = sorted((data / "train").glob("*.png"))
    halves = [
        (content_hash(path).hex(), ("cat", "train" if place < 12 else "validation")) for place, path in enumerate(files)
    ]
    write_seen(model, SeenPictures(dict(halves[:17])))
    measured = boxes_to_measure(model, data, ("cat", "dog"))
    assert [sample.path for sample in measured.samples] == files[12:] and measured.learned == 0
    assert measured.which == "held out and new"
    assert any("the 12 that it was trained on are left out" in note for note in measured.notes)
    write_seen(model, SeenPictures(dict(halves)))
    assert boxes_to_measure(model, data, ("cat", "dog")).which == "validation"
    # All of them learned from: measured, and said.
    write_seen(model, SeenPictures({content: ("cat", "train") for content, _ in halves}))
    measured = boxes_to_measure(model, data, ("cat", "dog"))
    assert (measured.which, measured.learned, len(measured.samples)) == ("all", 20, 20)
    assert any("figures are too high" in note for note in measured.notes)


def test_an_export_is_checked_on_what_was_held_out(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 20})
    files = sorted((data / "train").glob("*.png"))
    halves = boxes_to_export(model, data, ("cat",))  # wrong boxes are no hindrance: the dogs are unknown
    assert (halves.which, halves.learned) == ("a fifth of all", None) and 0 < len(halves.measured) <= 4
    assert any("figures are too high" in note for note in halves.notes)
    # By content: another file of the same name would not do.
    sides = ["validation" if place % 4 == 0 else "train" for place in range(20)]
    about = {content_hash(path).hex(): ("cat", side) for path, side in zip(files, sides, strict=True)}
    write_seen(model, SeenPictures(about))
    halves = boxes_to_export(model, data, ("cat", "dog"))
    assert {sample.path for sample in halves.measured} == set(files[::4]) and len(halves.training) == 15
    assert (halves.which, halves.learned) == ("validation", 0)


def test_copies_in_training_are_named(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 30})
    contents = [content_hash(path).hex() for path in sorted((data / "val").glob("*.png"))]
    write_seen(model, SeenPictures(dict.fromkeys(contents[:5], ("cat", "train"))))
    result = measure(model, data)
    copies = result["copies"]
    assert (copies["images"], copies["exact"], copies["without"]["images"]) == (5, 5, 25)
    assert copies["without"]["ap50"] > 0.5 and len(copies["without"]["ap50_interval"]) == 2
    assert evaluated(result).startswith("Leak: 5 of 30 pictures") and "without them AP50 is" in evaluated(result)


def test_boxes_of_other_classes_are_problems(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 12})
    file = data / "annotations" / "instances_val.json"
    found = json.loads(file.read_bytes())
    found["categories"][1]["name"] = "dragon"
    file.write_text(json.dumps(found), encoding="utf-8")
    result = measure(model, data)
    assert result["classes"]["dog"]["boxes"] == 0 and result["classes"]["dog"]["ap"] is None
    assert any("dragon" in problem["detail"] for problem in result["problems"])
    assert any("cannot be used are left out" in note for note in result["notes"])


def dim(pictures: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A worse engine, which takes every other cat for a dog; its classes come in the other order."""
    outputs = engine(pictures)[..., [0, 1, 2, 3, 4, 6, 5]]
    outputs[:, ::2, 5:] = outputs[:, ::2, :4:-1]
    return outputs


def test_two_detectors_on_the_same_pictures(model: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", {"train": 4, "val": 30, "test": 40})
    other = tmp_path / "other"
    other.mkdir()
    bundle = replace(read_bundle(model), classes=("dog", "cat"))
    write_bundle(other, bundle)
    contents = [content_hash(path).hex() for path in sorted((data / "test").glob("*.png"))]
    write_seen(model, SeenPictures({contents[7]: ("cat", "train")}))
    write_seen(other, SeenPictures(dict.fromkeys(contents[:5], ("cat", "train"))))
    predictors: Any = [EnginePredictor(read_bundle(model), engine), EnginePredictor(bundle, dim)]
    result = compare_boxes((model, other), predictors, data, np.array([1, 0]), tmp_path)
    assert (result["images"], result["evaluated_on"], result["better"]) == (34, "test", "first")
    assert result["change"] < 0 and result["change_interval"][1] < 0
    assert result["change"] == pytest.approx(result["models"][1]["ap"] - result["models"][0]["ap"])
    left_out = [note for note in result["notes"] if "left out" in note]
    assert left_out == [
        f"left out: 1 picture that {model} learned from",
        f"left out: 5 pictures that {other} learned from",
    ]
    assert not any("too high" in note for note in result["notes"])
    assert f"{model} is better than {other}." in paired(result)
    assert json.loads((tmp_path / "compare.json").read_bytes()) == json.loads(json.dumps(result))
    # The same one twice, with its classes in another order, is no better.
    turned = EnginePredictor(bundle, lambda pictures: engine(pictures)[..., [0, 1, 2, 3, 4, 6, 5]])
    result = compare_boxes((model, other), [predictors[0], turned], data, np.array([1, 0]), None)  # type: ignore[list-item]
    assert (result["change"], result["better"]) == (0, None)
    assert any("once before" in note for note in result["notes"])
    with pytest.raises(InputError, match="one task"):
        turned.places = False
        compare_boxes((model, other), [predictors[0], turned], data, np.array([1, 0]), None)  # type: ignore[list-item]
