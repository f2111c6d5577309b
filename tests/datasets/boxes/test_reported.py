"""Sets that broke other tools, as their users reported it, rebuilt small; docs/measured/boxes.md names the reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.boxes.judge import _AT_ONCE, _near
from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.errors import InputError

LINE = "0 0.5 0.5 0.2 0.2\n"


def pictures(folder: Path, *names: str) -> None:
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(place).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(path)


def read(folder: Path, **more: Any) -> BoxDataset:
    return read_boxes(folder, share=0.3, workers=1, **{"max_bad": 0.9, **more})


def told(dataset: BoxDataset) -> str:
    return "\n".join(f"{one.path}: {one.detail}" for one in dataset.problems)


def boxes_of(dataset: BoxDataset) -> dict[str, list[list[float]]]:
    return {
        one.path.name: one.target.corners.round(3).tolist()
        for half in dataset.halves.values()
        for one in sorted(half, key=lambda one: one.path)
    }


def coco(folder: Path, names: list[str], annotations: list[dict[str, Any]], **more: Any) -> None:
    images = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    categories = [{"id": 0, "name": "background"}, {"id": 1, "name": "cat", "supercategory": "cat"}]
    value = {"images": images, "annotations": annotations, "categories": categories, **more}
    (folder / "instances_all.json").write_text(json.dumps(value))


def one(image: Any, box: Any = (1, 2, 10, 20), **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": box and list(box), **more}


NAMES = ["a.png", "b.png", "c.png", "d.png"]


def test_outlines_without_boxes(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES)
    outline = [[1, 2, 11, 2, 11, 22], [5, 1, 6, 9, 4, 4]]
    rest = [one(place, None, segmentation=outline) for place in (1, 2)]
    rle = one(3, [], segmentation={"size": [30, 40], "counts": "abc"})
    coco(tmp_path, NAMES, [one(0, iscrowd=False, segmentation=[]), *rest, rle])
    dataset = read(tmp_path)
    assert boxes_of(dataset)["b.png"] == [[1, 1, 11, 22]] and "annotations[3]: no bbox" in told(dataset)
    assert "annotations without a box, of whose outlines the boxes were taken: 2" in dataset.notes
    # A category for the background is none, and one that stands above itself stays.
    assert dataset.classes == ("cat",) and any("or for the background: background" in note for note in dataset.notes)


def test_annotations_may_be_larger_than_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, *NAMES)
    coco(tmp_path, list(NAMES), [one(number) for number in range(len(NAMES))])
    monkeypatch.setattr("mobilenets.base.files.MOST_GIVEN", 100)
    assert len(boxes_of(read(tmp_path))) == len(NAMES)
    monkeypatch.setattr("mobilenets.datasets.boxes.coco.LARGEST", 100)
    with pytest.raises(InputError, match="too large to be read"):
        read(tmp_path)


def test_ids_with_a_point_and_ids_of_two_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES)
    images = [{"id": float(place), "file_name": name} for place, name in enumerate(NAMES[:3])]
    annotations = [one(place) | {"category_id": 1.0} for place in (0.0, 1.0, 2.0, 2.0)]
    annotations[3]["bbox"] = [5, 5, 9, 9]
    coco(tmp_path, [], annotations, images=[*images, {"id": 2, "file_name": "d.png"}])
    dataset = read(tmp_path)
    assert set(boxes_of(dataset)) == {"a.png", "b.png"} and dataset.bad == 2
    assert "images[3] (id 2): the id of an image before it, here for 'd.png': its 2 boxes are left out" in told(dataset)
    # So it is where the second is not there.
    coco(tmp_path, [], annotations, images=[*images, {"id": 2, "file_name": "gone.png"}])
    dataset = read(tmp_path)
    assert set(boxes_of(dataset)) == {"a.png", "b.png"} and dataset.bad == 2
    assert "there is no picture 'gone.png': its 2 boxes are left out" in told(dataset)


def test_names_that_lead_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pictures(data, "images/5-a.png", "images/my cat.png", "images/décran.png")
    pictures(tmp_path, "secret.png")
    names = ["..\\..\\label-studio\\media\\upload\\4\\5-a.png", "images\\my%20cat.png", "d%C3%A9cran.png"]
    coco(data, [*names, "../secret.png"], [one(place) for place in (0, 1, 2, 3, 3)])
    dataset = read(data)
    assert set(boxes_of(dataset)) == {"5-a.png", "my cat.png", "décran.png"}
    assert "'../secret.png'; it leads out of data: not followed: its 2 boxes are left out" in told(dataset)
    assert dataset.bad == 2


def test_labels_named_as_in_addresses_and_labels_of_two_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, "images/décran.png", "images/b.png", "images/0_1.png", "images/0_2.png")
    (tmp_path / "labels").mkdir()
    for place in range(60):  # a long row of pictures that show nothing
        (tmp_path / f"labels/000{place}.txt").touch()
    for name, lines in (("d%C3%A9cran", 1), ("b", 1), ("x", 3)):
        (tmp_path / f"labels/{name}.txt").write_text(LINE * lines)
    assert is_detection(tmp_path)
    dataset = read(tmp_path)
    assert {name: len(found) for name, found in boxes_of(dataset).items()} == {
        "décran.png": 1,
        "b.png": 1,
        "0_1.png": 0,
        "0_2.png": 0,
    }
    assert "labels/x.txt: line 1: there is no picture 'x' for these labels: its 3 boxes are left out" in told(dataset)


def test_turned_boxes_and_outlines_among_boxes(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"images/{name}" for name in NAMES))
    (tmp_path / "labels").mkdir()
    for name in "abc":
        (tmp_path / f"labels/{name}.txt").write_text(LINE + "0 0.25 0.1 0.5 0.1 0.5 0.4 0.25 0.4\n")
    # Training and validation the same, as in small sets to try things with.
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat, Cat, none]\n")
    dataset = read(tmp_path)
    assert boxes_of(dataset)["a.png"] == [[16, 12, 24, 18], [10, 3, 20, 12]]
    assert len(dataset.train) == 3 and len(dataset.validation) == 1
    assert any("differ in case alone, each learned as its own: cat, Cat" in note for note in dataset.notes)
    assert any(note.startswith("train has no box of Cat, none") for note in dataset.notes)
    (tmp_path / "data.yaml").write_text('path: "C:\\Users\\me"\ntrain: images\nnames: [cat]\n')
    with pytest.raises(InputError, match=r"line 1: not YAML: .*write / in paths"):
        read(tmp_path)


def test_xml_without_what_nobody_needs(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES)
    box = "<bndbox><xmin>2.5</xmin><ymin>3.25</ymin><xmax>10.0</xmax><ymax>12.75</ymax></bndbox>"
    for name, more in zip(
        "abcd", ("", "<difficult>Unspecified</difficult>", "<difficult>1</difficult>", ""), strict=True
    ):
        inside = f"<filename>{name}</filename><object><name>cat</name>{more}<truncated>0.06</truncated>{box}</object>"
        (tmp_path / f"{name}.xml").write_text(f"<annotation>{inside}</annotation>")
    dataset = read(tmp_path)
    assert boxes_of(dataset)["a.png"] == [[2.5, 3.25, 10, 12.75]]
    ignored = {s.path.stem: s.target.ignored.tolist() for half in dataset.halves.values() for s in half}
    assert ignored == {"a": [False], "b": [False], "c": [True], "d": [False]}
    for name in "abcd":
        (tmp_path / f"{name}.xml").unlink()
    (tmp_path / "annotations.xml").write_text('<annotations><image name="a.png"/></annotations>')
    with pytest.raises(InputError, match="CVAT's own form: export as COCO"):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "shift_jis", "windows-1252"])
def test_xml_in_the_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    name = {"windows-1252": "pâté", "GBK": "貓"}.get(encoding, "犬")
    pictures(tmp_path, *NAMES)
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>10</xmax><ymax>12</ymax></bndbox>"
    for path in (tmp_path / file for file in NAMES):
        text = f"<annotation><filename>{path.name}</filename><object><name>{name}</name>{box}</object></annotation>"
        head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
        path.with_suffix(".xml").write_bytes((head + text).encode(encoding))
    assert read(tmp_path).classes == (name,)
    for broken, content in (("a", b"\xff\xff"), ("b", b"<a/>")):
        (tmp_path / f"{broken}.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}x"?>'.encode() + content)
    assert told(read(tmp_path, max_bad=1)).count(f"not in {encoding.lower()}x, as its first line says") == 2


@pytest.mark.parametrize("ending", ["", ".png", "  1"])
def test_lists_of_names_with_blanks_and_suffixes(tmp_path: Path, ending: str) -> None:
    names = [f"my photo {number}" if ending != "  1" else f"photo.{number}" for number in range(8)]
    pictures(tmp_path / "JPEGImages", *(f"{name}.png" for name in names))
    (tmp_path / "Annotations").mkdir()
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>10</xmax><ymax>12</ymax></bndbox>"
    for name in names:
        text = f"<annotation><filename>{name}.png</filename><object><name>cat</name>{box}</object></annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for half, some in (("train", names[:5]), ("val", names[5:])):
        (tmp_path / f"ImageSets/Main/{half}.txt").write_text("".join(f"{name}{ending}\n" for name in some))
    dataset = read(tmp_path)
    assert (len(dataset.train), len(dataset.validation), dataset.faults) == (5, 3, ())


def test_tables_of_spreadsheets(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES)
    rows = ["sep=;", "filename;class;xmin;ymin;xmax;ymax", *(f"{name};cat;1,5;2;9,25;9" for name in NAMES)]
    rows += ["gone.png;cat;1;1;9;9"] * 3
    (tmp_path / "boxes.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    dataset = read(tmp_path)
    assert boxes_of(dataset)["a.png"] == [[1.5, 2, 9.25, 9]] and dataset.bad == 3
    assert "boxes.csv: line 7: there is no picture 'gone.png': its 3 boxes are left out" in told(dataset)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_corners_in_the_place_of_sides_are_refused(tmp_path: Path, form: str) -> None:
    pictures(tmp_path, *(f"images/{name}" for name in NAMES))
    corners = [(20, 10, 30, 20), (15, 12, 25, 29), (3, 4, 39, 28)]
    if form == "coco":
        coco(tmp_path, NAMES, [one(place, box) for place in range(4) for box in corners])
    else:
        (tmp_path / "labels").mkdir()
        shares = [f"0 {a / 40} {b / 30} {c / 40} {d / 30}\n" for a, b, c, d in corners]
        for name in "abcd":
            (tmp_path / f"labels/{name}.txt").write_text("".join(shares))
    with pytest.raises(InputError, match="of 12 boxes reach beyond their pictures, and all would lie inside if"):
        read(tmp_path)
    assert any("all would lie inside if" in note for note in read(tmp_path, max_bad=1).notes)


def test_nearly_the_same_among_thousands() -> None:
    many = 1500
    assert many**2 > 2 * _AT_ONCE
    kept: list[Any] = []
    for place in range(many):
        kept.append((type("Box", (), {"name": "cat"}), (place * 2.0, 0.0, place * 2.0 + 1, 1.0)))
    kept[-1] = (kept[0][0], (0.0, 0.0, 1.0, 1.01))
    kept[900] = (kept[0][0], (2.0, 0.0, 3.0, 1.01))
    assert _near(kept) == [(0, many - 1), (1, 900)] and _near([]) == []
