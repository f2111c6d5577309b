"""A set of shards as a folder: its pictures lie in it under the names that they had, see ``base.mounts``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mobilenets.datasets.shards.index import Index, hash_of
from mobilenets.datasets.shards.source import Source
from mobilenets.datasets.shards.tar import BLOCK, name_at
from mobilenets.errors import UnreadablePicture


class ShardTree:
    """Stands for the folder that was packed. Besides the index a sample takes about 120 bytes of memory, for its name.

    ``index`` says what there is, ``source`` where the shards are.
    """

    def __init__(self, index: Index, source: Source) -> None:
        self.index, self.source = index, source
        self._firsts = index.firsts
        self._bounds: list[int] = self._firsts.tolist()
        self._files: dict[str, dict[str, int]] = {}
        self._folders: dict[str, dict[str, None]] = {"": {}}
        for number, name in enumerate(index.all_names()):
            folder, _, last = name.rpartition("/")
            if folder not in self._files:
                self._files[folder] = {}
                self._known(folder)
            self._files[folder][last] = number

    def _known(self, folder: str) -> None:
        """Know a folder, and those above it."""
        while folder:
            above, _, last = folder.rpartition("/")
            self._folders.setdefault(folder, {})
            self._folders.setdefault(above, {})[last] = None
            folder = above

    def listed(self, folder: str) -> Iterable[tuple[str, bool]]:
        """Name what a folder holds, and whether it is a folder; raises ``FileNotFoundError`` for none."""
        files = self._files.get(folder, {})
        if folder not in self._folders:
            raise NotADirectoryError(folder) if self.find(folder) is not None else FileNotFoundError(folder)
        return [*((name, True) for name in self._folders[folder]), *((name, False) for name in files)]

    def has_folder(self, name: str) -> bool:
        """Say whether there is a folder of that name."""
        return name in self._folders

    def find(self, name: str) -> int | None:
        """Give the number of a picture; None where there is none of that name."""
        folder, _, last = name.rpartition("/")
        return self._files.get(folder, {}).get(last)

    def size(self, number: int) -> int:
        """Give the length of a picture's file in bytes."""
        return int(self.index.lengths[number])

    def content(self, number: int) -> bytes:
        """Give the hash of a picture's file."""
        return bytes(self.index.contents[number])

    def shards(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Say which shard each picture is in."""
        return np.searchsorted(self._firsts, numbers, side="right") - 1

    def expect(self, shards: Sequence[int]) -> None:
        """Have shards brought here ahead of who reads them, in this order."""
        self.source.expect(shards)

    def read(self, number: int) -> bytes:
        """Read a picture's file; raises ``UnreadablePicture`` where it is damaged, with its shard and key."""
        index = self.index
        shard = bisect_right(self._bounds, number) - 1
        offset, length = int(index.offsets[number]), int(index.lengths[number])
        reason = index.damaged.get(number)
        if reason is None:
            content = self.source.read(shard, offset, length)
            if hash_of(content) == self.content(number):
                return content
            reason = "its bytes are not those that were packed: pack it again, or copy the shard again"
        head = self.source.read(shard, max(0, offset - BLOCK), BLOCK) if offset >= BLOCK else b""
        member = name_at(head) or f"byte {offset}"
        raise UnreadablePicture(f"{index.shards[shard].file}, {member}: {reason}")
