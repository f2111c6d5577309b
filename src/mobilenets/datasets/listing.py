"""What is in a folder: pictures, folders, what else, and what systems leave behind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base import mounts
from mobilenets.base.mounts import Entry
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.pictures import kinds

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
        # Read where the install can, or refused by name; some are JPEG in truth.
        *(".heic", ".heif", ".avif"),
    }
)
_OTHER_PICTURES = frozenset({".jp2", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"})
# What systems, disk stations and file managers put beside people's files.
_LITTER = frozenset(
    {
        *("__macosx", "icon\r", "desktop.ini", "thumbs.db", "ehthumbs.db", "picasa.ini"),
        *("lost+found", "lost.dir", "$recycle.bin", "recycler", "recycled", "system volume information"),
        *("@eadir", "#recycle", "@recycle", "#snapshot", "__pycache__"),
    }
)
# And beside each of them: where Windows had it from, and what was edited on an iPhone.
_BESIDE = re.compile(r"([:_.]?zone\.identifier|\.aae)$", re.IGNORECASE)
_VIDEOS = frozenset({".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp"})
SHOWN = 10


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the data, of a kind that notes and ``recipe.json`` name, such as ``unreadable``."""

    kind: str
    path: str
    detail: str


def say(problems: Sequence[Problem]) -> None:
    """Log problems: a line each for the first ``SHOWN`` of a kind, and how many more there are.

    Files that are no pictures are counted by suffix, and pictures that only lack a package as one.
    """
    others: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    shown: Counter[str] = Counter()
    for problem in problems:
        if problem.kind == "not_an_image" or ": install " in problem.detail:
            others[problem.detail, problem.kind.replace("_", " ")].append(problem)
            continue
        shown[problem.kind] += 1
        if shown[problem.kind] <= SHOWN:
            words = (problem.path, problem.detail, problem.kind.replace("_", " "))
            log.warning("%s: %s (%s)", *words, extra={"detail": True})
    for kind, number in shown.items():
        if number > SHOWN:
            log.warning("and %d more (%s)", number - SHOWN, kind.replace("_", " "))
    for about in others:
        same = others[about]
        which = same[0].path if len(same) == 1 else f"{len(same)} files like {same[0].path}"
        log.warning("%s: %s (%s)", which, *about, extra={"detail": True})


def entries(folder: Path) -> list[Entry]:
    """What a folder holds, sorted by code point, without the hidden and without system litter.

    Raises InputError in one line where it cannot be listed.
    """
    try:
        return _listed(folder)
    except FileNotFoundError:
        raise InputError(f"there is no folder {folder}") from None
    except NotADirectoryError:
        raise InputError(f"{folder} is a file: give the folder that holds the class folders") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error


def folders(folder: Path) -> list[Entry]:
    """The folders in a folder, and links to such."""
    return [entry for entry in entries(folder) if _kind(entry) == "folder"]


def is_picture(entry: Entry) -> bool:
    """Whether an entry is a file with the suffix of a picture."""
    return Path(entry.name).suffix.lower() in SUFFIXES and _kind(entry) == "file"


def has_pictures(folder: Path, deep: bool = False) -> bool:
    """Whether pictures lie right in a folder, or with ``deep`` anywhere below; none in one that cannot be listed."""
    if deep:
        return next(pictures(folder, []), None) is not None
    try:
        return any(is_picture(entry) for entry in _listed(folder))
    except OSError:
        return False


def pictures(top: Path, problems: list[Problem]) -> Iterator[Path]:
    """The pictures below a folder; what else lies there, or cannot be listed, goes to ``problems``."""
    # A link inside may lead back up, to the pictures of other classes.
    seen = set() if mounts.mounted(top) else {_identity(above) for above in top.resolve().parents}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            found, identity = _listed(folder), _identity(folder)
        except OSError as error:
            problems.append(Problem("unreadable", str(folder), f"the folder cannot be read: {error.strerror}"))
            continue
        if identity in seen:
            continue
        seen.add(identity)
        deeper = []
        for entry in found:
            kind, suffix = _kind(entry), Path(entry.name).suffix.lower()
            if kind == "folder":
                deeper.append(folder / entry.name)
            elif suffix not in SUFFIXES:
                convert = ": convert it to JPEG or PNG" if suffix in _OTHER_PICTURES else ""
                if suffix in _VIDEOS:
                    convert = ": save frames of the video as JPEG"
                problems.append(Problem("not_an_image", entry.path, f"{suffix or 'no suffix'} is not read{convert}"))
            elif kind == "file":
                yield folder / entry.name
            else:
                problems.append(Problem("unreadable", entry.path, kind))
        waiting += reversed(deeper)


def instead(problems: Sequence[Problem]) -> str:
    """Say what lies where pictures were looked for and none was found: ends the sentence on that."""
    others = [problem for problem in problems if problem.kind == "not_an_image"]
    if not others:
        return f" ({' '.join(sorted(SUFFIXES))} are read)"
    first = Path(others[0].path)
    try:
        head = b""
        if mounts.is_file(first):
            with mounts.open_file(first) as stream:
                head = stream.read(kinds.HEAD)
    except OSError:
        head = b""
    suffix = kinds.suffix(head)
    named = f"a picture by its content: let its name end in {suffix}"
    what = named if suffix else kinds.explain(head) or others[0].detail
    count = "another file" if len(others) == 1 else f"{len(others)} other files"
    return f", but {count} such as {first}: {what}"


def _identity(folder: Path) -> tuple[int, int] | Path:
    if mounts.mounted(folder):
        return folder
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_run(folder: Path) -> bool:
    """Whether a folder is a run or bundle of this package, holds such, or is a virtual environment."""
    marks = ("model.json", "pyvenv.cfg")
    try:
        return any(place.is_file() for mark in marks for place in (folder / mark, *folder.glob(f"*/{mark}")))
    except OSError:  # something that may not be looked into
        return False


def names(of: Sequence[str]) -> str:
    """Name up to ten of several."""
    shown = ", ".join(of[:10])
    return shown if len(of) <= 10 else f"{shown} and {len(of) - 10} more"


def _listed(folder: Path) -> list[Entry]:
    kept = [
        entry
        for entry in mounts.scan(folder)
        if entry.name[0] != "." and entry.name.lower() not in _LITTER and not _BESIDE.search(entry.name)
    ]
    return sorted(kept, key=lambda entry: entry.name)


def _kind(entry: Entry) -> str:
    """The kind of what an entry is or links to: folder, file, or the reason why it is neither."""
    try:
        # Of most entries the listing itself tells, which saves asking about each of thousands.
        if entry.is_dir() or entry.is_file():
            return "folder" if entry.is_dir() else "file"
        entry.stat()
    except OSError:
        return "the link points nowhere" if entry.is_symlink() else "the file cannot be inspected"
    return "this is not a regular file"
