"""Annotations in YOLO's text files: ``data.yaml`` and a ``labels/NAME.txt`` for every picture that shows something.

The format (docs.ultralytics.com, "Object Detection Datasets Overview"): a line a box, ``class x y width height``, the
middle and the sides as shares of the picture's, classes counted from 0; a line of an outline is ``class x y x y …``. A
picture without a file shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from mobilenets.base.extras import how_to_install
from mobilenets.base.files import nfc
from mobilenets.datasets.boxes.entries import Annotations, Box, Entry, Faulty, Four, is_there, number, text_of
from mobilenets.datasets.boxes.pictures import Pictures, as_called, half_by_path
from mobilenets.datasets.listing import Problem, names
from mobilenets.datasets.listing import pictures as pictures_in
from mobilenets.errors import InputError

LARGEST = 1 << 24  # bytes of a file of labels
LARGEST_YAML = 1 << 20
_HALVES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "predefined_classes.txt")
_OVER = 1.01  # a share that is rounded may lie a little over 1


@dataclass(frozen=True)
class YoloFiles:
    """Where a set in YOLO's format says what it is: ``data.yaml``, or a list of names, or nothing but the labels."""

    yaml: Path | None = None
    names: Path | None = None
    labels: tuple[Path, ...] = ()


@dataclass
class _Labels:
    """What is known while files of labels are read."""

    classes: tuple[str, ...] | None
    found: Annotations
    points: int = 0  # numbers that follow a box, of a set with key points
    outlines: int = 0
    highest: int = -1
    read: set[Path] = field(default_factory=set)


def yolo_files(listed: Sequence[Path]) -> YoloFiles | None:
    """Look whether the files of DATA are in YOLO's format; the ``data.yaml`` nearest to the top counts."""
    for path in sorted(listed, key=lambda one: len(one.parts)):
        if path.suffix.lower() in (".yaml", ".yml") and _is_yaml(path):
            return YoloFiles(yaml=path)
    called = next((path for name in _NAMES for path in listed if path.name == name), None)
    texts = [path for path in listed if path.suffix.lower() == ".txt" and path.name not in _NAMES]
    labels = tuple(path for path in texts if path.parent.name == "labels" or path.parent.parent.name == "labels")
    if called is not None and not labels:
        labels = tuple(texts)
    written = (path for path in labels if is_there(path) and path.stat().st_size)  # an empty one: nothing is there
    return YoloFiles(names=called, labels=labels) if any(map(_looks_so, islice(written, 50))) else None


def _is_yaml(path: Path) -> bool:
    try:
        text = text_of(path, LARGEST_YAML)
    except Faulty:
        return False
    keys = ("names",) if path.stem in ("data", "dataset") else ("names", "train|val")
    return all(re.search(rf"^({key})\s*:", text, re.MULTILINE) for key in keys)


def _looks_so(path: Path) -> bool:
    """Whether a file begins with a class and shares of a picture's sides."""
    try:
        with path.open("rb") as stream:
            class_, *shares = map(number, stream.readline(400).decode("ascii").split())
    except (OSError, ValueError):
        return False
    return class_ >= 0 and class_ % 1 == 0 and len(shares) >= 4 and all(-0.5 <= share <= 1.5 for share in shares[:4])


def read_yolo(root: Path, files: YoloFiles, pictures: Pictures) -> Annotations:
    """Read all labels of DATA; raises InputError for a ``data.yaml`` that cannot be used."""
    found = Annotations()
    told: Mapping[str, Any] = {} if files.yaml is None else read_yaml(files.yaml)
    labels = _Labels(_classes(files, told, found), found, _points(told))
    if files.yaml is None:
        halves: dict[Path, str | None] = {path: half_by_path(path, root) for path in pictures}
        found.notes.append("there is no data.yaml: halves go by the folders' names")
    else:
        halves = _halves(root, files.yaml, told, pictures, found)
    for picture, half in halves.items():
        _read(picture, half, labels)
    _orphans(labels, pictures, files)
    if labels.outlines:
        found.notes.append(f"outlines, of which the boxes around them were taken: {labels.outlines}")
    found.classes = labels.classes or tuple(str(place) for place in range(labels.highest + 1))
    if labels.classes is None:
        found.notes.append("no file names the classes: they are called by their numbers")
    return found


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read ``data.yaml``, safely: plain values only, and no aliases, which can grow without end."""
    try:
        import yaml
    except ImportError:
        raise InputError(f"{path}: PyYAML is needed to read it: {how_to_install('train')}") from None
    try:
        text = text_of(path, LARGEST_YAML)
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise InputError(f"{path}: aliases (*name) are not read in it: write the value there")
        told = yaml.safe_load(text)
    except Faulty as error:
        raise InputError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "too deep, or damaged"
        tip = "; in quotes \\ begins an escape: write / in paths" if "escape" in problem else ""
        raise InputError(f"{path}{where}: not YAML: {problem}{tip}") from error
    if not isinstance(told, dict):
        raise InputError(f"{path}: train, val and names are wanted in it")
    return told


def _classes(files: YoloFiles, told: Mapping[str, Any], found: Annotations) -> tuple[str, ...] | None:
    """Names of the classes in order of their numbers; None where nothing names them."""
    if files.yaml is None:
        if files.names is None:
            return None
        try:
            lines = text_of(files.names, LARGEST_YAML).splitlines()
        except Faulty as error:
            raise InputError(f"{files.names}: {error}") from error
        listed: Any = [line.strip() for line in lines if line.strip()]
        path = files.names
    else:
        listed, path = told.get("names"), files.yaml
    if isinstance(listed, dict):
        if sorted(listed, key=str) != sorted(range(len(listed)), key=str):
            raise InputError(f"{path}: names must be numbered from 0 to {len(listed) - 1}, each number once")
        listed = [listed[place] for place in range(len(listed))]
    if not isinstance(listed, list) or not listed or not all(isinstance(one, (str, int, float)) for one in listed):
        raise InputError(f"{path}: names must be a list of the classes, or numbers with their names")
    if any(isinstance(one, bool) for one in listed):
        raise InputError(f"{path}: names: YAML takes yes, no, on and off for true and false: put them in quotes")
    classes = tuple(nfc(str(one).strip()) for one in listed)
    twice = sorted({one for one in classes if classes.count(one) > 1})
    if twice:
        raise InputError(f"{path}: names has {names(twice)} twice: give every class a name of its own")
    if isinstance(told.get("nc"), int) and told["nc"] != len(classes):
        found.wrong(path, "", f"nc is {told['nc']}, but there are {len(classes)} names: the names count", used=True)
    return classes


def _points(told: Mapping[str, Any]) -> int:
    shape = told.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(one, int) for one in shape):
        return 0
    return int(shape[0] * shape[1])


def _halves(
    root: Path, path: Path, told: Mapping[str, Any], pictures: Pictures, found: Annotations
) -> dict[Path, str | None]:
    """The half of each picture, as ``data.yaml`` has it; a picture of two is in the later one, to be measured on."""
    halves: dict[Path, str | None] = {}
    for half, keys in _HALVES.items():
        given = next((told[key] for key in keys if told.get(key)), None)
        for one in given if isinstance(given, list) else [given]:
            if one is None:
                continue
            place = _place(root, path, told.get("path"), str(one))
            if place is None:
                found.wrong(path, "", f"{half}: {str(one)[:200]} leads nowhere inside {root.name}: not used")
                continue
            some = _listed(place, pictures, found) if place.suffix == ".txt" else _inside(place, pictures)
            both = sum(halves.get(picture) is not None for picture in some)
            if both:
                found.notes.append(
                    f"pictures of {half} that are in an earlier part of {path.name} too, and measured on: {both}"
                )
            halves |= dict.fromkeys(some, half)
    if not halves:
        found.notes.append(f"{path.name} leads to no pictures: halves go by the folders' names")
        return {picture: half_by_path(picture, root) for picture in pictures}
    return halves


def _place(root: Path, path: Path, base: Any, told: str) -> Path | None:
    """Find what ``train:`` and its like mean. Such paths count from ``path:``, from the file, or from elsewhere.

    Leading ``../`` and folders of another machine are left away until it fits, inside DATA; only a whole path that is
    there may lead out.
    """
    told = told.replace("\\", "/")
    base = str(base).replace("\\", "/") if base else ""
    for whole in (Path(told), Path(base) / told):
        if whole.is_absolute() and is_there(whole):
            return as_called(whole, root)
    wanted = [f"{base}/{told}" if base else told, told]
    for start in dict.fromkeys((path.parent, root)):
        for parts in ([part for part in PurePosixPath(one).parts if part not in ("..", ".", "/")] for one in wanted):
            for skipped in range(len(parts)):
                place = start.joinpath(*parts[skipped:])
                if is_there(place):
                    return place
    return None


def _inside(place: Path, pictures: Pictures) -> list[Path]:
    if place.is_relative_to(pictures.root):
        return [path for path in pictures if path.is_relative_to(place)]
    problems: list[Problem] = []
    outside = sorted(pictures_in(place, problems))
    pictures.outside += outside
    return outside


def _listed(place: Path, pictures: Pictures, found: Annotations) -> list[Path]:
    some: list[Path] = []
    try:
        lines = text_of(place, LARGEST).splitlines()
    except Faulty as error:
        found.wrong(place, error.where, str(error))
        return some
    for line, name in enumerate(lines, start=1):
        if name.strip():
            try:
                some.append(pictures.find(name.strip(), place))
            except ValueError as error:
                found.wrong(place, f"line {line}", str(error))
    return some


def _read(picture: Path, half: str | None, labels: _Labels) -> None:
    entry = Entry(picture, picture, half, shares=True, written="middle")
    path = next((one for one in _places_of_labels(picture) if one.exists() or one.is_symlink()), None)
    if path is not None:
        labels.read.add(path)
        entry.source = path
        try:
            lines = text_of(path, LARGEST).splitlines()
        except Faulty as error:
            labels.found.wrong(path, error.where, str(error), picture)
            labels.found.lost.add(picture)
            return
        for place, line in enumerate(lines, start=1):
            if line.strip():
                box = _box(line.split(), f"line {place}", labels)
                if isinstance(box, str):
                    labels.found.wrong(path, f"line {place}", box, picture)
                else:
                    entry.boxes.append(box)
    labels.found.entries.append(entry)


def _places_of_labels(picture: Path) -> Iterable[Path]:
    """Where the labels of a picture may lie: ``images/`` becomes ``labels/``, or beside it."""
    parts = picture.parts
    folders = [picture.parent, picture.parent.parent / "labels", picture.parent / "labels"]
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        folders.insert(0, Path(*parts[:last], "labels", *parts[last + 1 : -1]))
    # Label Studio writes the names of labels as in addresses.
    for name in dict.fromkeys((picture.stem, quote(picture.stem))):
        yield from (folder / f"{name}.txt" for folder in folders)


def _box(values: Sequence[str], where: str, labels: _Labels) -> Box | str:
    """The box of a line, or what is wrong with it."""
    outline = len(values) >= 7 and len(values) % 2 == 1 and len(values) != 5 + labels.points
    if not outline and len(values) not in (5, 5 + labels.points):
        return f"{len(values)} values: five are wanted, class x y width height, or an outline"
    try:
        class_, *shares = map(number, values)
    except ValueError as error:
        return str(error)
    if class_ % 1 or class_ < 0:  # which NaN and infinity are too
        return f"the class must be a number from 0, not {values[0][:20]}"
    known = labels.classes
    if class_ >= (10_000 if known is None else len(known)):
        told = "" if known is None else f": {len(known)} classes are named, 0 to {len(known) - 1}"
        return f"class {int(class_) if class_ < 1e9 else values[0]} is out of range{told}"
    labels.highest = max(labels.highest, int(class_))
    used = shares if outline else shares[:4]
    if any(_OVER < share < float("inf") for share in used):
        return f"{max(used):g} is greater than 1: shares of the picture's sides are wanted, not pixels"
    labels.outlines += outline
    return Box(
        _around(used) if outline else _corners(used), str(int(class_)) if known is None else known[int(class_)], where
    )


def _corners(shares: Sequence[float]) -> Four:
    across, down, width, height = shares
    return across - width / 2, down - height / 2, across + width / 2, down + height / 2


def _around(outline: Sequence[float]) -> Four:
    across, down = outline[::2], outline[1::2]
    return min(across), min(down), max(across), max(down)


def _orphans(labels: _Labels, pictures: Pictures, files: YoloFiles) -> None:
    """Name the files of labels, beside those that were read, that belong to no picture."""
    folders = {path.parent for path in labels.read} | {path.parent for path in files.labels}
    for folder in sorted(folders):
        for path in sorted(folder.glob("*.txt")):
            if path in labels.read or path.name in _NAMES or path.suffix != ".txt" or not _looks_so(path):
                continue
            if not pictures.beside(path):
                lines = sum(map(bool, map(str.strip, path.read_text("utf-8", "replace").splitlines())))
                labels.found.wrong(path, "line 1", f"there is no picture {path.stem!r} for these labels", boxes=lines)
