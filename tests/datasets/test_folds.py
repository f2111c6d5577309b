"""Folds: even, repeatable, and no copy of a picture in two of them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from mobilenets.datasets.folder import Sample, read_folder
from mobilenets.datasets.folds import folds_of
from mobilenets.errors import InputError


def listing(root: Path, counts: dict[str, int]) -> tuple[Sample, ...]:
    """Write files that are no pictures, each with content of its own, and list them."""
    samples = []
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = root / name / f"{number:03}.png"
            path.write_bytes(f"{name} {number:03}".encode())
            samples.append(Sample(path, label))
    return tuple(samples)


def test_each_class_and_all_pictures_are_spread_evenly(tmp_path: Path) -> None:
    samples = listing(tmp_path, {"a": 13, "b": 7, "c": 6})
    folds = folds_of(samples, ("a", "b", "c"), 5, 0, tmp_path)
    for label in range(3):
        counts = Counter(fold for fold, sample in zip(folds, samples, strict=True) if sample.label == label)
        assert set(counts) <= {1, 2, 3, 4, 5}
        assert max(counts.values()) - min(counts[fold] for fold in range(1, 6)) <= 1
    sizes = Counter(folds).values()
    assert max(sizes) - min(sizes) <= 1


def test_seed_and_names_alone_decide(tmp_path: Path) -> None:
    samples = listing(tmp_path / "one", {"a": 9, "b": 9})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    elsewhere = tuple(Sample(tmp_path / "two" / s.path.relative_to(tmp_path / "one"), s.label) for s in samples)
    folds = folds_of(samples, ("a", "b"), 3, 0, tmp_path / "one")
    assert folds_of(elsewhere, ("a", "b"), 3, 0, tmp_path / "two") == folds
    backwards = folds_of(samples[::-1], ("a", "b"), 3, 0, tmp_path / "one")
    assert backwards[::-1] == folds
    assert folds_of(samples, ("a", "b"), 3, 1, tmp_path / "one") != folds


def test_copies_stay_together(tmp_path: Path) -> None:
    samples = listing(tmp_path, {"a": 8, "b": 8})
    for place in (3, 5, 12):
        samples[place].path.write_bytes(b"the same")
    folds = folds_of(samples, ("a", "b"), 4, 0, tmp_path)
    assert len({folds[place] for place in (3, 5, 12)}) == 1


def test_groups_stay_together(tmp_path: Path) -> None:
    samples = listing(tmp_path, {"a": 8, "b": 8})
    groups = {sample.path: f"burst {place // 4}" for place, sample in enumerate(samples)}
    folds = folds_of(samples, ("a", "b"), 2, 0, tmp_path, groups)
    assert [len(set(folds[start : start + 4])) for start in range(0, 16, 4)] == [1, 1, 1, 1]
    assert Counter(folds) == {1: 8, 2: 8}
    assert set(folds[:8]) == set(folds[8:]) == {1, 2}


@pytest.mark.parametrize(
    ("counts", "folds", "words"),
    [({"a": 5, "b": 1}, 2, "class b has only one picture"), ({"a": 2, "b": 2}, 5, "only 4 pictures")],
)
def test_what_cannot_be_folded_is_refused(tmp_path: Path, counts: dict[str, int], folds: int, words: str) -> None:
    samples = listing(tmp_path, counts)
    with pytest.raises(InputError, match=words):
        folds_of(samples, tuple(counts), folds, 0, tmp_path)


def test_a_class_of_copies_alone_is_refused(tmp_path: Path) -> None:
    samples = listing(tmp_path, {"a": 4, "b": 2})
    for sample in samples[4:]:
        sample.path.write_bytes(b"the same")
    with pytest.raises(InputError, match="class b has only one picture, or copies"):
        folds_of(samples, ("a", "b"), 2, 0, tmp_path)


def test_order_is_that_of_a_listing(photos: Path) -> None:
    folder = read_folder(photos)
    assert len(folds_of(folder.samples, folder.classes, 3, 0, photos)) == len(folder.samples)
