"""Folders that something else stands for: what a mounted tree holds is listed and read as if it lay on the disk.

Whoever opens a file that a user gave asks here. Paths that lie in no mounted tree are the system's.
"""

from __future__ import annotations

import io
import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt


class Tree(Protocol):
    """Folders and files; names are paths in it with forward slashes, ``""`` is its top."""

    def listed(self, folder: str) -> Iterable[tuple[str, bool]]:
        """Name what a folder holds, and whether it is a folder; raises ``FileNotFoundError`` for none of its own."""

    def has_folder(self, name: str) -> bool:
        """Say whether there is a folder of that name."""

    def find(self, name: str) -> int | None:
        """Give the number of a file, in the order in which files are read fastest; None where there is none."""

    def read(self, number: int) -> bytes:
        """Read a file; raises ``UnreadablePicture`` with the reason where it is damaged."""

    def size(self, number: int) -> int:
        """Give a file's length in bytes."""

    def content(self, number: int) -> bytes:
        """Give the BLAKE2b of a file's bytes, 16 of it, as it was when the tree was made."""

    def shards(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Say which shard each file is in."""

    def expect(self, shards: Sequence[int]) -> None:
        """Be told in which order shards are going to be read, so that they are there by then."""


class MountedEntry(NamedTuple):
    """What a mounted folder holds, with what is used of ``os.DirEntry``."""

    name: str
    path: str
    folder: bool

    def is_dir(self) -> bool:
        """Say whether it is a folder."""
        return self.folder

    def is_file(self) -> bool:
        """Say whether it is a file."""
        return not self.folder

    def is_symlink(self) -> bool:
        """Say that it is no link."""
        return False

    def stat(self) -> os.stat_result:
        """Fail, as nothing of it lies on the disk."""
        raise FileNotFoundError(self.path)


Entry: TypeAlias = "os.DirEntry[str] | MountedEntry"


@dataclass(frozen=True)
class Place:
    """Somewhere in a mounted tree."""

    tree: Tree
    name: str

    @property
    def number(self) -> int | None:
        """The number of the file of that name."""
        return self.tree.find(self.name)


_trees: dict[str, Tree] = {}


def mount(root: Path, tree: Tree) -> None:
    """Have ``tree`` stand for the folder ``root``, in place of any tree that did before."""
    _trees[os.fspath(root)] = tree


def unmount(root: Path) -> None:
    """Have the folder ``root`` stand for itself again."""
    _trees.pop(os.fspath(root), None)


def mounted(path: Path) -> Place | None:
    """Say where in which tree a path is; None where it is on the disk."""
    if not _trees:
        return None
    text = os.fspath(path)
    for root, tree in _trees.items():
        if text.startswith(root):
            rest = text[len(root) :]
            if not rest:
                return Place(tree, "")
            if rest[0] == os.sep:
                return Place(tree, rest[1:].replace(os.sep, "/"))
    return None


def scan(folder: Path) -> list[Entry]:
    """List a folder; raises ``OSError``."""
    place = mounted(folder)
    if place is not None:
        return [
            MountedEntry(name, os.path.join(folder, name), deeper)  # noqa: PTH118 - a thousand times faster
            for name, deeper in place.tree.listed(place.name)
        ]
    with os.scandir(folder) as found:
        return [*found]


def is_file(path: Path) -> bool:
    """Say whether there is a regular file of that name."""
    place = mounted(path)
    return path.is_file() if place is None else place.number is not None


def is_folder(path: Path) -> bool:
    """Say whether there is a folder of that name."""
    place = mounted(path)
    return path.is_dir() if place is None else place.tree.has_folder(place.name)


def open_file(path: Path) -> io.BufferedReader | io.BytesIO:
    """Open a file; raises ``OSError``, and ``UnreadablePicture`` for what is damaged in its shard."""
    place = mounted(path)
    return path.open("rb") if place is None else io.BytesIO(place.tree.read(_number(place, path)))


def read_file(path: Path) -> bytes:
    """Read a file; raises as ``open_file`` does."""
    place = mounted(path)
    return path.read_bytes() if place is None else place.tree.read(_number(place, path))


def file_size(path: Path) -> int:
    """Give a file's length in bytes; raises ``OSError``."""
    place = mounted(path)
    return path.stat().st_size if place is None else place.tree.size(_number(place, path))


def version(path: Path) -> Hashable:
    """Give what changes when a file is written anew; raises ``OSError``."""
    place = mounted(path)
    if place is not None:
        return place.tree.content(_number(place, path))
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def known_content(path: Path) -> bytes | None:
    """Give the hash of a file's bytes where it need not be read for that."""
    place = mounted(path)
    number = None if place is None else place.number
    return None if place is None or number is None else place.tree.content(number)


def numbers_of(paths: Sequence[Path]) -> tuple[Tree, npt.NDArray[np.int64]] | None:
    """Give the tree that all paths are in, with the numbers of their files; None where they are on the disk."""
    first = mounted(paths[0]) if paths else None
    if first is None:
        return None
    numbers = np.empty(len(paths), np.int64)
    for at, path in enumerate(paths):
        place = mounted(path)
        number = None if place is None or place.tree is not first.tree else place.number
        if number is None:
            return None
        numbers[at] = number
    return first.tree, numbers


def expect(paths: Sequence[Path]) -> None:
    """Tell the tree that files of it are going to be read, in this order."""
    found = numbers_of(paths)
    if found is not None:
        tree, numbers = found
        tree.expect(once(tree.shards(numbers)))


def once(shards: npt.NDArray[np.int64]) -> list[int]:
    """Name each shard once, in the order of their first file."""
    _, first = np.unique(shards, return_index=True)
    order: list[int] = shards[np.sort(first)].tolist()
    return order


def _number(place: Place, path: Path) -> int:
    number = place.number
    if number is None:
        raise FileNotFoundError(2, os.strerror(2), os.fspath(path))
    return number
