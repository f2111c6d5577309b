"""From a folder of labelled pictures to samples: which class each picture has, and what is wrong."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mobilenets.errors import InputError

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    }
)
VALIDATION_NAMES = ("validation", "val", "valid")
_OTHER_PICTURES = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw"}
)
_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir"})
_log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Sample:
    """One labelled picture; ``label`` is the place of its class in ``Folder.classes``."""

    path: Path
    label: int


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the data; the kinds are those of ``mobilenets check``."""

    kind: str
    path: str
    detail: str


@dataclass(frozen=True)
class Folder:
    """What ``read_folder`` found: samples in order of class, then of path."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Layout:
    """Which folders of DATA hold the classes; without ``validation``, ``train`` is to be split by seed.

    ``test`` is set only where there is a test folder besides a validation folder.
    """

    root: Path
    train: Path
    validation: Path | None = None
    test: Path | None = None


def find_data(root: Path) -> Layout:
    """Recognise DATA: ``train/`` with ``validation/`` (``val``, ``valid``, ``test``), or one folder a class.

    Names are matched without case. ``train`` is a class like any other (as among cars and planes) where it
    has no class folders inside and stands beside folders of pictures, none of them a validation half.
    Of the folders, only as much is read as that takes; ``read_folder`` sees whether they will do.

    Raises InputError in one line: no such folder, a file, no class folders, a ``train/`` without pictures.
    """
    folders = {entry.name.lower(): Path(entry.path) for entry in _folders(root)}
    validation = next((folders[name] for name in VALIDATION_NAMES if name in folders), None)
    test = folders.get("test")
    train = folders.get("train")
    if train is None:
        if not folders:
            lying = "pictures, but no class folders" if _has_pictures(root) else "no class folders"
            raise InputError(f"{root} holds {lying}: put the pictures of each class in a folder of its own")
        half = validation or test
        if half is not None and not _has_pictures(half) and _has_pictures(half, deep=True):
            raise InputError(
                f"{root} has {half.name}/ with class folders but no train/: name the training half train/, "
                f"or give {half} alone to measure on it"
            )
        return Layout(root, root)
    if not any(_has_pictures(Path(entry.path), deep=True) for entry in _folders(train)):
        if (
            validation is None
            and test is None
            and any(_has_pictures(other, deep=True) for other in folders.values() if other != train)
        ):
            return Layout(root, root)
        lying = "pictures, but no class folders" if _has_pictures(train) else "no pictures"
        raise InputError(f"{train} holds {lying}: put the pictures of each class in a folder of its own there")
    if validation is None:
        return Layout(root, train, test)
    return Layout(root, train, validation, test)


def read_folder(
    root: Path, classes: tuple[str, ...] | None = None, find: Callable[[str], str | None] | None = None
) -> Folder:
    """Read one folder a class, pictures at any depth inside it.

    Without ``classes`` they are the names of the folders that hold pictures, sorted by code point, as Keras
    and torchvision do. With ``classes``, from a model or from the training half, labels are places in
    ``classes`` whatever the folder holds, so a class without pictures shifts no label. ``find`` then gives the class
    of a folder that is called otherwise, or None; see ``Labels.finder``.

    Pictures are the files with a suffix in ``SUFFIXES``, in any case; hidden files and system litter are
    passed over; links are followed, and each real folder is read once a class. The problems found are of
    the kinds ``empty_class class_missing not_an_image unreadable`` (a link that leads nowhere).

    Raises InputError in one line: no such folder, no pictures, a class that ``classes`` lacks, two folders of one
    class, fewer than two classes when they are to be learned from the folder.
    """
    problems: list[Problem] = []
    found: dict[str, list[Path]] = {}
    folders: dict[str, str] = {}
    for entry in _folders(root):
        name = (find(entry.name) if find else None) or entry.name
        pictures = sorted(_pictures(Path(entry.path), problems))
        if pictures:
            if not entry.name.isprintable():
                raise InputError(f"{root} has a class folder with an unprintable name, {entry.name!r}: rename it")
            if name in found:
                both = f"{folders[name]!r} and {entry.name!r}"
                raise InputError(f"{root} has two folders for the class {name!r}, {both}: put them in one folder")
            found[name] = pictures
            folders[name] = entry.name
        else:
            folders.setdefault(name, entry.name)
            problems.append(Problem("empty_class", entry.path, "the class folder holds no pictures"))
    lying = sum(_is_picture(entry) for entry in _entries(root))
    if lying and found:
        _log.warning("%s: %d pictures lie beside the class folders and are left out", root, lying)
    if not found:
        raise InputError(f"{root} holds no pictures in class folders ({' '.join(sorted(SUFFIXES))} are read)")
    unknown = sorted(found.keys() - set(classes)) if classes is not None else []
    if len(found) == 1 and (classes is None or unknown):
        _refuse_nested(root / folders[next(iter(found))])
    if classes is None:
        if len(found) == 1:
            raise InputError(f"{root} holds pictures of one class only, {next(iter(found))}: two are needed")
        classes = tuple(sorted(found))
    if unknown:
        raise InputError(
            f"{root} has class folders that the model does not know: {_names(unknown)}; "
            f"it knows {_names(classes)}: rename or remove them"
        )
    for name in classes:
        if name not in folders and not (root / name).is_dir():
            problems.append(Problem("class_missing", str(root / name), "there is no folder for this class"))
    samples = tuple(Sample(path, label) for label, name in enumerate(classes) for path in found.get(name, ()))
    return Folder(root, classes, samples, tuple(problems))


def pictures_below(folder: Path) -> tuple[Path, ...]:
    """The pictures at any depth below a folder, in order of path; what else lies there is logged."""
    problems: list[Problem] = []
    found = tuple(sorted(_pictures(folder, problems)))
    if not found:
        raise InputError(f"{folder} holds no pictures ({' '.join(sorted(SUFFIXES))} are read)")
    for problem in problems:
        _log.warning("%s: %s", problem.path, problem.detail)
    return found


def relative(path: Path, root: Path) -> str:
    """A picture's name in split.csv and in hashes: its path below ``root``, with forward slashes."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        raise InputError(f"{path} does not lie in {root}") from None


def content_hash(path: Path) -> bytes:
    """BLAKE2b of a file's bytes, 16 of it; raises InputError when the file cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def fingerprint(samples: Iterable[Sample], root: Path, workers: int = 2) -> str:
    """Hexadecimal hash of what was learned from: every picture's relative path, label and content.

    It does not depend on the order of samples, on where ``root`` lies, or on dates; every file is read once.
    """
    ordered = sorted((relative(sample.path, root), sample.label, sample.path) for sample in samples)
    total = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(workers) as pool:
        contents = pool.map(content_hash, [path for _, _, path in ordered])
        for (name, label, _), content in zip(ordered, contents, strict=True):
            encoded = name.encode("utf-8", "surrogateescape")
            total.update(b"%d %d " % (len(encoded), label) + encoded + content)
    return total.hexdigest()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by code point, without the hidden."""
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if entry.name[0] != "." and entry.name.lower() not in _LITTER]
    except FileNotFoundError:
        raise InputError(f"there is no folder {folder}") from None
    except NotADirectoryError:
        raise InputError(f"{folder} is a file: give the folder that holds the class folders") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(seen, key=lambda entry: entry.name)


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if _kind(entry) == "folder"]


def _kind(entry: os.DirEntry[str]) -> str:
    """The kind of what an entry is or links to: folder, file, or the reason why it is neither."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "the link leads nowhere" if entry.is_symlink() else "the file cannot be looked at"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "this is not a regular file"


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in SUFFIXES and _kind(entry) == "file"


def _has_pictures(folder: Path, deep: bool = False) -> bool:
    if deep:
        return next(_pictures(folder, []), None) is not None
    return any(_is_picture(entry) for entry in _entries(folder))


def _pictures(top: Path, problems: list[Problem]) -> Iterator[Path]:
    """The pictures below a folder; what else lies there goes to ``problems``."""
    seen: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        entries, status = _entries(folder), folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # links may lead back up
            continue
        seen.add((status.st_dev, status.st_ino))
        deeper = []
        for entry in entries:
            kind, suffix = _kind(entry), Path(entry.name).suffix.lower()
            if kind == "folder":
                deeper.append(folder / entry.name)
            elif suffix not in SUFFIXES:
                convert = ": convert it to JPEG or PNG" if suffix in _OTHER_PICTURES else ""
                problems.append(Problem("not_an_image", entry.path, f"{suffix or 'no suffix'} is not read{convert}"))
            elif kind == "file":
                yield folder / entry.name
            else:
                problems.append(Problem("unreadable", entry.path, kind))
        waiting += reversed(deeper)


def _refuse_nested(only: Path) -> None:
    below = [entry.name for entry in _folders(only) if _has_pictures(Path(entry.path), deep=True)]
    if len(below) > 1 and not _has_pictures(only):
        raise InputError(f"the class folders lie one level deeper, in {only} ({_names(below)}): give that folder")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
