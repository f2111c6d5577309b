"""Annotations in a table: a CSV file with a line a box, with or without a heading.

There is no one format. Known are TensorFlow's and Roboflow's (``filename,width,height,class,xmin,ymin,xmax,ymax``),
keras-retinanet's without heading (``path,x1,y1,x2,y2,class``, nothing but the path where a picture shows nothing), Open
Images' (shares of the sides), and left, top, width, height. What was taken for what is said in a note.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobilenets.base.files import nfc
from mobilenets.datasets.boxes.entries import Annotations, Box, Entry, Faulty, Four, number, text_of
from mobilenets.datasets.boxes.pictures import Pictures, half_of_file
from mobilenets.datasets.parts import half_of
from mobilenets.errors import InputError

LARGEST = 1 << 30  # bytes
_MOST_LETTERS = 10_000  # in a line of the heading
_WORDS = {
    "picture": "filename file image path picture img file_name image_path imagepath image_name image_id imageid frame",
    "class": "class label name category class_name classname labelname label_name category_name object species",
    "left": "xmin x_min left x0 minx min_x bbox_xmin",
    "top": "ymin y_min top y0 miny min_y bbox_ymin",
    "right": "xmax x_max right x2 maxx max_x bbox_xmax",
    "bottom": "ymax y_max bottom y2 maxy max_y bbox_ymax",
    "x": "x x1 bbox_x",
    "y": "y y1 bbox_y",
    "w": "w bbox_width bbox_w box_width",
    "h": "h bbox_height bbox_h box_height",
    "width": "width image_width img_width imagewidth",
    "height": "height image_height img_height imageheight",
    "half": "split subset set half",
}
_NUMBERS = _WORDS.keys() - {"picture", "class", "half"}
_MEANING = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}
_PLAIN = ("picture", "left", "top", "right", "bottom", "class")  # without heading
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # a first line of Excel's


def table_files(listed: Sequence[Path]) -> list[Path]:
    """The tables among the files of DATA that have columns of boxes."""
    found = []
    for path in (one for one in listed if one.suffix.lower() == ".csv"):
        try:
            with path.open("rb") as stream:
                head = stream.read(_MOST_LETTERS)
            if _columns(_first_lines(head.decode("utf-8-sig", "replace"))) is not None:
                found.append(path)
        except (OSError, csv.Error):
            continue
    return found


def _first_lines(text: str) -> list[list[str]]:
    lines = text.splitlines()[:3]
    lines = lines[bool(lines and _SEP.fullmatch(lines[0])) :]
    return list(csv.reader(lines[:2], delimiter=_delimiter(lines[0] if lines else "")))


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _columns(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """Which column means what; None where there is no box. ``bare`` is among them where there is no heading."""
    if not rows:
        return None
    heads = [cell.strip().casefold().replace(" ", "_") for cell in rows[0]]
    columns: dict[str, int] = {}
    for place, head in enumerate(heads):
        if head in _MEANING:
            columns.setdefault(_MEANING[head], place)
    if "x" in columns and "right" in columns:  # x1 and x2
        columns.setdefault("left", columns.pop("x"))
        columns.setdefault("top", columns.pop("y", -1))
    if "x" in columns and "w" not in columns and "width" in columns:  # x, y, width, height
        columns["w"], columns["h"] = columns.pop("width"), columns.pop("height", -1)
    corners = all(columns.get(side, -1) >= 0 for side in ("left", "top", "right", "bottom"))
    sides = all(columns.get(side, -1) >= 0 for side in ("x", "y", "w", "h"))
    if "picture" in columns and "class" in columns and (corners or sides):
        return columns
    if len(rows[0]) == len(_PLAIN) and _bare(rows[0]):
        return {meaning: place for place, meaning in enumerate(_PLAIN)} | {"bare": 1}
    return None


def _bare(row: Sequence[str]) -> bool:
    """Whether a row is a picture with four numbers and a class, or with none of them."""
    if not any(row[1:]):
        return "." in row[0]
    try:
        return all(number(cell) >= 0 for cell in row[1:5]) and bool(row[5].strip())
    except ValueError:
        return False


def read_table(root: Path, files: Sequence[Path], pictures: Pictures) -> Annotations:
    """Read all tables of DATA; the classes are the names found. Raises InputError for a file that is no table."""
    found = Annotations()
    for path in files:
        _read(path, root, pictures, found)
    return found


def _read(path: Path, root: Path, pictures: Pictures, found: Annotations) -> None:
    try:
        text = text_of(path, LARGEST)
    except Faulty as error:
        raise InputError(f"{path}{', ' if error.where else ''}{error.where}: {error}") from error
    columns = _columns(_first_lines(text[:_MOST_LETTERS]))
    if columns is None:
        raise InputError(f"{path}: columns for picture, class and box are wanted: filename,class,xmin,ymin,xmax,ymax")
    bare = columns.pop("bare", 0)
    wanted = 1 + max(columns.values())
    entries: dict[str, Entry] = {}
    head, *more = text.split("\n", 2)
    above = int(_SEP.fullmatch(head) is not None)
    delimiter = _delimiter(more[0] if above else head)
    read = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    first = above if bare else above + 1
    missing: dict[str, list[str]] = {}
    half = half_of_file(path, root)
    try:
        for place, row in enumerate(read):
            if place < first or not any(row):
                continue
            where = f"line {read.line_num}"
            if len(row) < wanted:
                found.wrong(path, where, f"{len(row)} columns: {wanted} are wanted")
                continue
            cells = {meaning: row[column].strip() for meaning, column in columns.items()}
            if delimiter == ";":  # written where 0.5 is 0,5
                cells |= {side: cells[side].replace(",", ".") for side in _NUMBERS & cells.keys()}
            _take(path, where, cells, entries, missing, half, pictures, found)
    except csv.Error as error:
        raise InputError(f"{path}, line {read.line_num}: not CSV: {error}") from error
    for where, why, *others in missing.values():
        found.wrong(path, where, why, boxes=1 + len(others))
    found.entries += entries.values()
    boxes = [side for entry in entries.values() for box in entry.boxes for side in box.corners]
    shares = bool(boxes) and all(-0.01 <= side <= 1.01 for side in boxes if side == side)
    corners = "left" in columns
    for entry in entries.values():
        entry.shares = shares
        entry.written = "corners" if corners else "sides"
    said = "left, top, right, bottom" if corners else "left, top, width, height"
    unit = "shares of the picture's sides" if shares else "pixels counted from 0"
    found.notes.append(f"{path.name}{' has no heading: it' if bare else ''} was read as {said}, {unit}")


def _take(
    path: Path,
    where: str,
    cells: Mapping[str, str],
    entries: dict[str, Entry],
    missing: dict[str, list[str]],
    half: str | None,
    pictures: Pictures,
    found: Annotations,
) -> None:
    """Take a line's box into the entry of its picture."""
    name = cells["picture"]
    half = half_of(cells.get("half", ""))[0] or half
    if name not in entries:
        try:
            picture = pictures.find(name, path, half)
        except ValueError as error:
            if name in missing:
                missing[name].append(where)
            else:
                missing[name or where] = [where, str(error)]
            return
        entries[name] = Entry(picture, path, half, _size(cells))
    elif half != entries[name].half:
        found.wrong(path, where, f"{name!r} is in {entries[name].half} before: it stays there", used=True)
    entry = entries[name]
    sides = [cells[side] for side in (_PLAIN[1:5] if "left" in cells else ("x", "y", "w", "h"))]
    if not any(sides) and not cells["class"]:
        return  # a picture that shows nothing
    box = _box(sides, cells["class"], where, "left" in cells)
    if isinstance(box, str):
        found.wrong(path, where, box, entry.picture)
    else:
        entry.boxes.append(box)


def _size(cells: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        return number(cells["width"]), number(cells["height"])
    except (KeyError, ValueError):
        return None


def _box(sides: Sequence[str], name: str, where: str, corners: bool) -> Box | str:
    """The box of a line, or what is wrong with it."""
    if not name:
        return "a box without a class"
    if not all(sides):
        return "a box with less than four numbers"
    try:
        one, two, three, four = map(number, sides)
    except ValueError as error:
        return str(error)
    box: Four = (one, two, three, four) if corners else (one, two, one + three, two + four)
    return Box(box, nfc(name), where)
