"""Which picture an annotation means: the names in annotation files seldom lead straight to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mobilenets.base.files import nfc
from mobilenets.datasets.boxes.entries import is_there
from mobilenets.datasets.listing import SUFFIXES, Problem, pictures
from mobilenets.datasets.parts import half_and_rest, half_of

_DRIVE = re.compile(r"^([A-Za-z]:)?/+")


class Pictures:
    """The pictures below DATA, by name. ``outside`` are those that an annotation named by their whole path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.outside: list[Path] = []
        self._all: set[Path] = set()
        self._named: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in pictures(root, self.problems):
            self._all.add(path)
            self._named.setdefault(_plain(path.name), []).append(path)
            self._stems.setdefault(_plain(path.stem), []).append(path)

    def __iter__(self) -> Iterator[Path]:
        return iter(sorted(self._all))

    def find(self, name: str, source: Path, half: str | None = None) -> Path:
        """Find the picture that the annotation file ``source`` calls ``name``; raises ValueError with the reason.

        It is looked for beside the file, below DATA, then by its name anywhere in DATA: there the most of its path must
        fit, then the half, then it must be the nearest to the file. A name that leads out of DATA is not followed, but
        a whole path to a picture that is there.
        """
        if not name or "\0" in name:
            raise ValueError("no picture is named")
        told = name.replace("\\", "/").removeprefix("file://")
        bare = _DRIVE.sub("", told)
        if bare != told and is_there(Path(told)) and Path(told).is_file():
            return self._whole(Path(told))
        places = [Path(os.path.normpath(base / bare)) for base in (source.parent, self.root)]
        out = ".." in PurePosixPath(bare).parts and not any(place.is_relative_to(self.root) for place in places)
        for place in places:
            if place in self._all:
                return place
        pure = PurePosixPath(bare)
        found = self._named.get(_plain(pure.name), [])
        if not found and pure.suffix.lower() in ("", *SUFFIXES):
            found = self._stems.get(_plain(pure.stem), []) or self._stems.get(_plain(pure.name), [])
        if not found and (plain := unquote(name)) != name:  # Label Studio writes names as in addresses
            return self.find(plain, source, half)
        if not found:
            leads = f"; it leads out of {self.root.name or self.root}: not followed" if out else ""
            raise ValueError(f"there is no picture {name[:200]!r}{leads}")
        return _nearest(found, pure, source, half, name)

    def beside(self, source: Path, half: str | None = None) -> list[Path]:
        """Give the pictures of the same stem as an annotation file, the nearest first."""
        found = self._stems.get(_plain(source.stem), [])
        return sorted(found, key=lambda path: _fit(path, PurePosixPath(path.name), source, half), reverse=True)

    def _whole(self, path: Path) -> Path:
        place = Path(os.path.normpath(path))
        for known in (place, as_called(place, self.root)):
            if known in self._all:
                return known
        self.outside.append(place)
        return place


def as_called(whole: Path, root: Path) -> Path:
    """Give a whole path below DATA as DATA is called; any other as it is."""
    try:
        return root / whole.resolve().relative_to(root.resolve())
    except ValueError:
        return whole


def _nearest(found: list[Path], pure: PurePosixPath, source: Path, half: str | None, name: str) -> Path:
    ranked = sorted(((_fit(path, pure, source, half), path) for path in found), reverse=True)
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        raise ValueError(f"{name!r} may be {ranked[1][1]} or {ranked[0][1]}: write more of its path")
    return ranked[0][1]


def _fit(path: Path, pure: PurePosixPath, source: Path, half: str | None) -> tuple[int, bool, int]:
    """Say how well a picture fits: parts of the path that are the same from the end, the half, parts from the start."""
    own, told = [_plain(part) for part in path.parts], [_plain(part) for part in pure.parts]
    tail = next((n for n, (a, b) in enumerate(zip(own[::-1], told[::-1], strict=False)) if a != b), len(told))
    head = next((n for n, (a, b) in enumerate(zip(path.parts, source.parts, strict=False)) if a != b), 0)
    return tail, half is not None and half_by_path(path) == half, head


def half_by_path(path: Path, root: Path | None = None) -> str | None:
    """Say which half a file belongs to by the names of the folders it is in, the innermost first; None: no name tells.

    >>> half_by_path(Path("data/train/labels/a.txt")), half_by_path(Path("data/images/val2017/a.jpg"))
    ('train', 'validation')

    """
    below = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
    told = (half_of(name) for name in reversed(below.parent.parts))
    return next((half for half, plain in told if half and plain), None)


def half_of_file(path: Path, root: Path) -> str | None:
    """Say which half a file of annotations is about: by its own name, else by the folders it is in."""
    return half_and_rest(path.stem)[0] or half_by_path(path, root)


def _plain(name: str) -> str:
    return nfc(name).casefold()
