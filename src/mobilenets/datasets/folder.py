"""From a folder of labelled pictures to samples: which class each picture has, and what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.base import mounts
from mobilenets.base.files import nfc
from mobilenets.datasets.listing import (
    Problem,
    entries,
    folders,
    has_pictures,
    instead,
    is_picture,
    is_run,
    names,
    pictures,
    say,
)
from mobilenets.errors import InputError
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.stream import checked, stream
from mobilenets.runtime.labels import Labels, is_showable


@dataclass(frozen=True)
class Sample:
    """One labelled picture; ``label`` is the place of its class in ``Folder.classes``.

    ``target`` is what a task learns of it, where that is more than its class: a number, boxes, anything.
    """

    path: Path
    label: int
    target: Any = None


@dataclass(frozen=True)
class Folder:
    """What ``read_folder`` found: samples in order of class, then of path.

    ``notes`` are sentences on what was assumed or left out.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


def read_folder(
    root: Path, classes: tuple[str, ...] | None = None, find: Callable[[str], str | None] | None = None
) -> Folder:
    """Read one folder per class, pictures at any depth inside it.

    Without ``classes`` they are the names of the folders that hold pictures, in Unicode's form NFC, sorted by code
    point, as Keras and torchvision do. With ``classes``, from a model or from the training half, labels are places in
    ``classes`` whatever the folder holds, so a class without pictures shifts no label. ``find`` then gives the class
    of a folder that is called otherwise, or None, see ``Labels.finder``; by default case, Unicode form, ``_`` and
    ``-`` make no difference.

    Pictures are the files with a suffix in ``SUFFIXES``, in any case; hidden files and system litter are
    passed over; links are followed, and each real folder is read once a class. The problems found are of
    the kinds ``empty_class class_missing not_an_image unreadable`` (a link that leads nowhere, a folder inside that
    cannot be listed).

    Raises InputError in one line: no such folder, no pictures, a class that ``classes`` lacks, two folders of one
    class, a class folder that cannot be listed, fewer than two classes when they are to be learned from the folder.
    """
    if find is None:
        find = nfc if classes is None else Labels({}).finder(classes)
    problems: list[Problem] = []
    notes: list[str] = []
    found: dict[str, list[Path]] = {}
    called: dict[str, str] = {}
    for folder, inside in class_folders(root, problems, notes):
        name = find(folder) or nfc(folder)
        _refuse_closed(str(root / folder), problems)
        if inside:
            if not is_showable(name):
                raise InputError(f"{root} has a class folder with an unprintable name, {folder!r}: rename it")
            if name in found:
                raise InputError(_twice(root, name, called[name], folder))
            if name != nfc(folder):
                notes.append(f"the class folder {root.name}/{folder} was used as class {name}")
            found[name] = inside
            called[name] = folder
        else:
            called.setdefault(name, folder)
    if not found:
        if (root / "model.json").is_file():
            raise InputError(f"{root} is a model: give the folder of labelled pictures in its place")
        raise InputError(f"{root} has no pictures in class folders{instead(problems)}")
    unknown = sorted(found.keys() - set(classes)) if classes is not None else []
    if len(found) == 1 and (classes is None or unknown):
        _refuse_nested(root / called[next(iter(found))])
    if classes is None:
        if len(found) == 1:
            raise InputError(f"{root} has pictures of only one class, {next(iter(found))}: at least two are needed")
        classes = tuple(sorted(found))
        notes += _same_but_case(classes)
    if unknown:
        raise InputError(
            f"{root} has class folders that the model does not know: {names(unknown)}; "
            f"it knows {names(classes)}: rename or remove them"
        )
    for name in classes:
        if name not in called and not mounts.is_folder(root / name):
            problems.append(Problem("class_missing", str(root / name), "there is no folder for this class"))
    samples = tuple(Sample(path, label) for label, name in enumerate(classes) for path in found.get(name, ()))
    return Folder(root, classes, in_reading_order(samples), tuple(problems), tuple(notes))


def class_folders(root: Path, problems: list[Problem], notes: list[str]) -> Iterator[tuple[str, list[Path]]]:
    """Yield the name of each class folder, as it is written, with its pictures at any depth, in order of both.

    What else lies there goes to ``problems`` and ``notes``. Raises InputError where ``root`` cannot be listed.
    """
    for entry in folders(root):
        place = Path(entry.path)
        if is_run(place):
            notes.append(f"{entry.name}/ holds a run or a virtual environment: not a class")
            continue
        if root.resolve().is_relative_to(place.resolve()):
            notes.append(f"{entry.name}/ is a link to a folder above: not a class")
            continue
        inside = sorted(pictures(place, problems))
        if not inside and not any(problem.path == str(place) for problem in problems):
            problems.append(Problem("empty_class", entry.path, "the class folder has no pictures"))
        yield entry.name, inside
    lying = sum(is_picture(entry) for entry in entries(root))
    if lying:
        notes.append(f"{lying} pictures beside the class folders in {root} are not used")


def _refuse_closed(place: str, problems: Sequence[Problem]) -> None:
    """Refuse a class folder that could not be listed: a class must not be missing from the model in silence."""
    closed = next((one for one in problems if one.path == place and one.kind == "unreadable"), None)
    if closed is not None:
        raise InputError(f"{place}: {closed.detail}: make it readable, or move it away")


def _twice(root: Path, name: str, one: str, other: str) -> str:
    if nfc(one) == nfc(other):
        both = f"{one!a} and {other!a}, which differ only in their Unicode form"
    else:
        both = f"{one!r} and {other!r}"
    return f"{root} has two folders for the class {name!r}, {both}: put them in one folder"


def _same_but_case(classes: Sequence[str]) -> list[str]:
    folded: dict[str, list[str]] = {}
    for name in classes:
        folded.setdefault(name.casefold(), []).append(name)
    return [
        f"{' and '.join(same)} are two classes that differ only in upper and lower case"
        for same in folded.values()
        if same[1:]
    ]


def pictures_below(folder: Path) -> tuple[Path, ...]:
    """The pictures at any depth below a folder, in order of path; what else lies there is logged."""
    entries(folder)
    problems: list[Problem] = []
    found = tuple(sorted(pictures(folder, problems)))
    if not found:
        raise InputError(f"{folder} has no pictures{instead(problems)}")
    say(problems)
    return found


def in_reading_order(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Put samples that lie in shards in the order in which they lie there; others stay as they are."""
    found = mounts.numbers_of([sample.path for sample in samples])
    return tuple(samples) if found is None else tuple(samples[place] for place in np.argsort(found[1]).tolist())


def relative(path: Path, root: Path) -> str:
    """A picture's name in split.csv and in hashes: its path below ``root``, with forward slashes."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        raise InputError(f"{path} is not in {root}") from None


def below(path: str, root: Path) -> str:
    """Give a path below ``root`` as ``relative`` does, and any other as it is."""
    return relative(Path(path), root) if Path(path).is_relative_to(root) else path


def content_hash(path: Path) -> bytes:
    """BLAKE2b of a file's bytes, 16 of it (in shards, as their index says); raises InputError if it cannot be read."""
    try:
        if (known := mounts.known_content(path)) is not None:
            return known
        if not path.is_file():  # opening a pipe would wait for ever
            path.stat()
            raise InputError(f"{path} cannot be read: this is not a regular file")
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def content_hashes(paths: Sequence[Path], workers: int | None = None) -> dict[Path, str]:
    """The hash of every file's bytes in hexadecimal; each is read once, in threads (see ``stream``)."""
    made = checked(stream(content_hash, paths, workers=workers))
    return {path: found.hex() for path, found in zip(paths, made, strict=True)}


def fingerprint(
    samples: Iterable[Sample], root: Path, workers: int | None = None, contents: Mapping[Path, str] | None = None
) -> str:
    """Hexadecimal hash of what was learned from: every picture's relative path, label and content, and its boxes.

    It does not depend on the order of samples, on where ``root`` lies, on dates, or on the Unicode form of names.
    ``contents`` are the ``content_hashes`` where they are known; else every file is read once.
    """
    named = [(nfc(relative(sample.path, root)), sample) for sample in samples]
    ordered = sorted(named, key=lambda one: (one[0], one[1].label, one[1].path))
    if contents is None:
        contents = content_hashes([sample.path for _, sample in ordered], workers)
    total = hashlib.blake2b(digest_size=16)
    for name, sample in ordered:
        encoded = name.encode("utf-8", "surrogateescape")
        total.update(b"%d %d " % (len(encoded), sample.label) + encoded + bytes.fromhex(contents[sample.path]))
        if isinstance(sample.target, Boxes):
            total.update(sample.target.to_bytes())
    return total.hexdigest()


def _refuse_nested(only: Path) -> None:
    below = [entry.name for entry in folders(only) if has_pictures(Path(entry.path), deep=True)]
    if len(below) > 1 and not has_pictures(only):
        raise InputError(f"the class folders are one level deeper, in {only} ({names(below)}): give that folder")
