"""Annotations in PASCAL VOC's XML, one file a picture.

The format (Everingham and others, "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development Kit", section
"Annotation"): the corners are pixels that belong to the box, and the first pixel is 1; ``difficult`` objects are not
counted. ``ImageSets/Main/train.txt`` and its like say which picture is in which half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.parsers import expat

from mobilenets.base.files import nfc
from mobilenets.datasets.boxes.entries import Annotations, Box, Entry, Faulty, content_of, is_there, number, text_of
from mobilenets.datasets.boxes.pictures import Pictures, half_by_path
from mobilenets.datasets.boxes.xml import Node, parse
from mobilenets.datasets.listing import entries

LARGEST = 1 << 24  # bytes of one file
_LISTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_SLIPS = 0.002  # of the boxes that may be 0 by mistake
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_files(listed: Sequence[Path]) -> list[Path]:
    """The XML files among those of DATA, if they are annotations of pictures."""
    found = [path for path in listed if path.suffix.lower() == ".xml"]
    # A damaged one among them is to be named, not passed over.
    return found if any(map(_is_annotation, found[:20])) else []


def _is_annotation(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"<annotation" in stream.read(2048)
    except OSError:
        return False


def read_voc(root: Path, files: Sequence[Path], pictures: Pictures) -> Annotations:
    """Read all files of DATA. The classes are the names found.

    Corners are taken to count from 1, unless some of the set are 0 or have a fraction: then a tool wrote edges, from 0.
    """
    found = Annotations()
    listed = _lists(root, found)
    for path in files:
        half = _half(path, root, listed)
        if half == "":
            found.unused.add(str(path))
            continue
        try:
            top = parse(content_of(path, LARGEST))
            if top.name != "annotation":
                cvat = " (CVAT's own form: export as COCO, YOLO or Pascal VOC)" if top.name == "annotations" else ""
                raise Faulty(f"its outermost element is {top.name[:40]}, not annotation{cvat}", top.line)
        except (Faulty, expat.ExpatError) as error:
            where, why = _explained(error)
            found.wrong(path, where, why, next(iter(pictures.beside(path, half)), ""))
            found.lost.update(pictures.beside(path, half)[:1])
            continue
        _read(path, top, half, pictures, found)
    if listed and found.unused:
        found.notes.append(f"XML files that no list in ImageSets/Main names, not used: {len(found.unused)}")
    _count_from_one(found)
    return found


def _explained(error: Exception) -> tuple[str, str]:
    if isinstance(error, Faulty):
        return error.where, str(error)
    assert isinstance(error, expat.ExpatError)
    return f"line {error.lineno}", f"not well-formed XML: {expat.ErrorString(error.code)}"


def _read(path: Path, top: Node, half: str | None, pictures: Pictures, found: Annotations) -> None:
    named = top.find("filename")
    told, where = named.text if named else "", f"line {named.line if named else top.line}"
    beside = pictures.beside(path, half)[:1]
    try:
        # People rename pictures together with their files, and the name inside stays.
        picture = beside[0] if beside else pictures.find(told, path, half)
    except ValueError as error:
        found.wrong(path, where, str(error), boxes=len(top.all("object")))
        return
    if beside and told and nfc(Path(told).stem) != nfc(path.stem):
        what = f"it says {told[:80]!r}: the picture of the file's own name was taken"
        found.wrong(path, where, what, picture, used=True)
    entry = Entry(picture, path, half, _size(top))
    for node in top.all("object"):
        box = _box(node)
        if isinstance(box, str):
            found.wrong(path, f"line {node.line}", box, picture)
        else:
            entry.boxes.append(box)
    found.entries.append(entry)


def _size(top: Node) -> tuple[float, float] | None:
    size = top.find("size")
    sides = [size.find(side) for side in ("width", "height")] if size else []
    try:
        width, height = (number(side.text) for side in sides if side is not None)
    except ValueError:
        return None
    return (width, height) if width and height else None  # some tools write 0


def _box(node: Node) -> Box | str:
    """The box of an object, or what is wrong with it."""
    name, box = node.find("name"), node.find("bndbox")
    if name is None or not name.text:
        return "an object without a name"
    if box is None:
        return f"a {name.text[:40]} without bndbox"
    sides = [box.find(side) for side in _CORNERS]
    missing = [side for side, one in zip(_CORNERS, sides, strict=True) if one is None]
    if missing:
        return f"a bndbox without {', '.join(missing)}"
    try:
        left, top, right, bottom = (number(side.text) for side in sides if side is not None)
    except ValueError as error:
        return f"in its bndbox {error}"
    flag = node.find("difficult")
    difficult = flag is not None and flag.text.casefold() in ("1", "true", "yes")  # some write Unspecified
    return Box((left, top, right, bottom), nfc(name.text), f"line {box.line}", difficult)


def _count_from_one(found: Annotations) -> None:
    """Turn pixels that belong to the box, counted from 1, into edges counted from 0."""
    boxes = [box.corners for entry in found.entries for box in entry.boxes if all(map(math.isfinite, box.corners))]
    edges = sum(0 in corners[:2] or any(side % 1 for side in corners) for corners in boxes)
    if edges > _SLIPS * len(boxes):
        found.notes.append(
            "the corners in the XML files count from 0, not from 1 as VOC's do (some are 0, or have a fraction): "
            "they were taken as edges"
        )
        return
    for entry in found.entries:
        entry.boxes = [
            box._replace(corners=(box.corners[0] - 1, box.corners[1] - 1, *box.corners[2:])) for box in entry.boxes
        ]


def _lists(root: Path, found: Annotations) -> dict[Path, dict[str, str]]:
    """The halves that the lists in ``ImageSets/Main`` name, by the folder that holds them and by stem."""
    listed: dict[Path, dict[str, str]] = {}
    for place in sorted(
        (*root.glob("ImageSets/Main"), *root.glob("*/ImageSets/Main"), *root.glob("*/*/ImageSets/Main"))
    ):
        files = {entry.name: Path(entry.path) for entry in entries(place)}
        some = {half: files[f"{name}.txt"] for name, half in _LISTS.items() if f"{name}.txt" in files}
        if "train" not in some and "trainval.txt" in files:
            some["train"] = files["trainval.txt"]
        for half, path in some.items():
            try:
                lines = text_of(path, LARGEST).splitlines()
            except Faulty as error:
                found.wrong(path, error.where, str(error))
                continue
            _take_list(path, lines, half, listed.setdefault(place.parents[1], {}), found)
    return listed


def _take_list(path: Path, lines: Sequence[str], half: str, into: dict[str, str], found: Annotations) -> None:
    around = path.parents[2]
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        # A name may have blanks, or a suffix; behind it there may be a figure, as in the lists of one class.
        told = [Path(one).name for one in (line.strip(), line.split()[0])]
        some = dict.fromkeys(name for one in told for name in (one, Path(one).stem))
        stem = next((name for name in some if is_there(around / "Annotations" / f"{name}.xml")), None)
        if stem is None and half != "test":
            found.wrong(path, f"line {place}", f"there is no annotation file for {told[-1]!r}")
        elif (own := stem or told[-1]) and into.setdefault(own, half) != half:
            found.wrong(path, f"line {place}", f"{own!r} is in {into[own]} already: it stays there", used=True)


def _half(path: Path, root: Path, listed: Mapping[Path, Mapping[str, str]]) -> str | None:
    """The half of an annotation file: by the lists, by its folders, or None; "" where lists do not name it."""
    for place, stems in listed.items():
        if path.is_relative_to(place):
            return stems.get(path.stem, "")
    return half_by_path(path, root)
