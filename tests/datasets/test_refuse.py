"""Folders that cannot be a data set: refused in one line that says what to do."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import find_data
from mobilenets.errors import InputError

KINDS = ("disc", "square", "stripes")


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (sum(map(ord, name)) % 256, len(name), 7)).save(path, "PNG")
    return root


def classes(root: Path, *folders: str, kinds: tuple[str, ...] = KINDS) -> Path:
    """Put one picture of each kind into a class folder of each of these folders."""
    return put(root, *(f"{folder}/{kind}/of-{folder.replace('/', '-')}.png" for folder in folders for kind in kinds))


def refused(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_folder(find_data(root).train)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_halves_whose_names_do_not_tell(tmp_path: Path) -> None:
    said = refused(classes(tmp_path, "fold_a", "fold_b", "fold_c"))
    assert "fold_a/, fold_b/, fold_c/ contain the same folders (disc, square, stripes)" in said
    assert "call them train/ and validation/" in said


def test_names_that_tell_half_and_class(tmp_path: Path) -> None:
    said = refused(put(tmp_path / "a", *(f"{half}_{kind}/1.png" for kind in KINDS for half in ("train", "val"))))
    assert "the names of train_disc/, val_disc/, train_square/" in said and "as in train/disc/ for train_disc/" in said
    said = refused(put(tmp_path / "b", *(f"{kind}-{half}/1.png" for kind in KINDS for half in ("train", "test"))))
    assert "as in train/disc/ for disc-train/" in said
    # Without a second half they are names like any other.
    put(tmp_path / "c", "train_station/1.png", "bus_station/1.png", "test_tube/1.png")
    assert find_data(tmp_path / "c").train == tmp_path / "c"


@pytest.mark.parametrize("halves", [("cars_train/cars_train", "cars_test/cars_test"), ("birds-train", "birds-val")])
def test_named_halves_of_flat_pictures(tmp_path: Path, halves: tuple[str, str]) -> None:
    said = refused(put(tmp_path, *(f"{half}/{number}.jpg" for half in halves for number in range(3))))
    assert "hold pictures, but no class folders: put the pictures of each class in a folder of their own there" in said


def test_detection_with_halves_by_year(tmp_path: Path) -> None:
    """As COCO, with pictures among the annotations."""
    put(tmp_path, "train2017/1.jpg", "val2017/1.jpg", "annotations/1.png")
    assert "train2017 has pictures, but no class folders; annotations/ looks like" in refused(tmp_path)


def test_one_class_given_instead_of_all(tmp_path: Path) -> None:
    put(tmp_path / "PetImages", "Cat/1.jpg", "Cat/2.jpg", "Dog/1.jpg")
    assert refused(tmp_path / "PetImages/Cat").endswith(f"if it is one class of several, give {tmp_path / 'PetImages'}")
    put(tmp_path / "lone", "Cat/1.jpg")
    assert "one class of several" not in refused(tmp_path / "lone/Cat")


def test_halves_inside_the_classes(tmp_path: Path) -> None:
    said = refused(put(tmp_path, *(f"{kind}/{half}/1.png" for kind in KINDS for half in ("train", "test"))))
    assert "the splits (test, train) are inside the class folders (disc/, square/, stripes/)" in said
    assert "as in test/disc/" in said


def test_pictures_and_masks(tmp_path: Path) -> None:
    names = [f"{kind}/{folder}/1.png" for kind in KINDS for folder in ("images", "masks")]
    assert "contain the same folders (images, masks)" in refused(put(tmp_path / "a", *names))
    # A single folder in each is no half.
    put(tmp_path / "b", *(f"{kind}/images/1.png" for kind in KINDS))
    assert read_folder(find_data(tmp_path / "b").train).classes == KINDS
    classes(tmp_path / "c", "train/images", "train/masks")
    assert "images/, masks/ contain the same folders" in refused(tmp_path / "c")


def test_several_training_folders(tmp_path: Path) -> None:
    said = refused(classes(tmp_path, "train_1", "train_2", "val"))
    assert said == f"{tmp_path} has several training folders, train_1/ and train_2/: leave one of them there"


@pytest.mark.parametrize(
    ("pictures", "flat", "beside"),
    [
        (["train/images/1.png", "valid/images/1.png"], "train/images", "train/labels"),  # YOLO
        (["images/train/1.png", "images/val/1.png"], "images/train", "labels/train"),
        (["train/1.png", "val/1.png"], "train", "annotations"),  # COCO
    ],
)
def test_detection(tmp_path: Path, pictures: list[str], flat: str, beside: str) -> None:
    put(tmp_path, *pictures)
    (tmp_path / beside).mkdir(parents=True)
    (tmp_path / beside / "1.txt").write_text("0 0.5 0.5 1 1")
    said = refused(tmp_path)
    assert f"{flat} has pictures, but no class folders; " in said
    assert "looks like part of a data set for detection or segmentation" in said


@pytest.mark.parametrize("others", [["annotations/trimaps/1.png", "annotations/trimaps/2.png"], ["masks/1.png"], []])
def test_folders_that_are_no_classes(tmp_path: Path, others: list[str]) -> None:
    put(tmp_path, *(f"images/{kind}_{number}.jpg" for kind in ("pug", "beagle") for number in range(3)), *others)
    (tmp_path / "README.txt").write_text("x")
    said = refused(tmp_path)
    assert "images has pictures, but no class folders" in said and "beagle/, pug/, from the first part" in said


def test_flat_pictures(tmp_path: Path) -> None:
    flat = put(tmp_path / "flat", *(f"{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(3)))
    assert refused(flat).endswith("in a folder of their own: cat/, dog/, from the first part of the file names")
    half = put(tmp_path / "half", *(f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(3)))
    put(half, "test1/1.jpg")
    assert "train has pictures, but no class folders" in refused(half) and "cat/, dog/" in refused(half)
    table = put(tmp_path / "table", "0001.png", "0002.png")
    with (table / "train.csv").open("w") as stream:
        csv.writer(stream).writerow(["filename", "label"])
    assert refused(table).endswith("train.csv (filename, label) may say which class each belongs to")


def test_archives_and_other_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("disc/1.png", b"")
    assert refused(tmp_path / "photos.zip").endswith("is an archive: unpack it (unzip photos.zip) and give the folder")
    assert "photos.zip is an archive: unpack it" in refused(tmp_path)
    for name, way in (("a.tar.gz", "tar -xf a.tar.gz"), ("b.TGZ", "tar -xf b.TGZ"), ("c.7z", "7z x c.7z")):
        (tmp_path / name).write_bytes(b"x")
        assert f"({way})" in refused(tmp_path / name)
    (tmp_path / "labels.csv").write_text("a,b")
    assert "labels.csv is a file: give the folder that holds the class folders" in refused(tmp_path / "labels.csv")


def test_data_that_cannot_be_found(tmp_path: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "missing")
    assert "no class folders" in refused(tmp_path)
    put(tmp_path, "1.png")
    assert "pictures, but no class folders" in refused(tmp_path)
    assert "is a file" in refused(tmp_path / "1.png")
    put(tmp_path, "val/cat/1.png")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    assert "train has no pictures" in refused(tmp_path)
    put(tmp_path, "train/1.png")
    assert "train has pictures, but no class folders" in refused(tmp_path)


@pytest.mark.parametrize("half", ["validation", "Val", "test"])
def test_a_half_without_train_is_refused(half: str, tmp_path: Path) -> None:
    put(tmp_path, *(f"{top}/{name}/x.png" for top in (half, "teaching") for name in "ab"))
    assert f"has {half}/ with class folders but no train/" in refused(tmp_path)
