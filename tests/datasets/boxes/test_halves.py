"""Sets of boxes as they are split: which pictures teach, which are held out, and what is said of both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.datasets.boxes.write import write_coco
from mobilenets.datasets.folder import relative
from mobilenets.datasets.split import write_split
from mobilenets.errors import InputError
from mobilenets.pictures.boxes import Boxes

SIZE = (40, 30)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:02}.png")


def table(folder: Path, rows: list[str]) -> Path:
    """Boxes as a table: a row says the picture, the four corners and the class."""
    (folder / "boxes.csv").write_text("\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows]))
    return folder / "boxes.csv"


def many(folder: Path) -> None:
    """Twenty pictures with a toothbrush on each, and no dog."""
    pictures(folder, 20)
    boxes = Boxes.of([[1.5, 2, 11.5, 22]], [1])
    write_coco(folder / "boxes.json", ("dog", "toothbrush"), [(f"{n:02}.png", SIZE, boxes) for n in range(20)])


def read(folder: Path, **more: Any) -> BoxDataset:
    return read_boxes(folder, workers=1, **more)


def halves(dataset: BoxDataset) -> dict[str, list[str]]:
    return {
        half: [relative(one.path, dataset.layout.root) for one in some] for half, some in dataset.halves.items() if some
    }


def test_without_a_training_half_validation_is_learned_from(tmp_path: Path) -> None:
    for half in ("test", "val"):
        pictures(tmp_path / f"{half}/images", 2)
        (tmp_path / f"{half}/labels").mkdir()
        for n in range(2):
            (tmp_path / f"{half}/labels/{n:02}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("names: [cat]\nval: val/images\ntest: test/images\n")
    dataset = read(tmp_path)
    assert halves(dataset) == {
        "train": ["val/images/00.png", "val/images/01.png"],
        "validation": ["test/images/00.png", "test/images/01.png"],
    }
    assert any("no training half, so validation is used" in note for note in dataset.notes)


def test_the_split_goes_by_seed_and_keeps_copies_together(tmp_path: Path) -> None:
    many(tmp_path / "a")
    for n in range(10):
        shutil.copy(tmp_path / f"a/{n:02}.png", tmp_path / f"a/{n + 10}.png")
    first = read(tmp_path / "a", seed=1)
    assert len(first.validation) == 4 and first.copies == 0
    held = {one.path.stem for one in first.validation}
    assert held == {f"{(int(name) + 10) % 20:02}" for name in held}
    assert {one.path.stem for one in read(tmp_path / "a", seed=2).validation} != held
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = read(tmp_path / "b", seed=1)
    assert {one.path.stem for one in moved.validation} == held and moved.fingerprint == first.fingerprint


def test_the_fingerprint_is_of_the_boxes_too(tmp_path: Path) -> None:
    many(tmp_path)
    before = read(tmp_path).fingerprint
    path = tmp_path / "boxes.json"
    path.write_text(path.read_text().replace("1.5", "1.6", 1))
    after = read(tmp_path).fingerprint
    path.write_text(path.read_text().replace('"category_id": 2', '"category_id": 1', 1))
    assert len({before, after, read(tmp_path).fingerprint}) == 3


def test_a_run_that_is_continued_has_the_same_pictures_and_boxes(tmp_path: Path) -> None:
    pictures(tmp_path / "data", 30)
    rows = [f"{n:02}.png,1,1,9,9,{'abc'[k]}" for n in range(30) for k in range(3) if n % (2 * k + 1) == 0]
    path = table(tmp_path / "data", rows)
    first = read(tmp_path / "data", seed=5)
    write_split(tmp_path / "split.csv", first.layout.root, first.classes, first.train, first.validation)
    again = read(tmp_path / "data", seed=77, split_file=tmp_path / "split.csv")
    assert again.fingerprint == first.fingerprint and halves(again) == halves(first)
    path.write_text("\n".join(line for line in path.read_text().split("\n") if not line.startswith("07.png")))
    with pytest.raises(InputError, match=r"07\.png: no annotation names this picture any more"):
        read(tmp_path / "data", seed=5, split_file=tmp_path / "split.csv")
    for one, other in zip(first.train, again.train, strict=True):
        assert one.target.to_bytes() == other.target.to_bytes()


def test_unreadable_pictures_and_boxes_of_other_classes_are_left_out(tmp_path: Path) -> None:
    many(tmp_path)
    (tmp_path / "00.png").write_bytes(b"no picture")
    dataset = read(tmp_path, classes=("toothbrush",), max_unreadable=0.1)
    assert [one.kind for one in dataset.problems] == ["unreadable"] and len(dataset.sizes) == 19
    with pytest.raises(InputError, match="19 of 19 boxes are wrong"):
        read(tmp_path, classes=("dog",))


def test_a_rare_class_is_held_out_in_its_share(tmp_path: Path) -> None:
    pictures(tmp_path, 60)
    rows = [f"{n:02}.png,1,1,9,9,common" for n in range(60)] + [f"{n:02}.png,10,10,19,19,rare" for n in range(0, 60, 6)]
    table(tmp_path, rows)
    for seed in range(5):
        dataset = read(tmp_path, seed=seed)
        assert len(dataset.validation) == 12
        assert box_counts(dataset.validation, dataset.classes) == {"common": 12, "rare": 2}


def test_a_class_that_no_held_out_picture_has_is_named(tmp_path: Path) -> None:
    many(tmp_path)
    assert "train has no box of dog: it cannot be learned" in read(tmp_path).notes
    assert "validation has no box of dog: no figure says how well it is found" in read(tmp_path).notes
