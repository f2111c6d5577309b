"""Every kind of fault that annotations have: named with its file and line, and the rest of the set is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.errors import InputError

SIZE = (40, 30)


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)


def read(folder: Path, **more: Any) -> BoxDataset:
    return read_boxes(folder, share=0.3, max_bad=1.0, workers=1, **more)


def found(dataset: BoxDataset) -> list[tuple[str, str]]:
    """File and detail of every problem of the kind that is for boxes, as ``problems`` has them."""
    return [(one.path, one.detail) for one in dataset.problems if one.kind == "bad_box"]


# Of each fault: the box, entry or list that has it, and what is said of it.
COCO = {
    "outside": ({"bbox": [50, 5, 5, 5]}, "outside"),
    "above": ({"bbox": [5, -20, 5, 5]}, "outside"),
    "sticks out": ({"bbox": [30, 5, 25, 5]}, "15 pixels beyond the right"),
    "empty": ({"bbox": [5, 5, 0, 5]}, "empty: 0×5"),
    "negative side": ({"bbox": [5, 5, 4, -4]}, "negative side"),
    "under a pixel": ({"bbox": [5, 5, 0.3, 8]}, "less than a pixel"),
    "nan": ({"bbox": [5, float("nan"), 4, 4]}, "NaN"),
    "infinite": ({"bbox": [5, float("inf"), 4, 4]}, "infinite"),
    "words": ({"bbox": [5, "six", 4, 4]}, "'six' is not a number"),
    "three numbers": ({"bbox": [5, 5, 4]}, "3 numbers"),
    "no box": ({"bbox": None}, "no bbox"),
    "unknown class": ({"category_id": 99}, "unknown class"),
    "no class": ({"category_id": None}, "no category_id"),
    "unknown picture": ({"image_id": 99}, "not among the images"),
    "picture id a list": ({"image_id": [1]}, "not among the images"),
    "the same box": ({"bbox": [2, 2, 10, 10]}, "duplicate: the same cat as in annotations[0]"),
    "two classes": ({"bbox": [2, 2, 10, 10], "category_id": 7}, "one is perhaps wrong"),
    "nearly the same": ({"bbox": [2, 2, 10, 10.2]}, "perhaps drawn twice"),
    "the same id": ({"id": 100, "bbox": [20, 2, 9, 9]}, "the id of an annotation before it"),
}


def coco(folder: Path, annotations: list[Any], images: list[Any] | None = None, **more: Any) -> None:
    for place in range(4):
        picture(folder / f"images/{place}.png", place)
    listed = [{"id": 5 + 3 * place, "file_name": f"{place}.png", "width": 40, "height": 30} for place in range(4)]
    good = [
        {"id": 100 + place, "image_id": 5 + 3 * place, "category_id": 3, "bbox": [2, 2, 10, 10]} for place in range(4)
    ]
    whole = {
        "images": listed + (images or []),
        "annotations": good + annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_default.json").write_text(json.dumps(whole | more))


def test_faults_of_coco(tmp_path: Path) -> None:
    entries = [
        {"id": 200 + n, "image_id": 5, "category_id": 3, "bbox": [1, 1, 4, 4]} | one
        for n, (one, _) in enumerate(COCO.values())
    ]
    coco(tmp_path, [*entries, "no object"])
    dataset = read(tmp_path)
    told = found(dataset)
    assert {path for path, _ in told} == {"annotations/instances_default.json"}
    for place, (name, (entry, what)) in enumerate(COCO.items(), start=4):
        where = f"annotations[{place}] (id {entry.get('id', 196 + place)})"
        assert any(detail.startswith(where) and what in detail for _, detail in told), name
    assert any(detail.startswith(f"annotations[{4 + len(COCO)}]: not an object") for _, detail in told)
    # Used: the good ones, what was cut, and what was only named.
    assert dataset.boxes == 4 + len(COCO) + 1 and dataset.boxes - dataset.bad == 4 + 4
    (first,) = [one for one in (*dataset.train, *dataset.validation) if one.path.name == "0.png"]
    assert [30, 5, 40, 10] in first.target.corners.tolist()


def test_faults_of_images_and_categories_of_coco(tmp_path: Path) -> None:
    images = [
        *({"id": 5, "file_name": "3.png"}, {"id": 50, "file_name": "gone.png"}, {"file_name": "3.png"}),
        *({"id": 51, "file_name": "../../etc/passwd.png"}, {"id": 52, "file_name": "1.png", "width": 40, "height": 30}),
        *({"id": 53, "file_name": "small.png", "width": 80, "height": 60}, {"id": 54, "file_name": "/" + "a" * 5000}),
    ]
    picture(tmp_path / "images/small.png", 9)
    categories = [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 5}]
    categories[0]["supercategory"] = []
    boxes = [{"id": 1, "image_id": 53, "category_id": 3, "bbox": [1, 1, 5, 5]}]
    coco(tmp_path, boxes, images, categories=categories)
    dataset = read(tmp_path)
    told = " | ".join(detail for _, detail in found(dataset))
    for what in (
        *("images[4] (id 5): the id of an image before it", "images[5] (id 50): there is no picture 'gone.png'"),
        *("images[6]: an image without id", "images[7] (id 51): there is no picture '../../etc/passwd.png'; it leads"),
        *("a picture is listed twice", "its size is written as 80×60, and the picture has 40×30"),
        *("categories[1]: the id 3 is 'cat' already", "categories[2]: a second category 'cat'"),
        *("categories[3]: a category without id or name", "images[10] (id 54): there is no picture '/aaa"),
    ):
        assert what in told, what
    assert not [one for half in dataset.halves.values() for one in half if one.path.name == "small.png"]


def voc(folder: Path, objects: str, name: str = "a", head: str = "", size: str = "") -> None:
    picture(folder / f"JPEGImages/{name}.png", ord(name[0]))
    (folder / "Annotations").mkdir(exist_ok=True)
    size = size or "<size><width>40</width><height>30</height></size>"
    text = f"{head}<annotation>\n<filename>{name}.png</filename>{size}\n{objects}</annotation>\n"
    (folder / f"Annotations/{name}.xml").write_text(text, "utf-8")


def box(left: object, top: object, right: object, bottom: object, name: str = "cat", more: str = "") -> str:
    sides = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>\n"


VOC = [
    (box(20, 5, 10, 15), "swapped corners"),
    (box(5, 5, 4, 15), "empty"),
    (box(60, 5, 70, 15), "outside"),
    (box("x", 5, 10, 15), "'x' is not a number"),
    (box("nan", 5, 10, 15), "NaN"),
    ("<object><bndbox/></object>\n", "an object without a name"),
    ("<object><name>cat</name></object>\n", "a cat without bndbox"),
    ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>\n", "a bndbox without ymin, xmax, ymax"),
    (box(3, 3, 12, 12), "duplicate: the same cat as in line 3"),
]


def test_faults_of_voc(tmp_path: Path) -> None:
    voc(tmp_path, box(3, 3, 12, 12) + "".join(text for text, _ in VOC))
    for name in "bcd":
        voc(tmp_path, box(1, 1, 40, 30, "dog"), name)
    dataset = read(tmp_path)
    told = found(dataset)
    assert len(told) == len(VOC)
    for line, (_, what) in enumerate(VOC, start=4):
        assert any(path == "Annotations/a.xml" and d.startswith(f"line {line}:") and what in d for path, d in told), (
            what
        )
    assert (dataset.boxes, dataset.bad, dataset.classes) == (4 + len(VOC), len(VOC), ("cat", "dog"))


def test_faults_of_whole_xml_files(tmp_path: Path) -> None:
    for name in "abcd":
        voc(tmp_path, box(1, 1, 40, 30), name)
    voc(tmp_path, "", "e", head='<!DOCTYPE a [<!ENTITY x "y">]>\n')
    voc(tmp_path, "<object>\n", "f")
    (tmp_path / "Annotations/f.xml").write_bytes(b"<annotation>\n<object>\n</annotation>")
    voc(tmp_path, "", "g")
    (tmp_path / "Annotations/g.xml").write_bytes(b"<annotation>\n<filename>\xff</filename></annotation>")
    voc(tmp_path, "", "h")
    (tmp_path / "Annotations/h.xml").write_text("<html/>")
    voc(tmp_path, box(1, 1, 4, 4), "i", size="<size><width>30</width><height>40</height></size>")
    voc(tmp_path, box(1, 1, 4, 4), "j")
    (tmp_path / "Annotations/j.xml").rename(tmp_path / "Annotations/lost.xml")
    (tmp_path / "JPEGImages/j.png").unlink()
    voc(tmp_path, "<a>" * 40 + "</a>" * 40, "k")
    picture(tmp_path / "JPEGImages/bare.png", 20)
    told = {Path(path).stem: detail for path, detail in found(read(tmp_path))}
    expected = {
        "e": "line 1: it declares a document type",
        "f": "line 3: not well-formed XML: mismatched tag",
        "g": "line 2: not well-formed XML",
        "h": "line 1: its outermost element is html",
        "i": "its size is written as 30×40, and the picture has 40×30",
        "k": "line 3: too many elements",
        "lost": "line 2: there is no picture 'j.png'",
        "bare": "there is no annotation file for this picture",
    }
    assert told.keys() == expected.keys()
    assert not [name for name, what in expected.items() if not told[name].startswith(what)]


YOLO = [
    ("0 0.5 0.5 0.2", "4 values"),
    ("0 0.5 0.5 0.2 0.2 0.9", "6 values"),
    ("0 0.5 half 0.2 0.2", "'half' is not a number"),
    ("3 0.5 0.5 0.2 0.2", "class 3 is out of range: 2 classes are named, 0 to 1"),
    ("-1 0.5 0.5 0.2 0.2", "a number from 0, not -1"),
    ("1.5 0.5 0.5 0.2 0.2", "a number from 0, not 1.5"),
    ("nan 0.5 0.5 0.2 0.2", "a number from 0, not nan"),
    ("cat 0.5 0.5 0.2 0.2", "'cat' is not a number"),
    ("0 20 15 10 10", "greater than 1"),
    ("0 -0.5 0.5 0.2 0.2", "outside"),
    ("0 0.5 0.5 0 0.2", "empty"),
    ("0 0.5 0.5 -0.2 0.2", "negative side"),
    ("0 0.5 inf 0.2 0.2", "infinite"),
    ("0 0.5 nan 0.2 0.2", "NaN"),
    ("0 0.5 0.5 0.4 0.4", "duplicate: the same cat as in line 1"),
    ("0 0.95 0.5 0.4 0.2", "6 pixels beyond the right"),
]


def yolo(folder: Path, lines: str, yaml: str = "names: [cat, dog]\ntrain: images\n") -> None:
    for place in range(4):
        picture(folder / f"images/{place}.png", place)
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels/0.txt").write_text("0 0.5 0.5 0.4 0.4\n" + lines)
    (folder / "labels/1.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    (folder / "data.yaml").write_text(yaml)


def test_faults_of_yolo(tmp_path: Path) -> None:
    yolo(tmp_path, "\n".join(line for line, _ in YOLO))
    (tmp_path / "labels/2.txt").write_bytes(b"0 0.5 0.5 0.2 0.2\n\xff\xfe\x80\n")
    (tmp_path / "labels/gone.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    dataset = read(tmp_path)
    told = found(dataset)
    assert len(told) == len(YOLO) + 2
    for line, (_, what) in enumerate(YOLO, start=2):
        assert any(path == "labels/0.txt" and d.startswith(f"line {line}:") and what in d for path, d in told), what
    assert ("labels/gone.txt", "line 1: there is no picture 'gone' for these labels") in told
    assert any(path == "labels/2.txt" and d.startswith("line 2: not UTF-8") for path, d in told)
    used = {one.path.name: len(one.target) for half in dataset.halves.values() for one in half}
    assert used == {"0.png": 2, "1.png": 1, "3.png": 0}


CSV = [
    ("0.png,cat,5,5,9", "5 columns: 6 are wanted"),
    ("0.png,,5,5,9,9", "a box without a class"),
    ("0.png,cat,5,,9,9", "less than four numbers"),
    ("0.png,cat,5,y,9,9", "'y' is not a number"),
    ("0.png,cat,9,5,5,9", "swapped corners"),
    ("gone.png,cat,5,5,9,9", "there is no picture 'gone.png'"),
    (",cat,5,5,9,9", "no picture is named"),
    ("0.png,cat,1,1,9,9", "duplicate: the same cat as in line 2"),
]


def test_faults_of_a_table(tmp_path: Path) -> None:
    for place in range(4):
        picture(tmp_path / f"{place}.png", place)
    good = [f"{place}.png,cat,1,1,9,9" for place in range(4)]
    lines = ["filename,class,xmin,ymin,xmax,ymax", *good, *(line for line, _ in CSV)]
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    told = found(read(tmp_path))
    assert len(told) == len(CSV)
    for line, (_, what) in enumerate(CSV, start=6):
        assert any(path == "boxes.csv" and d.startswith(f"line {line}:") and what in d for path, d in told), what


def test_a_class_that_training_lacks_is_unknown(tmp_path: Path) -> None:
    for half, name in (("train", "cat"), ("valid", "dog")):
        for place in range(2):
            picture(tmp_path / half / f"{half}{place}.png", place)
        rows = [f"{half}{place}.png,{name},1,1,9,9" for place in range(2)] + [f"{half}0.png,cat,3,3,20,20"]
        (tmp_path / half / "_annotations.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))
    told = found(read(tmp_path))
    assert [path for path, _ in told] == ["valid/_annotations.csv"] * 2
    assert all("unknown class 'dog': the classes are cat" in detail for _, detail in told)


def test_more_faults_than_allowed_are_refused_in_one_line(tmp_path: Path) -> None:
    yolo(tmp_path, "0 20 15 10 10\n")
    with pytest.raises(
        InputError, match=r"^1 of 3 boxes are wrong, more than --max-bad 0\.05 allows.*labels/0\.txt, line 2"
    ):
        read_boxes(tmp_path, workers=1)
    assert read_boxes(tmp_path, max_bad=0.4, workers=1).bad == 1


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (lambda path: path.write_text("names: [a\n"), r"data\.yaml, line \d+: not YAML"),
        (lambda path: path.write_text("names: &a [x]\ntrain: *a\n"), "aliases"),
        (lambda path: path.write_text("names: !!python/object/apply:os.system [x]\ntrain: images\n"), "not YAML"),
        (lambda path: path.write_text("names: [a, a]\ntrain: images\n"), "a twice"),
        (lambda path: path.write_text("names: {1: a, 2: b}\ntrain: images\n"), "numbered from 0"),
        (lambda path: path.write_text("names: 3\ntrain: images\n"), "must be a list"),
        (lambda path: path.write_text("names: [yes, no]\ntrain: images\n"), "in quotes"),
    ],
)
def test_a_damaged_data_yaml_is_refused(tmp_path: Path, break_it: Callable[[Path], None], what: str) -> None:
    yolo(tmp_path, "")
    break_it(tmp_path / "data.yaml")
    with pytest.raises(InputError, match=what) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_json_is_refused(tmp_path: Path) -> None:
    coco(tmp_path, [])
    path = tmp_path / "annotations/instances_default.json"
    for text, what in ((path.read_text()[:-40], "not JSON"), ("[]", "not COCO's"), ('{"images": []}', "not COCO's")):
        path.write_text(text)
        with pytest.raises(InputError, match=what):
            read(tmp_path)
