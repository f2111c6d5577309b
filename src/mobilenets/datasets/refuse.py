"""Folders that cannot be a data set, refused in one line that says what to do."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from mobilenets.base.files import decode_text
from mobilenets.datasets.listing import entries, folders, has_pictures, is_picture, names
from mobilenets.datasets.parts import BESIDE, FILLERS, USUAL, Part, half_and_rest, half_of
from mobilenets.errors import InputError

_ARCHIVES = {".zip": "unzip", ".tar": "tar -xf", ".tgz": "tar -xf", ".gz": "tar -xf", ".bz2": "tar -xf"} | {
    ".xz": "tar -xf",
    ".rar": "unrar x",
    ".7z": "7z x",
}
_PUT = "put the pictures of each class in a folder of their own"


def refuse_file(path: Path) -> None:
    """Refuse a file where a folder is wanted; an archive must be unpacked first."""
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        raise InputError(f"{path} is an archive: unpack it ({_ARCHIVES[suffix]} {path.name}) and give the folder")
    raise InputError(f"{path} is a file: give the folder that holds the class folders")


def refuse_flat_train(parts: Sequence[Part]) -> None:
    """Refuse a training half without class folders; among folders of pictures that are no halves it is a class."""
    for part in parts:
        if part.half != "train" or not part.plain or part.classes:
            continue
        others = [other for other in parts if other.half is None and other.path.name.lower() not in FILLERS | BESIDE]
        if any(other.inside or has_pictures(other.path) for other in others):
            continue
        place = part.path / part.inside[0] if part.inside else part.path  # train/images, perhaps with train/labels
        around = part.path.parent
        boxed = {entry.name.lower() for near in (part.path, around, around.parent) for entry in folders(near)} & BESIDE
        boxes = f"; {min(boxed)}/ looks like part of a data set for detection or segmentation" if boxed else ""
        raise InputError(
            f"{place} has {_lying(place)}{boxes}: {_PUT} there{_hint(part.path) or _hint(part.path.parent)}"
        )


def refuse_named_halves(root: Path, parts: Sequence[Part]) -> None:
    """Refuse folders of pictures whose names tell a half and something else: ``train_cat``, or ``cars_train`` alone."""
    said: dict[str, dict[str, str]] = {}
    for part in parts:
        half, rest = half_and_rest(part.path.name)
        if half and rest and not part.classes and (part.inside or has_pictures(part.path)):
            said.setdefault(rest, {})[half] = part.path.name
    both = [halves for halves in said.values() if "train" in halves and len(halves) > 1]
    if not both:
        return
    tops = names([f"{name}/" for halves in both for name in halves.values()])
    if len(both) > 1:
        rest = next(rest for rest, halves in said.items() if halves is both[0])
        raise InputError(
            f"{root}: the names of {tops} tell both the half and the class: put the folders of the classes inside "
            f"train/ and validation/, as in train/{rest}/ for {both[0]['train']}/"
        )
    raise InputError(f"{root}: {tops} hold pictures, but no class folders: {_PUT} there{_hint(root)}")


def refuse_lone_half(root: Path, parts: Sequence[Part]) -> None:
    """Refuse a validation or test half that has no training half beside it."""
    lone = [part for part in parts if part.half in ("validation", "test") and part.plain and part.classes]
    if lone and (lone[0].path.name.lower() in USUAL or not any(part.half is None and part.inside for part in parts)):
        half = lone[0].path
        raise InputError(
            f"{root} has {half.name}/ with class folders but no train/: call the training folder train/, or give "
            f"only {half} to measure on it"
        )


def refuse_same(root: Path, parts: Sequence[Part]) -> None:
    """Refuse "classes" that all hold the same folders and no pictures of their own: they are halves, or hold such."""
    holding = [part for part in parts if part.inside or has_pictures(part.path)]
    same = holding[0].inside if len({part.inside for part in holding}) == 1 else ()
    if len(holding) < 2 or len(same) < 2 or any(has_pictures(part.path) for part in holding):
        return
    tops = names([f"{part.path.name}/" for part in holding])
    if all(half_of(name)[0] for name in same):
        raise InputError(
            f"{root}: the splits ({names(same)}) are inside the class folders ({tops}): put the class folders "
            f"inside the splits, as in {same[0]}/{holding[0].path.name}/"
        )
    raise InputError(
        f"{root}: {tops} contain the same folders ({names(same)}) and no pictures of their own, so they look like "
        "splits of a data set, not classes: call them train/ and validation/, or give one of them; if they are "
        "classes, move their pictures directly into them"
    )


def refuse_no_classes(root: Path, parts: Sequence[Part]) -> None:
    """Refuse ``images/`` with ``annotations/`` or alone: folders of pictures, none of which is named as a class."""
    holding = [part for part in parts if part.inside or has_pictures(part.path)]
    flat = [part.path for part in holding if has_pictures(part.path)]
    if flat and all(part.path.name.lower() in FILLERS | BESIDE for part in holding):
        place = max(flat, key=lambda path: path.name.lower() in FILLERS)
        raise InputError(f"{place} has {_lying(place)}: {_PUT} there{_hint(place) or _hint(root)}")


def refuse_no_folders(root: Path) -> None:
    """Refuse a folder without folders: flat pictures, an archive, nothing."""
    if folders(root):
        return
    archives = [entry.name for entry in entries(root) if Path(entry.name).suffix.lower() in _ARCHIVES]
    if archives and not has_pictures(root):
        refuse_file(root / archives[0])
    hint = _hint(root)
    if not hint and has_pictures(root) and _has_likes(root):
        hint = f"; if it is one class of several, give {root.resolve().parent}"
    raise InputError(f"{root} has {_lying(root)}: {_PUT}{hint}")


def _has_likes(folder: Path) -> bool:
    """Whether another folder of pictures lies beside one."""
    place = folder.resolve()
    try:
        return any(entry.name != place.name and has_pictures(Path(entry.path)) for entry in folders(place.parent))
    except InputError:
        return False


def _lying(folder: Path) -> str:
    if has_pictures(folder):
        return "pictures, but no class folders"
    return "no pictures" if folders(folder) else "no class folders"


def _hint(folder: Path) -> str:
    """Where flat pictures may have their classes: in a table beside them, or at the head of their names."""
    listed = entries(folder)
    for entry in listed:
        if entry.name.lower().endswith((".csv", ".tsv")):
            columns = _columns(Path(entry.path))
            if len(columns) > 1:
                return f"; {entry.name} ({names(columns)}) may say which class each belongs to"
    heads = [re.sub(r"[\W\d_]+$", "", Path(entry.name).stem) for entry in listed if is_picture(entry)]
    kinds = sorted({head for head in heads if head})
    if kinds and 2 <= len(kinds) <= max(2, len(heads) // 2) and all(heads):
        return f": {names([f'{kind}/' for kind in kinds])}, from the first part of the file names"
    return ""


def _columns(table: Path) -> list[str]:
    try:
        with table.open("rb") as stream:
            line = decode_text(stream.readline(4096))[0]
    except (OSError, ValueError):
        return []
    return next(iter(csv.reader([line.strip()])), [])
