"""What ``check`` says of boxes: faults, classes, and what no anchor reaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.cli import main
from mobilenets.datasets.boxes.shapes import draw_boxes_set
from mobilenets.doctor.annotations import best_overlaps
from mobilenets.errors import InputError
from mobilenets.models.detection.plan import describe_detector
from mobilenets.pictures.header import header
from mobilenets.runtime.detection import anchors


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    draw_boxes_set(folder, 24, 3)
    return folder


def spoiled(folder: Path) -> dict[str, Any]:
    """Put two faults into the training half: a box outside, and one of no class."""
    path = folder / "annotations/instances_train.json"
    whole: dict[str, Any] = json.loads(path.read_text())
    whole["annotations"][0]["bbox"][0] = 1000
    whole["annotations"][1]["category_id"] = 99
    path.write_text(json.dumps(whole))
    return whole


def test_check_counts_boxes_and_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_boxes_set(tmp_path / "shapes", 24, 3)
    whole = spoiled(tmp_path / "shapes")
    assert main(["check", str(tmp_path / "shapes"), "--out", str(tmp_path / "found"), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["halves"]) == (24, {"train": 19, "validation": 5})
    held = json.loads((tmp_path / "shapes/annotations/instances_validation.json").read_text())
    assert (
        result["boxes"] == sum(result["classes"].values()) == len(whole["annotations"]) + len(held["annotations"]) - 2
    )
    faults = {one["detail"].split(":")[0]: one for one in result["problems"] if one["kind"] == "bad_box"}
    assert faults.keys() == {"annotations[0] (id 1)", "annotations[1] (id 2)"}
    assert {one["path"] for one in faults.values()} == {"annotations/instances_train.json"}
    assert result["counts"]["bad_box"] == 2 and "2 of " in result["headlines"][0]
    page = Path(result["report"]).read_text("utf-8")
    assert page.count('src="data:image/jpeg') > 10 and "outside: 1000, " in page and "<script" not in page


def test_check_says_what_it_found_in_words(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(shapes), "--out", str(tmp_path / "found"), "--format", "coco"]) in (0, 1)
    told = capsys.readouterr().out
    assert "boxes of 6 classes in 24 pictures (19 train, 5 validation)" in told and "overlap no anchor by half" in told


def test_a_copy_in_both_halves_is_a_leak(tmp_path: Path) -> None:
    draw_boxes_set(tmp_path / "shapes", 10, 1)
    images = tmp_path / "shapes/images"
    (images / "validation/00001.jpg").write_bytes((images / "train/00003.jpg").read_bytes())
    path = tmp_path / "shapes/annotations/instances_validation.json"
    size = header(images / "train/00003.jpg").size
    whole = json.loads(path.read_text())
    whole["images"][0] |= {"width": size[0], "height": size[1]}
    path.write_text(json.dumps(whole))
    result = mobilenets.check(tmp_path / "shapes", tmp_path / "found")
    assert [one["path"] for one in result["problems"] if one["kind"] == "leak"] == ["images/validation/00001.jpg"]


def test_the_task_can_be_named(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        mobilenets.check(shapes, tmp_path / "found", task="classification")
    with pytest.raises(InputError, match="give one of auto, classification, detection"):
        mobilenets.check(shapes, tmp_path / "found", task="boxes")
    with pytest.raises(InputError, match="no boxes in the format yolo"):
        mobilenets.check(shapes, tmp_path / "found", format="yolo")


def test_an_anchor_reaches_itself_and_nothing_reaches_a_speck() -> None:
    found = anchors(describe_detector("mobilenet_v2")[1])
    corners = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], axis=1)
    assert best_overlaps(corners[::100].astype(float), found) == pytest.approx(1, abs=1e-5)
    speck, strip = [0.5, 0.5, 0.51, 0.51], [0.0, 0.49, 1.0, 0.51]
    assert (best_overlaps(np.array([speck, strip]), found) < 0.5).all()


def test_classes_without_boxes_and_with_few_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["filename,xmin,ymin,xmax,ymax,class"]
    for half, name, count in (("train", "cat", 11), ("train", "dog", 1), ("valid", "cat", 2)):
        for n in range(count):
            path = tmp_path / f"data/{half}/{name}{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (99, 99, 3), np.uint8)).save(path)
            rows.append(f"{half}/{name}{n}.png,10,10,60,60,{name}")
    (tmp_path / "data/boxes.csv").write_text("\n".join([rows[0] + ",split", *(f"{row},{row[:5]}" for row in rows[1:])]))
    result = mobilenets.check(tmp_path / "data", tmp_path / "found")
    told = [(one["kind"], one["path"]) for one in result["problems"]]
    assert ("tiny_class", "dog") in told and ("uneven_class", "dog") in told and ("class_missing", "dog") in told
    assert result["halves"] == {"train": 12, "validation": 2}
