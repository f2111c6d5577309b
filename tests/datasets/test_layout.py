"""How people unpack data sets: each layout is read rightly, with a word on what was assumed, or refused in one line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.parts import half_of
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


@pytest.mark.parametrize(
    ("folders", "train", "validation", "test"),
    [
        (["Training", "Testing"], "Training", "Testing", None),
        (["training_set/training_set", "test_set/test_set"], "training_set/training_set", "test_set/test_set", None),
        (["train/train", "val/val"], "train/train", "val/val", None),
        (["train", "dev"], "train", "dev", None),
        (["training", "validation", "evaluation"], "training", "validation", "evaluation"),
        (["seg_train/seg_train", "seg_test/seg_test"], "seg_train/seg_train", "seg_test/seg_test", None),
        (["Train_Data", "Valid_Data", "Test_Data"], "Train_Data", "Valid_Data", "Test_Data"),
        (["TRAIN", "TEST"], "TRAIN", "TEST", None),
        (["TrainingImages", "HoldOut"], "TrainingImages", "HoldOut", None),
        (["train_images", "val_images", "test_images"], "train_images", "val_images", "test_images"),
        (["images_train", "images_test"], "images_train", "images_test", None),
        (["birds-train", "birds-eval"], "birds-train", "birds-eval", None),
        (["trainset", "testset"], "trainset", "testset", None),
        (["train_split", "hold_out"], "train_split", "hold_out", None),
        (["train/images", "val/images"], "train/images", "val/images", None),
        (["train", "valid", "eval"], "train", "valid", "eval"),
        (["训练集", "验证集", "测试集"], "训练集", "验证集", "测试集"),
        (["訓練", "驗證集"], "訓練", "驗證集", None),
        (["学習データ", "検証データ", "テスト"], "学習データ", "検証データ", "テスト"),
        (["훈련", "검증"], "훈련", "검증", None),
        (["обучение", "тест"], "обучение", "тест", None),
        (["Training", "Validierung"], "Training", "Validierung", None),
        (["entrenamiento", "validaci\u0301on", "prueba"], "entrenamiento", "prueba", None),
        (["entrai\u0302nement", "validation"], "entrai\u0302nement", "validation", None),
        (["trainval", "test"], "trainval", "test", None),
    ],
)
def test_halves_by_their_names(
    tmp_path: Path, folders: list[str], train: str, validation: str | None, test: str | None
) -> None:
    found = find_data(classes(tmp_path, *folders))
    places = [None if place is None else tmp_path / place for place in (train, validation, test)]
    assert [found.train, found.validation, found.test] == places
    assert found.root == tmp_path
    for place in filter(None, (found.train, found.validation, found.test)):
        assert read_folder(place).classes == KINDS
        named = {"train", "validation", "val", "valid", "test"}.issuperset(
            str(p).lower() for p in (train, validation, test) if p
        )
        assert named or any(place.relative_to(tmp_path).as_posix() in note for note in found.notes)


@pytest.mark.parametrize("wrapper", ["archive", "dataset/images", "Garbage classification/Garbage classification"])
def test_a_wrapper_is_gone_through(tmp_path: Path, wrapper: str) -> None:
    halves = find_data(classes(tmp_path / "one", f"{wrapper}/train", f"{wrapper}/test"))
    assert (halves.root, halves.train) == (tmp_path / "one" / wrapper, tmp_path / "one" / wrapper / "train")
    alone = find_data(classes(tmp_path / "two", wrapper))
    assert (alone.root, alone.train, alone.validation) == (*[tmp_path / "two" / wrapper] * 2, None)
    assert f"found in {tmp_path / 'two' / wrapper}" in alone.notes[-1]


def test_a_run_beside_a_wrapper(tmp_path: Path) -> None:
    """As training with an --out in DATA leaves it."""
    put(classes(tmp_path, "archive"), "run/curves.png")
    (tmp_path / "run" / "model.json").write_text("{}")
    assert find_data(tmp_path).train == tmp_path / "archive"


def test_what_lies_beside_a_wrapper_is_said(tmp_path: Path) -> None:
    classes(tmp_path, "images")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "train.txt").write_text("disc/000")
    [note] = find_data(tmp_path).notes
    assert note.endswith("images; not used: meta beside it")


def test_a_single_folder_of_a_known_class_is_no_wrapper(tmp_path: Path) -> None:
    put(tmp_path, "disc/red/1.png", "disc/blue/2.png")
    assert find_data(tmp_path, {"disc": "disc"}.get).train == tmp_path
    assert find_data(tmp_path).train == tmp_path / "disc"


@pytest.mark.parametrize("name", ["test", "test1", "Testing", "seg_pred/seg_pred", "test/images", "unlabelled"])
def test_pictures_without_classes_beside_train(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "train")
    found = find_data(put(tmp_path, *(f"{name}/{number}.png" for number in range(10))))
    assert (found.train, found.validation, found.test) == (tmp_path / "train", None, None)
    top = name.split("/")[0]
    assert f"{top}/ was not used: its 10 pictures are not in class folders" in " ".join(found.notes)
    assert f"mobilenets predict RUN {tmp_path / top}" in " ".join(found.notes)
    assert "there is no validation/ beside train/: some of its pictures are held out" in " ".join(found.notes)


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    classes(tmp_path, "train", "val", "dev", "extra")
    (tmp_path / "docs").mkdir()
    found = find_data(tmp_path)
    assert found.validation == tmp_path / "val"
    said = " ".join(found.notes)
    assert "dev/ was not used, although it has class folders (disc, square, stripes)" in said
    assert "extra/ was not used, although" in said and "not used, as there are no pictures in them: docs/" in said


def test_the_usual_layouts_need_no_word(tmp_path: Path) -> None:
    assert find_data(classes(tmp_path / "a", "train", "val", "test")).notes == ()
    assert find_data(classes(tmp_path / "b", ".")) == Layout(tmp_path / "b", tmp_path / "b")


def test_a_class_missing_in_one_half(tmp_path: Path) -> None:
    classes(tmp_path, "Training")
    classes(tmp_path, "Testing", kinds=("disc", "square"))
    found = find_data(tmp_path)
    assert (found.train, found.validation) == (tmp_path / "Training", tmp_path / "Testing")
    assert found.validation is not None
    assert [p.kind for p in read_folder(found.validation, KINDS).problems] == ["class_missing"]


def test_classes_whose_names_sound_like_halves(tmp_path: Path) -> None:
    put(tmp_path / "a", "train_station/1.png", "test_tube/1.png", "dev_board/1.png")
    assert find_data(tmp_path / "a") == Layout(tmp_path / "a", tmp_path / "a")
    put(tmp_path / "b", "train/1.png", "car/1.png", "plane/1.png")
    assert find_data(tmp_path / "b") == Layout(tmp_path / "b", tmp_path / "b")
    put(tmp_path / "d", "train/steam/1.png", "train/diesel/1.png", "car/suv/1.png", "plane/jet/1.png", "plane/2.png")
    assert find_data(tmp_path / "d") == Layout(tmp_path / "d", tmp_path / "d")
    put(tmp_path / "c", "freight train/steam/1.png", "freight train/diesel/1.png", "bus/city/1.png", "tram/1.png")
    assert find_data(tmp_path / "c") == Layout(tmp_path / "c", tmp_path / "c")


def test_folders_that_are_alike_but_not_the_same(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    put(tmp_path, "b/more/1.png")
    [note] = find_data(tmp_path).notes
    assert note.startswith("a/, b/ were used as classes, although all of them contain disc, square, stripes")


def test_halves_beside_a_folder_of_unlabelled_pictures(tmp_path: Path) -> None:
    """As Kaggle's new plant diseases."""
    name = "Plants(Augmented)/Plants(Augmented)"
    classes(tmp_path, f"{name}/train", f"{name}/valid")
    put(tmp_path, "test/test/1.png", "test/test/2.png")
    found = find_data(tmp_path)
    assert (found.train, found.validation) == (tmp_path / name / "train", tmp_path / name / "valid")
    assert any("not used: test beside it" in note for note in found.notes)


def test_imagenets_own_layout(tmp_path: Path) -> None:
    place = "ILSVRC/Data/CLS-LOC"
    classes(tmp_path, f"{place}/train")
    put(tmp_path, f"{place}/val/1.png", f"{place}/test/1.png")
    (tmp_path / "ILSVRC/Annotations/CLS-LOC").mkdir(parents=True)
    found = find_data(tmp_path)
    assert (found.train, found.validation) == (tmp_path / place / "train", None)
    assert sum("was not used: its 1 pictures are not in class folders" in note for note in found.notes) == 2
    # And that of its small edition.
    small = tmp_path / "tiny"
    put(small, *(f"train/n0{number}/images/1.png" for number in range(2)), "val/images/1.png", "test/images/1.png")
    tiny = find_data(small)
    assert (tiny.train, tiny.validation, tiny.test) == (small / "train", None, None)
    assert read_folder(tiny.train).classes == ("n00", "n01")


def test_runs_and_environments_are_no_classes(tmp_path: Path) -> None:
    classes(tmp_path, ".")
    put(tmp_path, "runs/photos-1/confusion.png", "run/curves.png", "venv/lib/icon.png")
    for name in ("runs/photos-1/model.json", "run/model.json", "venv/pyvenv.cfg"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "output").mkdir()
    (tmp_path / "data.json").write_text("{}")
    put(tmp_path, ".ipynb_checkpoints/1.png")
    found = read_folder(find_data(tmp_path).train)
    assert found.classes == KINDS
    assert [note.split("/")[0] for note in found.notes] == ["run", "runs", "venv"]
    assert [(p.kind, Path(p.path).name) for p in found.problems] == [("empty_class", "output")]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    classes(tmp_path, "train", "val")
    (tmp_path / "train" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert find_data(tmp_path).validation == tmp_path / "val"


def test_a_folder_that_cannot_be_listed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path, "train", "val")
    (tmp_path / "private").mkdir()
    (tmp_path / "train/disc/locked").mkdir()
    scandir, status = os.scandir, os.stat

    # Root, as in containers, may read everything.
    def listed(path: str | Path) -> object:
        if Path(path).name in ("private", "locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def looked_at(path: Any, **how: Any) -> object:
        if not isinstance(path, int) and Path(path).parent.name in ("private", "locked"):
            raise PermissionError(13, "Permission denied")
        return status(path, **how)

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(os, "stat", looked_at)
    found = find_data(tmp_path)
    assert "private/ was not used: the folder cannot be read: Permission denied" in found.notes
    [problem] = read_folder(found.train).problems
    assert (problem.kind, problem.detail) == ("unreadable", "the folder cannot be read: Permission denied")
    shutil.move(tmp_path / "private", tmp_path / "train" / "private")
    with pytest.raises(
        InputError, match=r"private: the folder cannot be read: Permission denied: make it readable, or move it away"
    ):
        read_folder(found.train)


@pytest.mark.parametrize(
    ("name", "half"),
    [
        *(
            (name, ("train", True))
            for name in ("train", "Training", "training_set", "TrainData", "train-images", "train2")
        ),
        *((name, ("train", False)) for name in ("seg_train", "freight_train", "train station")),
        *((name, ("validation", True)) for name in ("val", "VALID", "validation set", "dev", "valset")),
        *((name, ("test", True)) for name in ("test", "test1", "Testing", "evaluation", "hold-out", "test_set")),
        *((name, (None, False)) for name in ("cat", "trainers", "testament", "valley", "device", "train_test", "2")),
    ],
)
def test_which_half_a_name_tells(name: str, half: tuple[str | None, bool]) -> None:
    assert half_of(name) == half


@pytest.mark.parametrize("half", ["validation", "val", "valid", "test", "Val"])
def test_both_halves_are_found(tmp_path: Path, half: str) -> None:
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{half}/cat/2.png")
    found = find_data(tmp_path)
    assert found == Layout(tmp_path, tmp_path / "train", tmp_path / half, notes=found.notes)
    assert found.notes == (("there is no validation/, so test/ is used for validation",) if half == "test" else ())


def test_test_stands_beside_validation(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "val/cat/2.png", "test/cat/3.png")
    assert find_data(tmp_path) == Layout(tmp_path, *(tmp_path / name for name in ("train", "val", "test")))


def test_classes_alone(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    assert find_data(tmp_path) == Layout(tmp_path, tmp_path)


def test_train_alone_is_to_be_split(tmp_path: Path) -> None:
    found = find_data(put(tmp_path, "train/cat/1.png", "train/dog/1.png"))
    assert found == Layout(tmp_path, tmp_path / "train", notes=found.notes)
    assert "some of its pictures are held out for validation" in found.notes[0]


def test_train_can_be_a_class(tmp_path: Path) -> None:
    put(tmp_path, "car/1.png", "plane/1.png", "train/1.png")
    assert find_data(tmp_path) == Layout(tmp_path, tmp_path)
    assert read_folder(tmp_path).classes == ("car", "plane", "train")
