"""How a data set lies in its folder: one folder a class, or halves that hold one folder a class each."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.data.listing import entries, folders, has_pictures, is_picture, is_run, names, pictures
from mobilenets.errors import InputError
from mobilenets.runtime.files import decode_text, nfc

_HALVES = {
    "train": "train training trainset trn learn",
    "validation": "validation val valid validate valset validset dev devset development",
    "test": "test testing testset tst eval evaluation evaluate holdout heldout unseen",
}
_HALF = {word: half for half, words in _HALVES.items() for word in words.split()}
# Words that say nothing: training_set, images_train, test1, Train Data.
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "image", "images", "imgs", "img", "picture", "pictures", "pics"),
        *("photo", "photos", "jpg", "jpeg", "png", "jpegimages", "files", "split", "part", "folder", "samples"),
        *("raw", "all", "original", "originals", "class", "classes"),
    )
)
_BESIDE = frozenset(("masks", "labels", "annotations"))
_USUAL = frozenset(("train", "validation", "val", "valid", "test"))
_ARCHIVES = {".zip": "unzip", ".tar": "tar -xf", ".tgz": "tar -xf", ".gz": "tar -xf", ".bz2": "tar -xf"} | {
    ".xz": "tar -xf",
    ".rar": "unrar x",
    ".7z": "7z x",
}
_PUT = "put the pictures of each class in a folder of its own"


@dataclass(frozen=True)
class Layout:
    """Which folders of DATA hold the classes; without ``validation``, ``train`` is to be split by seed.

    ``test`` is set only where there is a test folder besides a validation folder. ``root`` is DATA, or the folder in it
    that holds everything. ``notes`` are sentences on what was assumed or left out.
    """

    root: Path
    train: Path
    validation: Path | None = None
    test: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """A folder in DATA: the half that its name tells, and the folder of its class folders, None where there are none.

    ``plain`` where the name says nothing but the half.
    """

    path: Path
    half: str | None
    plain: bool
    classes: Path | None
    inside: tuple[str, ...]


def find_data(root: Path, known: Callable[[str], str | None] | None = None) -> Layout:
    """Recognise DATA: ``train/`` with ``validation/`` (or ``val``, ``dev``, ``test``, …), or one folder a class.

    Names of halves are known in any case and with additions (``Training``, ``training_set``, ``seg_train``). A half, or
    DATA, that holds nothing but one folder with everything in it is gone through. ``train`` is a class like any other
    (as among cars and planes) where it has no class folders inside. ``known`` gives the class that a folder stands for,
    or None: a folder of a known class is not gone through.

    Raises InputError in one line: no such folder, a file, no class folders, folders that are halves by what they hold
    but not by their names.
    """
    _refuse_file(root)
    notes: list[str] = []
    root = _unwrapped(root, known, notes)
    listed = [Path(entry.path) for entry in folders(root)]
    parts = [_part(path) for path in listed if not is_run(path)]
    train = _training(parts)
    if train is None:
        _refuse_flat_train(parts)
        _refuse_lone_half(root, parts)
        _refuse_same(root, parts)
        _refuse_no_folders(root)
        return Layout(root, root, notes=(*notes, *_alike(parts)))
    chosen = {"train": train}
    for half in ("validation", "test"):
        fitting = [part for part in parts if part.half == half and part.classes and (part.plain or _share(part, train))]
        if fitting:
            chosen[half] = min(fitting, key=lambda part: (not part.plain, _rank(part, half)))
    rest = [part for part in parts if part not in chosen.values()]
    if len(chosen) == 1:
        notes.append(f"there is no validation/ beside {train.path.name}/: some of its pictures are held out instead")
    if "validation" not in chosen and "test" in chosen:
        chosen["validation"] = chosen.pop("test")
        notes.append(f"there is no validation/, so {chosen['validation'].path.name}/ serves for it")
    notes += [*_taken(root, chosen), *_left(rest)]
    places = {half: part.classes or part.path for half, part in chosen.items()}
    return Layout(root, places["train"], places.get("validation"), places.get("test"), tuple(notes))


def half_of(name: str) -> tuple[str | None, bool]:
    """Say which half a folder's name tells, ``train``, ``validation``, ``test`` or None, and whether it says only that.

    >>> half_of("Training"), half_of("seg_test"), half_of("training_set")
    (('train', True), ('test', False), ('train', True))
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    spaced = re.sub(r"hold[ _-]?out", "holdout", spaced)
    words = re.findall(r"[^\W\d_]+", spaced)
    halves = {half for word in words if (half := _HALF.get(word) or _HALF.get(_bare(word)))}
    if len(halves) != 1:
        return None, False
    rest = [word for word in words if word not in _FILLERS and not (_HALF.get(word) or _HALF.get(_bare(word)))]
    return halves.pop(), not rest


def _bare(word: str) -> str:
    """Take a filler from the end of a word: ``traindata``, ``testimages``."""
    return re.sub(r"(set|data|dataset|images|imgs|photos|pictures)$", "", word)


def _part(path: Path) -> _Part:
    half, plain = half_of(path.name)
    top, inside = path, _holding(path)
    # train/train/<class>: the one folder in it that holds everything.
    while len(inside) == 1 and not has_pictures(top) and (below := _holding(top / inside[0])):
        if has_pictures(top / inside[0]) or (len(below) == 1 and not _is_wrapper(inside[0], path, half)):
            break
        top, inside = top / inside[0], below
    flat = all(_is_wrapper(name, path, half) or name.lower() in _BESIDE for name in inside)
    if has_pictures(path) or (flat and not any(_holding(top / name) for name in inside)):
        return _Part(path, half, plain, None, tuple(inside))
    return _Part(path, half, plain, top, tuple(inside))


def _is_wrapper(name: str, path: Path, half: str | None) -> bool:
    """Whether a folder's name says nothing beyond the name of the one that it lies in: no class is called so."""
    return name.lower() in {*_FILLERS, path.name.lower()} or (half is not None and half_of(name)[0] == half)


def _holding(folder: Path) -> list[str]:
    """The folders in a folder that hold pictures at any depth; none in one that cannot be listed."""
    try:
        below = folders(folder)
    except InputError:
        return []
    return [entry.name for entry in below if has_pictures(Path(entry.path), deep=True)]


def _unwrapped(root: Path, known: Callable[[str], str | None] | None, notes: list[str]) -> Path:
    """Go through folders that hold nothing but one folder with everything in it, as archives unpack."""
    top = root
    while not has_pictures(top):
        inside = _holding(top)
        if len(inside) != 1 or half_of(inside[0])[1] or (known is not None and known(inside[0]) is not None):
            break
        only = top / inside[0]
        if has_pictures(only) or not _forks(only):
            break
        beside = [entry.name for entry in entries(top) if entry.name != only.name]
        left = f"; not used: {names(beside)} beside it" if beside else ""
        notes.append(f"the class folders were looked for in {only}{left}")
        top = only
    return top


def _forks(folder: Path) -> bool:
    """Whether there are two folders with pictures below, side by side, with no picture on the way."""
    while not has_pictures(folder) and (inside := _holding(folder)):
        if len(inside) > 1:
            return True
        folder /= inside[0]
    return False


def _training(parts: Sequence[_Part]) -> _Part | None:
    """The part that is the training half, or None; a name such as ``train_station`` needs another half beside it."""
    found = [part for part in parts if part.half == "train" and part.classes]
    others = [part for part in parts if part.half in ("validation", "test")]
    fitting = [part for part in found if part.plain] or [
        part for part in found if any(_share(part, other) or not other.classes for other in others)
    ]
    fitting = [part for part in fitting if part.path.name.lower() == "train"] or fitting
    if len(fitting) > 1:
        both = " and ".join(f"{part.path.name}/" for part in fitting)
        raise InputError(f"{fitting[0].path.parent} has several training folders, {both}: leave one of them there")
    for part in fitting:
        _refuse_same(part.path, [_part((part.classes or part.path) / name) for name in part.inside])
    return fitting[0] if fitting else None


def _share(part: _Part, other: _Part) -> bool:
    """Whether two parts hold a folder of the same name, by case and Unicode form aside."""
    one, two = ({nfc(name).casefold() for name in both.inside} for both in (part, other))
    return bool(one & two)


def _rank(part: _Part, half: str) -> int:
    order = _HALVES[half].split()
    return next((place for place, word in enumerate(order) if part.path.name.lower().startswith(word)), len(order))


def _taken(root: Path, chosen: Mapping[str, _Part]) -> list[str]:
    """Say which folders were taken as halves, where their names or places are not the usual ones."""
    places = {half: part.classes.relative_to(root).as_posix() for half, part in chosen.items() if part.classes}
    if all(place.lower() in _USUAL for place in places.values()):
        return []
    return ["taken as " + ", ".join(f"{half} pictures: {place}/" for half, place in places.items())]


def _left(rest: Sequence[_Part]) -> list[str]:
    """Say what beside the halves is not used."""
    said, empty = [], []
    for part in rest:
        name = f"{part.path.name}/"
        if part.classes:
            said.append(f"{name} was not used, though it holds class folders ({names(part.inside)})")
        elif number := sum(1 for _ in pictures(part.path, [])):
            said.append(
                f"{name} was not used: its pictures ({number}) lie in no class folders; "
                f"predict them with: mobilenets predict RUN {shlex.quote(str(part.path))}"
            )
        else:
            empty.append(name)
    return [*said, f"passed over, as without pictures: {names(empty)}"] if empty else said


def _alike(parts: Sequence[_Part]) -> list[str]:
    """Say where class folders all hold folders of the same names, and others beside these."""
    holding = [part for part in parts if part.inside]
    common = set.intersection(*(set(part.inside) for part in holding)) if len(holding) > 1 else set()
    if len(common) < 2 or any(has_pictures(part.path) for part in parts):
        return []
    tops = names([f"{part.path.name}/" for part in holding])
    return [f"{tops} were taken as classes, though all hold {names(sorted(common))}; halves are called train/ and val/"]


def _refuse_file(path: Path) -> None:
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        raise InputError(f"{path} is an archive: unpack it ({_ARCHIVES[suffix]} {path.name}) and give the folder")
    raise InputError(f"{path} is a file: give the folder that holds the class folders")


def _refuse_flat_train(parts: Sequence[_Part]) -> None:
    """Refuse a training half without class folders; among folders of pictures that are no halves it is a class."""
    for part in parts:
        if part.half != "train" or not part.plain or part.classes:
            continue
        if any(other.half is None and (other.inside or has_pictures(other.path)) for other in parts):
            continue
        place = part.path / part.inside[0] if part.inside else part.path  # train/images, perhaps with train/labels
        around = part.path.parent
        boxed = part.inside and any(next(around.rglob(form), None) for form in ("*.txt", "*.xml"))
        boxes = "; the .txt or .xml files look like boxes of a data set for detection (YOLO, VOC)" if boxed else ""
        raise InputError(
            f"{place} holds {_lying(place)}{boxes}: {_PUT} there{_hint(part.path) or _hint(part.path.parent)}"
        )


def _refuse_lone_half(root: Path, parts: Sequence[_Part]) -> None:
    lone = [part for part in parts if part.half in ("validation", "test") and part.plain and part.classes]
    if lone and (lone[0].path.name.lower() in _USUAL or not any(part.half is None and part.inside for part in parts)):
        half = lone[0].path
        raise InputError(
            f"{root} has {half.name}/ with class folders but no train/: name the training half train/, "
            f"or give {half} alone to measure on it"
        )


def _refuse_same(root: Path, parts: Sequence[_Part]) -> None:
    """Refuse "classes" that all hold the same folders and no pictures of their own: they are halves, or hold such."""
    holding = [part for part in parts if part.inside or has_pictures(part.path)]
    same = holding[0].inside if len({part.inside for part in holding}) == 1 else ()
    if len(holding) < 2 or len(same) < 2 or any(has_pictures(part.path) for part in holding):
        return
    tops = names([f"{part.path.name}/" for part in holding])
    if all(half_of(name)[0] for name in same):
        raise InputError(
            f"{root}: the halves ({names(same)}) lie inside the class folders ({tops}): "
            f"put the class folders inside the halves, as in {same[0]}/{holding[0].path.name}/"
        )
    raise InputError(
        f"{root}: {tops} hold the same folders ({names(same)}) and no pictures of their own, so they are not classes "
        "but parts of a data set: call them train/ and validation/, or give one of them; if they are the classes, "
        "move their pictures right into them"
    )


def _refuse_no_folders(root: Path) -> None:
    if folders(root):
        return
    archives = [entry.name for entry in entries(root) if Path(entry.name).suffix.lower() in _ARCHIVES]
    if archives and not has_pictures(root):
        _refuse_file(root / archives[0])
    raise InputError(f"{root} holds {_lying(root)}: {_PUT}{_hint(root)}")


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
                return f"; {entry.name} ({names(columns)}) may say which class each has"
    heads = [re.sub(r"[\W\d_]+$", "", Path(entry.name).stem) for entry in listed if is_picture(entry)]
    kinds = sorted({head for head in heads if head})
    if kinds and 2 <= len(kinds) <= max(2, len(heads) // 2) and all(heads):
        return f": {names([f'{kind}/' for kind in kinds])}, as the names of the files begin"
    return ""


def _columns(table: Path) -> list[str]:
    try:
        with table.open("rb") as stream:
            line = decode_text(stream.readline(4096))[0]
    except (OSError, ValueError):
        return []
    return next(iter(csv.reader([line.strip()])), [])
