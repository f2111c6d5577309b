from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from mobilenets.doctor.classes import MANY, list_data
from mobilenets.errors import InputError


def fill(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("L", (2, 2), number).save(folder / name / f"{number:03}.png")
    return folder


def found(data: Path) -> set[tuple[str, str]]:
    return {(one.kind, one.path) for one in list_data(data).findings}


def test_nothing_is_wrong(tmp_path: Path) -> None:
    fill(tmp_path / "train", cat=12, dog=12)
    fill(tmp_path / "validation", cat=2, dog=2)
    listing = list_data(tmp_path)
    assert (listing.classes, listing.findings, listing.notes) == (("cat", "dog"), (), ())
    assert listing.counts() == {"cat": 14, "dog": 14}
    assert listing.halves["validation/dog/001.png"] == "validation"
    assert len(listing.samples) == 28


def test_classes_that_stand_in_one_half_only(tmp_path: Path) -> None:
    fill(tmp_path / "train", cat=12, dog=12, owl=0)
    fill(tmp_path / "validation", cat=2, cow=2, dog=0)
    assert found(tmp_path) == {
        ("class_missing", "dog"),
        ("class_extra", "cow"),
        ("empty_class", "train/owl"),
        ("empty_class", "validation/dog"),
    }


def test_twins(tmp_path: Path) -> None:
    fill(tmp_path / "train", cat=12, Cat=12, blue_jay=12, café=12)
    fill(tmp_path / "validation", **{"cat": 2, "Cat": 2, "blue jay": 2, unicodedata.normalize("NFD", "café"): 2})
    listing = list_data(tmp_path)
    assert found(tmp_path) == {
        ("class_twins", "train/Cat"),
        ("class_twins", "validation/Cat"),
        ("class_twins", "blue jay"),
    }
    assert listing.classes == ("Cat", "blue_jay", "café", "cat")
    assert listing.counts()["blue_jay"] == 14


def test_twins_of_unicode_are_one_class(tmp_path: Path) -> None:
    fill(tmp_path, **{"café": 12, unicodedata.normalize("NFD", "café"): 12, "dog": 24})
    assert ("class_twins", unicodedata.normalize("NFD", "café")) in found(tmp_path)
    assert list_data(tmp_path).counts() == {"café": 24, "dog": 24}


def test_tiny_and_uneven(tmp_path: Path) -> None:
    fill(tmp_path, cat=100, dog=10, owl=9, cow=40, ewe=40)
    assert found(tmp_path) == {("tiny_class", "owl"), ("uneven_class", "owl"), ("uneven_class", "dog")}


def test_one_class(tmp_path: Path) -> None:
    fill(tmp_path / "train", cat=12)
    fill(tmp_path / "val", cat=12)
    assert ("class_missing", "cat") in found(tmp_path)


def test_other_files(tmp_path: Path) -> None:
    fill(tmp_path, cat=12, dog=12)
    (tmp_path / "cat/notes.txt").write_text("x")
    for number in range(MANY + 1):
        (tmp_path / f"dog/{number}.xml").write_text("<box/>")
        (tmp_path / f"dog/{number}.psd").write_text("8BPS")
    listing = list_data(tmp_path)
    assert {Path(one.path).suffix for one in listing.findings} == {".txt", ".psd"}
    assert {one.kind for one in listing.findings} == {"not_an_image"}
    assert listing.notes == (f"{MANY + 1} files beside the pictures are not used: .xml is not read",)


def test_pictures_beside_the_classes(tmp_path: Path) -> None:
    fill(tmp_path, cat=12, dog=12)
    Image.new("L", (2, 2)).save(tmp_path / "stray.png")
    assert "1 pictures beside the class folders" in list_data(tmp_path).notes[0]


@pytest.mark.parametrize("made", ["", "cat", "train/cat"])
def test_no_pictures(made: str, tmp_path: Path) -> None:
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError):
        list_data(tmp_path)
