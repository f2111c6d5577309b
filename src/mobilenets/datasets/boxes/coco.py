"""Annotations in COCO's JSON: ``instances_train2017.json``, Roboflow's ``_annotations.coco.json``, CVAT's, any other.

The format (cocodataset.org, "Data format"): ``images`` with ``id file_name width height``, ``annotations`` with
``image_id category_id bbox iscrowd``, a box being left, top, width, height in pixels, and ``categories`` with ``id
name``. Ids may have gaps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilenets.base.files import nfc, read_json
from mobilenets.datasets.boxes.entries import Annotations, Box, Entry, number
from mobilenets.datasets.boxes.pictures import Pictures, half_of_file
from mobilenets.datasets.listing import names
from mobilenets.errors import InputError

LARGEST = 1 << 30  # bytes; COCO's own training file has 450 million
_HEAD = 1 << 16
_PARTS = ("images", "annotations", "categories")
# The rest, above all the outlines, would take ten times the memory.
_KEPT = frozenset(
    (*_PARTS, "id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "name")
) | {"supercategory"}
_OUTLINED = "box of the outline"  # a key of ours
_NOTHING = ("background", "_background_", "__background__")
# Files of COCO that have no boxes of things, or the same boxes once more.
_OTHERS = ("captions_", "image_info_", "panoptic_", "person_keypoints_", "stuff_")


def coco_files(listed: Sequence[Path]) -> list[Path]:
    """The annotation files among those of DATA: known by their names, or by how they begin and end."""
    found = [path for path in listed if path.suffix.lower() == ".json" and not path.name.startswith(_OTHERS)]
    named = [path for path in found if path.name.startswith("instances_") or path.name.endswith(".coco.json")]
    return named or [path for path in found if _begins_so(path)]


def _begins_so(path: Path) -> bool:
    """Whether a file has the three parts of COCO's format, by its beginning and its end."""
    try:
        with path.open("rb") as stream:
            seen = stream.read(_HEAD)
            size = path.stat().st_size
            if size > _HEAD:
                stream.seek(max(_HEAD, size - _HEAD))
                seen += stream.read(_HEAD)
    except OSError:
        return False
    return sum(f'"{part}"'.encode() in seen for part in _PARTS) >= 2 and b'"file_name"' in seen


def read_coco(root: Path, files: Sequence[Path], pictures: Pictures) -> Annotations:
    """Read all files of DATA; raises InputError for one that is no such JSON at all.

    The classes are the categories of all files by id; where ids differ in what they are called, by name.
    """
    found = Annotations()
    named: dict[str, Any] = {}
    read = [(path, _opened(path)) for path in files]
    known = [(path, _categories(path, data["categories"], found)) for path, data in read]
    for categories in (own for _, own in known):
        for id_, name in categories.items():
            named.setdefault(name, id_)
    classes = sorted(named, key=lambda name: (isinstance(named[name], str), named[name]))
    for (path, data), (_, categories) in zip(read, known, strict=True):
        _read(path, data, categories, root, pictures, found)
    listed = [one for _, data in read for one in data["categories"] if isinstance(one, dict)]
    told = [one.get("supercategory") for one in listed if one.get("supercategory") != one.get("name")]
    above = {one for one in told if isinstance(one, str)}
    used = {box.name for entry in found.entries for box in entry.boxes}
    empty = [name for name in classes if name not in used and (name in above or name.lower() in _NOTHING)]
    if empty and len(empty) < len(classes):  # Roboflow writes the project's name as a category
        found.notes.append(
            f"not a class, because it has no box and only stands above others, or for the background: {names(empty)}"
        )
        classes = [name for name in classes if name not in empty]
    if outlined := sum(_OUTLINED in one for _, data in read for one in data["annotations"] if isinstance(one, dict)):
        found.notes.append(f"annotations without a box, of whose outlines the boxes were taken: {outlined}")
    found.classes = tuple(classes)
    return found


def _opened(path: Path) -> dict[str, Any]:
    data = read_json(path, "COCO's annotations are wanted", _slim, LARGEST)
    if not isinstance(data, dict) or any(not isinstance(data.get(part), list) for part in _PARTS):
        raise InputError(f"{path}: not COCO's annotations: it has no lists {', '.join(_PARTS)}")
    return data


def _slim(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    kept = {key: value for key, value in pairs if key in _KEPT}
    if "image_id" in kept and not kept.get("bbox") and (box := _around(dict(pairs).get("segmentation"))):
        kept |= {"bbox": box, _OUTLINED: True}
    return kept


def _around(outline: Any) -> list[float]:
    """The box around an outline, a list of polygons x, y, x, y, …; nothing where it is none."""
    parts = outline if isinstance(outline, list) else []
    try:
        across, down = ([number(side) for part in parts for side in part[start::2]] for start in (0, 1))
    except (TypeError, ValueError):
        return []
    if len(across) != len(down) or len(down) < 3:
        return []
    return [min(across), min(down), max(across) - min(across), max(down) - min(down)]


def _categories(path: Path, listed: Sequence[Any], found: Annotations) -> dict[Any, str]:
    """Names of the categories by id."""
    categories: dict[Any, str] = {}
    for place, one in enumerate(listed):
        where = f"categories[{place}]"
        id_, name = (one.get("id"), one.get("name")) if isinstance(one, dict) else (None, None)
        if not _is_id(id_) or not isinstance(name, str) or not name.strip():
            found.wrong(path, where, "a category without id or name")
        elif id_ in categories:
            found.wrong(path, where, f"the id {id_} is {categories[id_]!r} already, and here {name!r}")
        elif nfc(name.strip()) in categories.values():
            found.wrong(path, where, f"a second category {name!r}: both are taken as one class", used=True)
            categories[id_] = nfc(name.strip())
        else:
            categories[id_] = nfc(name.strip())
    if not categories:
        raise InputError(f"{path}: it names no category: there is nothing to learn")
    return categories


def _read(
    path: Path,
    data: Mapping[str, Any],
    categories: Mapping[Any, str],
    root: Path,
    pictures: Pictures,
    found: Annotations,
) -> None:
    half = half_of_file(path, root)
    of = (one.get("image_id") for one in data["annotations"] if isinstance(one, dict))
    images, lost = _images(path, data["images"], half, pictures, found, Counter(filter(_is_id, of)))
    seen: set[Any] = set()
    for place, one in enumerate(data["annotations"]):
        where = f"annotations[{place}]"
        if not isinstance(one, dict):
            found.wrong(path, where, "not an object with image_id, category_id and bbox")
            continue
        id_, image = one.get("id"), one.get("image_id")
        where += "" if id_ is None else f" (id {str(id_)[:20]})"
        entry = images.get(image) if _is_id(image) else None
        picture = entry.picture if entry else ""
        if _is_id(id_) and id_ in seen:
            found.wrong(path, where, "the id of an annotation before it: used all the same", picture, used=True)
        elif _is_id(id_):
            seen.add(id_)
        if entry is None:
            if not _is_id(image) or image not in lost:
                found.wrong(path, where, f"image_id {json.dumps(image)[:40]} is not among the images")
            continue
        box = _box(one, where, categories)
        if isinstance(box, str):
            found.wrong(path, where, box, picture)
        else:
            entry.boxes.append(box)


def _images(
    path: Path,
    listed: Sequence[Any],
    half: str | None,
    pictures: Pictures,
    found: Annotations,
    boxes: Mapping[Any, int],
) -> tuple[dict[Any, Entry], set[Any]]:
    """Entries by image id, and the ids of images that cannot be told, whose ``boxes`` are counted with them."""
    images: dict[Any, Entry] = {}
    lost: set[Any] = set()
    for place, one in enumerate(listed):
        where = f"images[{place}]"
        id_, name = (one.get("id"), one.get("file_name")) if isinstance(one, dict) else (None, None)
        if not _is_id(id_) or not isinstance(name, str):
            found.wrong(path, where, "an image without id or file_name")
            continue
        where += f" (id {str(id_)[:20]})"
        try:
            picture = pictures.find(name, path, half)
        except ValueError as error:
            found.wrong(path, where, str(error), boxes=boxes[id_] * (id_ not in lost))
            if id_ in images:  # whose boxes these are is not known
                found.lost.add(images.pop(id_).picture)
            lost.add(id_)
            continue
        if id_ in images or id_ in lost:
            # Of two pictures it is not known which one the boxes are of.
            unclear = id_ in images and images[id_].picture != picture
            what = f"the id of an image before it, here for {name!r}"
            found.wrong(path, where, what, boxes=boxes[id_] if unclear else 1)
            if unclear:
                found.lost |= {images.pop(id_).picture, picture}
                lost.add(id_)
            continue
        try:
            size = (number(one["width"]), number(one["height"]))
        except (KeyError, ValueError):
            size = None
        images[id_] = Entry(picture, path, half, size, written="sides")
    found.entries += images.values()
    return images, lost


def _box(one: Mapping[str, Any], where: str, categories: Mapping[Any, str]) -> Box | str:
    """The box of an annotation, or what is wrong with it."""
    category, box = one.get("category_id"), one.get("bbox")
    if not _is_id(category) or category not in categories:
        return "no category_id" if category is None else f"unknown class: no category has the id {str(category)[:20]}"
    if not isinstance(box, list) or not box:
        return "no bbox"
    if len(box) != 4:
        return f"a bbox of {len(box)} numbers: four are wanted, left, top, width, height"
    try:
        left, top, width, height = map(number, box)
    except ValueError as error:
        return f"in its bbox {error}"
    crowd = one.get("iscrowd") in (1, "1")
    return Box((left, top, left + width, top + height), categories[category], where, crowd, crowd)


def _is_id(value: Any) -> bool:
    """Whether this can be an id; pandas writes 7.0 for 7."""
    whole = isinstance(value, (int, str)) or (isinstance(value, float) and value % 1 == 0)
    return whole and not isinstance(value, bool)
