"""What a reader of annotations hands on: a box, a picture's boxes, and what is wrong, with file and line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mobilenets.base.files import decode_text
from mobilenets.datasets.listing import Problem
from mobilenets.errors import InputError

BAD = "bad_box"
Four = tuple[float, float, float, float]


class Box(NamedTuple):
    """One box as it was written: left, top, right, bottom, unchecked; ``where`` says in which line or entry."""

    corners: Four
    name: str
    where: str
    ignored: bool = False
    crowd: bool = False


@dataclass
class Entry:
    """The boxes of one picture. ``source`` is the annotation file; ``size`` is width and height as written there.

    ``shares``: the corners are shares of the sides, not pixels. ``half`` is ``train``, ``validation``, ``test`` or
    None, where nothing tells it. ``written`` is how the four numbers of a box stand there: ``corners``, ``sides``
    (left, top, width, height) or ``middle`` (and width, height).
    """

    picture: Path
    source: Path
    half: str | None = None
    size: tuple[float, float] | None = None
    shares: bool = False
    boxes: list[Box] = field(default_factory=list)
    written: str = "corners"


@dataclass(frozen=True)
class Fault(Problem):
    """A box, entry or annotation file that is wrong: ``path`` is the annotation file, ``detail`` begins with the line.

    ``picture`` is the picture that it belongs to, ``corners`` the box in its pixels, where they are known. ``used``: it
    was mended, as said, and is used all the same. ``boxes`` are lost by it.
    """

    picture: str = ""
    corners: Four | None = None
    used: bool = False
    boxes: int = 1


@dataclass
class Annotations:
    """All that one format says of DATA. ``classes`` in order, or None where they are the names that stand at the boxes.

    ``lost`` are pictures that have an annotation which cannot be read: they are not pictures without boxes.
    ``unused`` are annotation files that the set's own lists do not name.
    """

    classes: tuple[str, ...] | None = None
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: set[Path] = field(default_factory=set)
    unused: set[str] = field(default_factory=set)

    def wrong(
        self, source: Path, where: str, what: str, picture: Path | str = "", used: bool = False, boxes: int = 1
    ) -> None:
        """Write down a fault; of one that takes several ``boxes`` along their number is said."""
        many = f": its {boxes} boxes are left out" if boxes > 1 else ""
        detail = f"{where}: {what}{many}" if where else f"{what}{many}"
        self.faults.append(Fault(BAD, str(source), detail, str(picture), used=used, boxes=max(1, boxes)))


class Faulty(Exception):
    """A whole annotation file that cannot be used; ``line`` is 0 where there is none to name."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.where = f"line {line}" if line else ""


def is_there(path: Path) -> bool:
    """Whether a path that stands in an annotation is there: a name too long for the system never is."""
    try:
        return path.exists()
    except OSError:
        return False


def content_of(path: Path, limit: int) -> bytes:
    """Read an annotation file of at most ``limit`` bytes; raises ``Faulty`` with the reason."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            path.stat()
            raise Faulty("this is not a regular file")
        if (size := path.stat().st_size) > limit:
            raise Faulty(f"{size / 2**20:.0f} MiB: the limit is {limit / 2**20:.0f} MiB")
        return path.read_bytes()
    except OSError as error:
        raise Faulty(f"it cannot be read: {error.strerror}") from error


def text_of(path: Path, limit: int) -> str:
    """Read an annotation file as text; raises ``Faulty``, with the line where it is not UTF-8."""
    content = content_of(path, limit)
    try:
        return decode_text(content)[0]
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Faulty("not UTF-8: save the file as UTF-8", line) from error


def number(text: object) -> float:
    """Make a number of what stands where one should; NaN and infinity pass, and are found later. Raises ValueError."""
    if isinstance(text, bool) or not isinstance(text, (int, float, str)) or "_" in str(text):
        raise ValueError(f"{str(text)[:40]!r} is not a number")
    try:
        return float(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{str(text)[:40]!r} is not a number") from None


def common_folder(paths: Iterable[Path], root: Path) -> Path:
    """Give ``root``, or the folder above it that holds all of ``paths`` too; with paths both must be absolute."""
    outside = [path for path in paths if not path.is_relative_to(root)]
    try:
        return Path(os.path.commonpath([root, *(path.parent for path in outside)])) if outside else root
    except ValueError:
        raise InputError(f"{outside[0]} is on another drive than {root}: bring both to one drive") from None
