"""Sets of boxes as people have them: four formats, found by looking, split by picture."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.boxes.judge import turned
from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.datasets.boxes.write import write_coco
from mobilenets.datasets.folder import Sample, relative
from mobilenets.errors import InputError
from mobilenets.pictures.boxes import Boxes

SIZE = (40, 30)
LINE = "0 0.5 0.5 0.2 0.2\n"
_BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def picture(path: Path, seed: int = 0, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng((seed, sum(map(ord, path.name)))).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def read(folder: Path, **more: Any) -> BoxDataset:
    return read_boxes(folder, workers=1, **more)


def halves(dataset: BoxDataset) -> dict[str, list[str]]:
    return {
        half: [relative(one.path, dataset.layout.root) for one in some] for half, some in dataset.halves.items() if some
    }


def only(dataset: BoxDataset, name: str) -> Boxes:
    (found,) = [one.target for half in dataset.halves.values() for one in half if one.path.name == name]
    return found


def coco(path: Path, names: list[str], **more: Any) -> None:
    """COCO's JSON: a box on each picture, ids with gaps, categories not in order of their names."""
    images = [{"id": 10 * n + 7, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names)]
    boxes = [
        {"id": n, "image_id": one["id"], "category_id": 90, "bbox": [1.5, 2, 10, 20]} for n, one in enumerate(images)
    ]
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}]
    put(path, json.dumps({"images": images, "annotations": boxes, "categories": categories} | more))


def test_coco_as_it_is_published(tmp_path: Path) -> None:
    for half, names in (("train2017", ("1", "2", "3")), ("val2017", ("1", "4"))):
        for name in names:
            picture(tmp_path / f"{half}/{name}.jpg", len(half))
        coco(tmp_path / f"annotations/instances_{half}.json", [f"{name}.jpg" for name in names])
    put(tmp_path / "annotations/captions_train2017.json", "{}")
    dataset = read(tmp_path)
    assert (dataset.format, dataset.classes) == ("coco", ("dog", "toothbrush"))
    assert halves(dataset) == {
        "train": ["train2017/1.jpg", "train2017/2.jpg", "train2017/3.jpg"],
        "validation": ["val2017/1.jpg", "val2017/4.jpg"],
    }
    boxes = dataset.train[0].target
    assert boxes.corners.tolist() == [[1.5, 2, 11.5, 22]] and boxes.labels.tolist() == [1]
    assert dataset.sizes[dataset.train[0].path] == SIZE and not dataset.problems


def test_crowds_are_ignored_and_pictures_without_boxes_stay(tmp_path: Path) -> None:
    for name in "abcde":
        picture(tmp_path / f"{name}.png")
    boxes = [
        {"id": n, "image_id": 7 + 10 * (n // 2), "category_id": 18, "bbox": [n, 2, 9, 9], "iscrowd": n % 2}
        for n in range(6)
    ]
    coco(tmp_path / "boxes.json", [f"{name}.png" for name in "abcde"], annotations=boxes)
    dataset = read(tmp_path)
    boxes = only(dataset, "a.png")
    assert boxes.crowd.tolist() == boxes.ignored.tolist() == [False, True]
    assert len(only(dataset, "e.png")) == 0 and len(dataset.train) + len(dataset.validation) == 5
    assert sum(box_counts((*dataset.train, *dataset.validation), dataset.classes).values()) == 3


def test_roboflow_names_its_project_as_a_category(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 90, "name": "dog", "supercategory": "pets"},
    ]
    for half in ("train", "valid", "test"):
        names = [f"{half}{n}.jpg" for n in range(2)]
        for name in names:
            picture(tmp_path / half / name)
        coco(tmp_path / half / "_annotations.coco.json", names, categories=categories)
    dataset = read(tmp_path)
    assert dataset.classes == ("dog",) and [*halves(dataset)] == ["train", "validation", "test"]
    assert dataset.test is not None and len(dataset.test) == 2


def voc(folder: Path, name: str, corners: tuple[float, ...] = (1, 1, 10, 20), more: str = "") -> None:
    picture(folder / f"JPEGImages/{name}.jpg")
    inside = f"<object><name>dog</name>{more}{_BOX.format(*corners)}<part><name>head</name></part></object>"
    put(folder / f"Annotations/{name}.xml", f"<annotation><filename>{name}.jpg</filename>{inside}</annotation>")


def test_voc_with_its_lists(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2007"
    for name in ("000005", "000007", "000009", "000012"):
        voc(root, name, more="<difficult>1</difficult>" if name == "000007" else "")
    put(root / "ImageSets/Main/train.txt", "000005\n000007\n")
    put(root / "ImageSets/Main/val.txt", "000009\n")
    put(root / "ImageSets/Main/trainval.txt", "000005\n000007\n000009\n")
    put(root / "ImageSets/Main/dog_train.txt", "000012  1\n")
    dataset = read(tmp_path)
    assert {half: len(some) for half, some in halves(dataset).items()} == {"train": 2, "validation": 1}
    # 1-based pixels that belong to the box.
    assert only(dataset, "000005.jpg").corners.tolist() == [[0, 0, 10, 20]]
    difficult = only(dataset, "000007.jpg")
    assert difficult.ignored.tolist() == [True] and difficult.crowd.tolist() == [False]


def test_corners_in_xml_that_count_from_0_are_edges(tmp_path: Path) -> None:
    for name, corners in (("a", (0, 3, 10, 20)), ("b", (4, 5, 6, 7)), ("c", (2, 2, 5, 5))):
        voc(tmp_path, name, corners)
    dataset = read(tmp_path)
    assert only(dataset, "b.jpg").corners.tolist() == [[4, 5, 6, 7]]
    assert any("count from 0" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "yaml",
    [
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n",
        "train: ../train/../images/train\nval: ../images/val\nnc: 2\nnames: ['cat', 'dog']\n",
        "path: ../datasets/pets  # of another machine\ntrain: images/train\nval: [images/val]\nnames:\n- cat\n- dog\n",
        "train: /content/pets/images/train\nval: /content/pets/images/val\nnames: [cat, dog]\n",
        "train: train.txt\nval: val.txt\nnames: [cat, dog]\n",
        "names: [cat, dog]\n",
    ],
)
def test_yolo_in_its_many_ways(tmp_path: Path, yaml: str) -> None:
    for half in ("train", "val"):
        for n in range(2):
            picture(tmp_path / f"images/{half}/{half}{n}.jpg")
        put(tmp_path / f"labels/{half}/{half}0.txt", "1 0.5 0.5 0.5 0.2\n1 0.1 0.1 0.3 0.1 0.3 0.4\n")
        put(tmp_path / f"{half}.txt", "".join(f"./images/{half}/{half}{n}.jpg\n" for n in range(2)))
    put(tmp_path / "data.yaml", yaml)
    dataset = read(tmp_path)
    assert halves(dataset) == {
        "train": ["images/train/train0.jpg", "images/train/train1.jpg"],
        "validation": ["images/val/val0.jpg", "images/val/val1.jpg"],
    }
    boxes = only(dataset, "train0.jpg")
    np.testing.assert_allclose(boxes.corners, [[10, 12, 30, 18], [4, 3, 12, 12]], atol=1e-4)
    assert dataset.classes == ("cat", "dog") and boxes.labels.tolist() == [1, 1]
    assert len(only(dataset, "train1.jpg")) == 0
    assert any("outlines" in note for note in dataset.notes)


def test_labels_without_data_yaml(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"{n}.jpg")
        put(tmp_path / f"{n}.txt", LINE)
    put(tmp_path / "classes.txt", "猫\ndog\n")
    assert read(tmp_path).classes == ("猫", "dog")


@pytest.mark.parametrize(
    ("heading", "rows", "said"),
    [
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax",
            "{},40,30,dog,4,5,10,20",
            "left, top, right, bottom, pixels",
        ),
        ("image;label;x;y;width;height", "{};dog;4;5;6;15", "left, top, width, height, pixels"),
        ("path,x1,y1,x2,y2,class_name", "{},4,5,10,20,dog", "left, top, right, bottom, pixels"),
        (
            "ImageID,LabelName,XMin,XMax,YMin,YMax",
            "{},dog,0.1,0.25,0.1666667,0.6666667",
            "shares of the picture's sides",
        ),
        (None, "{},4,5,10,20,dog", "has no heading"),
    ],
)
def test_tables(tmp_path: Path, heading: str | None, rows: str, said: str) -> None:
    names = [
        picture(tmp_path / f"pictures/{n}.jpg").stem + ("" if "ImageID" in (heading or "") else ".jpg")
        for n in range(4)
    ]
    put(tmp_path / "boxes.csv", "\n".join([*([heading] if heading else []), *(rows.format(name) for name in names)]))
    dataset = read(tmp_path)
    np.testing.assert_allclose(only(dataset, "0.jpg").corners, [[4, 5, 10, 20]], atol=1e-4)
    assert dataset.classes == ("dog",) and any(said in note for note in dataset.notes)


def test_the_format_can_be_named_and_others_are_said(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"images/{n}.jpg")
        put(tmp_path / f"labels/{n}.txt", LINE)
    put(tmp_path / "data.yaml", "names: [cat]\ntrain: images\n")
    coco(tmp_path / "instances_all.json", ["0.jpg", "1.jpg", "2.jpg"])
    assert read(tmp_path).classes == ("dog", "toothbrush")
    assert any("YOLO are there too" in note for note in read(tmp_path).notes)
    assert read(tmp_path, format="yolo").classes == ("cat",)
    with pytest.raises(InputError, match="no boxes in the format voc: wanted is XML"):
        read(tmp_path, format="voc")
    with pytest.raises(InputError, match="give one of auto, coco, yolo, voc, csv"):
        read(tmp_path, format="json")


def test_class_folders_are_no_detection(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        picture(tmp_path / f"train/{name}/1.jpg")
        put(tmp_path / f"train/{name}/1.txt", "a photo of a pet\n")
    put(tmp_path / "labels.csv", "id,label\n1,cat\n")
    put(tmp_path / "classes.txt", "1 cat\n2 dog\n")
    put(tmp_path / "bounding_boxes.txt", "1 60.0 27.0 325.0 304.0\n")
    put(tmp_path / "info.json", '{"images": 3}')
    put(tmp_path / "train/cat/notes.xml", "<note/>")
    assert not is_detection(tmp_path) and not is_detection(tmp_path / "nothing")
    with pytest.raises(InputError, match="has no boxes"):
        read(tmp_path)


def test_a_whole_path_may_lead_out_and_nothing_else(tmp_path: Path) -> None:
    outside = picture(tmp_path / "elsewhere/secret.jpg")
    data = tmp_path / "data"
    picture(data / "0.jpg"), picture(data / "1.jpg")
    rows = [f"{name},1,1,9,9,dog" for name in ("0.jpg", "1.jpg", "../elsewhere/secret.jpg")]
    put(data / "boxes.csv", "\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows]))
    dataset = read(data, max_bad=0.5)
    assert dataset.bad == 1 and "leads out of data: not followed" in dataset.problems[0].detail
    put(data / "boxes.csv", "\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows[:2], f"{outside},1,1,9,9,dog"]))
    dataset = read(data)
    assert len(dataset.train) + len(dataset.validation) == 3
    assert any("by their whole paths, used: 1, such as" in note and str(outside) in note for note in dataset.notes)


def test_data_may_be_called_by_a_relative_path_though_pictures_lie_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = picture(tmp_path / "elsewhere/secret.jpg")
    picture(tmp_path / "data/0.jpg")
    rows = [f"{name},1,1,9,9,dog" for name in ("0.jpg", tmp_path / "data/0.jpg", outside)]  # one twice
    put(tmp_path / "data/boxes.csv", "\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows]))
    monkeypatch.chdir(tmp_path)
    dataset = read(Path("data"), max_bad=0.5)
    assert dataset.layout.root == tmp_path
    assert sorted(name for some in halves(dataset).values() for name in some) == ["data/0.jpg", "elsewhere/secret.jpg"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_stored_pixels_are_turned_upright(orientation: int) -> None:
    stored = np.zeros((*SIZE[::-1], 3), np.uint8)
    stored[4:9, 10:30] = 255
    way = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    image = Image.fromarray(stored)
    upright = np.asarray(image if way is None else image.transpose(Image.Transpose(way)))
    down, across = np.nonzero(upright[..., 0])
    expected = (across.min(), down.min(), across.max() + 1, down.max() + 1)
    assert turned((10, 4, 30, 9), orientation, SIZE) == expected


def test_the_written_size_tells_whether_boxes_lie_on_stored_or_upright_pixels(tmp_path: Path) -> None:
    images, boxes = [], []
    for n, size in enumerate((SIZE, SIZE[::-1])):
        picture(tmp_path / f"{n}.jpg", orientation=6)
        images.append({"id": n, "file_name": f"{n}.jpg", "width": size[0], "height": size[1]})
        boxes.append({"id": n, "image_id": n, "category_id": 18, "bbox": [0, 0, 4, 9]})
    coco(tmp_path / "boxes.json", [], images=images, annotations=boxes)
    dataset = read(tmp_path)
    assert dataset.sizes[tmp_path / "0.jpg"] == (30, 40)
    assert only(dataset, "0.jpg").corners.tolist() == [[21, 0, 30, 4]]
    assert only(dataset, "1.jpg").corners.tolist() == [[0, 0, 4, 9]]
    told = " ".join(dataset.notes)
    assert "as labelImg, CVAT and Ultralytics have them: 1" in told and "of the stored pixels: 1" in told


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    boxes = Boxes.of([[1, 2, 11.25, 20], [3, 3, 30, 30]], [1, 0], crowd=[False, True])
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg")
    listed = [("images/a.jpg", SIZE, boxes), ("images/b.jpg", SIZE, Boxes.of())]
    write_coco(tmp_path / "annotations/instances_all.json", ("x", "y"), listed)
    dataset = read(tmp_path)
    assert only(dataset, "a.jpg").to_bytes() == boxes.to_bytes() and dataset.classes == ("x", "y")


def test_a_pipe_in_place_of_labels_is_named_and_not_waited_for(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"images/{n}.jpg")
        put(tmp_path / f"labels/{n}.txt", LINE)
    (tmp_path / "labels/0.txt").unlink()
    os.mkfifo(tmp_path / "labels/0.txt")
    put(tmp_path / "data.yaml", "names: [cat]\ntrain: images\n")
    dataset = read(tmp_path, max_bad=0.4)
    assert "not a regular file" in dataset.problems[0].detail and len(dataset.sizes) == 2


def test_samples_hold_boxes_that_can_be_replaced() -> None:
    sample = Sample(Path("a.jpg"), 0, Boxes.of([[0, 0, 1, 1]], [0]))
    assert {sample, dataclasses.replace(sample)} == {sample}


def test_class_folders_with_annotations_are_said_to_be_both(tmp_path: Path) -> None:
    for n, name in enumerate(("cat", "dog") * 3):
        picture(tmp_path / f"{name}/{n}.jpg")
        inside = f"<object><name>{name}</name>{_BOX.format(1, 1, 9, 9)}</object>"
        put(tmp_path / f"{name}/{n}.xml", f"<annotation>{inside}</annotation>")
    assert any("--task classification" in note for note in read(tmp_path).notes)
    for n in range(3):
        picture(tmp_path / f"flat/{n}.jpg")
    coco(tmp_path / "flat/boxes.json", ["0.jpg", "1.jpg", "2.jpg"])
    assert not any("--task classification" in note for note in read(tmp_path / "flat").notes)


def test_a_class_that_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    boxes = Boxes.of(np.array([[1, 1, 9, 9]], np.float32), [0])
    write_coco(tmp_path / "instances_all.json", ["cat\ndog"], [("a.png", (20, 20), boxes)])
    with pytest.raises(InputError, match=r"the class 'cat\\ndog' has a character that cannot be shown"):
        read_boxes(tmp_path)
