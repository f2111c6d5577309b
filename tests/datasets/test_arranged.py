"""Fixes and groups, from DATA to the halves of a run, and back when it is resumed."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mobilenets.datasets.arranged import group_notes
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.prepare import Dataset, prepare, prepare_again
from mobilenets.datasets.seen import SeenPictures
from mobilenets.datasets.split import split, write_split
from mobilenets.doctor.fixes import fixing
from mobilenets.doctor.groups import grouping


def ready(data: Path, *fixes: tuple[str, str, str], **more: Any) -> Dataset:
    rows = [dict(zip(("action", "path", "suggestion"), fix, strict=True)) for fix in fixes]
    return prepare(data, share=0.2, seed=0, max_unreadable=0.1, fix=fixing(rows), **more)


def names(samples: tuple[Sample, ...] | None, data: Path) -> dict[str, int]:
    return {sample.path.relative_to(data).as_posix(): sample.label for sample in samples or ()}


@pytest.fixture
def halves(draw: Any, tmp_path: Path) -> Path:
    for half, count in (("train", 5), ("validation", 3), ("test", 3)):
        draw(tmp_path / "data" / half, {"cat": count, "dog": count})
    return tmp_path / "data"


FIXES = (
    ("drop", "train/cat/000.png", ""),
    ("relabel", "train/cat/001.png", "dog"),
    ("move", "validation/dog/000.png", "train"),
    ("drop", "test/cat/000.png", ""),
    ("relabel", "test/cat/001.png", "dog"),
    ("move", "test/dog/002.png", "validation"),
)


def test_fixes_reach_every_half_and_no_file(halves: Path) -> None:
    before = {path: path.read_bytes() for path in halves.rglob("*.png")}
    dataset = ready(halves, *FIXES)
    train, validation, test = (names(half, halves) for half in (dataset.train, dataset.validation, dataset.test))
    assert "train/cat/000.png" not in train and train["train/cat/001.png"] == 1
    assert train["validation/dog/000.png"] == 1 and "validation/dog/000.png" not in validation
    assert validation["test/dog/002.png"] == 1
    assert test == {"test/cat/001.png": 1, "test/cat/002.png": 0, "test/dog/000.png": 1, "test/dog/001.png": 1}
    assert "by fixes.csv, 2 dropped, 2 moved, 2 relabelled of the pictures; no file was changed" in dataset.notes
    assert before == {path: path.read_bytes() for path in halves.rglob("*.png")}


def test_a_resumed_run_has_the_same_pictures_in_the_same_order(halves: Path, tmp_path: Path) -> None:
    dataset = ready(halves, *FIXES)
    write_split(tmp_path / "split.csv", halves, dataset.classes, dataset.train, dataset.validation)
    rows = [dict(zip(("action", "path", "suggestion"), fix, strict=True)) for fix in FIXES]
    known = (tmp_path / "split.csv", dataset.classes, dataset.fingerprint, dataset.problems)
    again = prepare_again(halves, *known, fix=fixing(rows))
    assert (again.train, again.validation, again.test) == (dataset.train, dataset.validation, dataset.test)


def test_the_fingerprint_knows_fixes(halves: Path) -> None:
    marks = {ready(halves, *FIXES[:count]).fingerprint for count in range(3)}
    assert len(marks) == 3


def test_what_was_dropped_is_not_new_to_the_model(photos: Path) -> None:
    dataset = ready(photos, ("drop", "blue/000.png", ""))
    dropped = Counter(half for _, half in dataset.seen.pictures.values())
    assert dropped["unreadable"] == 1 and sum(dropped.values()) == 30


def test_moves_hold_where_the_halves_are_drawn(photos: Path) -> None:
    plain = ready(photos)
    held = next(iter(names(plain.validation, photos)))
    taught = next(iter(names(plain.train, photos)))
    dataset = ready(photos, ("move", held, "train"), ("move", taught, "validation"))
    assert held in names(dataset.train, photos)
    assert taught in names(dataset.validation, photos)


def test_what_a_model_learned_is_never_measured_on(photos: Path) -> None:
    plain = ready(photos)
    taught = next(iter(names(plain.train, photos)))
    dataset = ready(photos, ("move", taught, "validation"), seen=plain.seen)
    assert taught in names(dataset.train, photos)
    assert any("stay in training: the first model learned them" in note for note in dataset.notes)


def test_groups_stay_on_one_side(photos: Path) -> None:
    dataset = ready(photos, group=grouping(r"/00(\d)"))
    sides = [{name[-5] for name in names(half, photos)} for half in (dataset.train, dataset.validation)]
    assert not sides[0] & sides[1]
    assert Counter(sample.label for sample in dataset.validation) == {0: 2, 1: 2, 2: 2}
    assert "10 groups were kept on one side of the split each" in dataset.notes
    sample = dataset.train[0]
    notes = group_notes({"train": dataset.train, "validation": ()}, {sample.path: "only"}, drawn=True)
    assert notes == [f"1 group was kept on one side of the split, and {len(dataset.train) - 1} pictures are in none"]


def test_groups_follow_what_an_earlier_model_knows(photos: Path) -> None:
    plain = ready(photos, group=grouping(r"/00(\d)"))
    number = plain.validation[0].path.stem
    seen = {plain.contents[photos / f"blue/{number}.png"]: ("blue", "train")}
    again = ready(photos, seen=SeenPictures(seen), group=grouping(r"/00(\d)"))
    assert {f"{name}/{number}.png" for name in ("blue", "green", "red")} <= names(again.train, photos).keys()


def test_groups_that_data_comes_with_apart_are_told(halves: Path) -> None:
    shutil.rmtree(halves / "test")
    dataset = ready(halves, group=grouping(r"/(\d+)\.png"))
    assert any(
        "3 of 5 groups stand on both sides of the split, such as 000; DATA comes split" in n for n in dataset.notes
    )
    assert group_notes({"train": dataset.train}, {}, drawn=True) == ["no pictures were found to belong together"]


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_come_near_the_share(seed: int, tmp_path: Path) -> None:
    """Groups of 2 to 14 across two classes of 60: a fifth of each, as nearly as whole groups allow."""
    samples, together = [], {}
    sizes = [2, 4, 6, 8, 10, 14, 2, 4, 6, 4]
    for label in (0, 1):
        number = 0
        for group, size in enumerate(sizes):
            for _ in range(size):
                path = tmp_path / f"{label}-{number}.png"
                path.write_bytes(b"%d %d" % (label, number))
                samples.append(Sample(path, label))
                together[path] = f"{group}-{label if group < 8 else 'both'}"
                number += 1
    halves = split(samples, ("a", "b"), 0.2, seed, tmp_path, together=together)
    held, taught = ({together[s.path] for s in half} for half in (halves.validation, halves.train))
    assert not held & taught
    counts = Counter(sample.label for sample in halves.validation)
    assert all(8 <= counts[label] <= 16 for label in (0, 1))


def test_a_class_of_one_group_stays_in_training(tmp_path: Path) -> None:
    samples = []
    for label in (0, 1):
        for number in range(6):
            path = tmp_path / f"{label}-{number}.png"
            path.write_bytes(b"%d %d" % (label, number))
            samples.append(Sample(path, label))
    together = {sample.path: "one" for sample in samples if sample.label == 0}
    halves = split(samples, ("a", "b"), 0.2, 0, tmp_path, together=together)
    assert {sample.label for sample in halves.validation} == {1}
    assert [(one.path, one.detail) for one in halves.problems] == [
        ("a", "6 pictures, but too many are of one group: none could be held out for validation")
    ]
