"""Where the shards of a set are: on a disk, or somewhere that they are brought from into a cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mobilenets.datasets.shards.index import Shard
from mobilenets.datasets.shards.tar import PIECE
from mobilenets.errors import InputError

AHEAD = 2
"""Shards that are brought before they are asked for."""


class Source:
    """Reads parts of shards, and brings the next ones while one is read; safe in several threads."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._lock = threading.Lock()
        self._order = [*range(len(shards))]
        self._place = {shard: place for place, shard in enumerate(self._order)}
        self._brought = 0

    def bring(self, shard: int) -> Path:
        """Give the file of a shard, when it is whole and here."""
        raise NotImplementedError

    def warm(self, file: Path) -> None:
        """Do more to have a shard read fast that is about to be read."""

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read a part of a shard; fewer bytes where it ends before. Raises ``InputError`` where it cannot be read."""
        self._touched(shard)
        while True:
            file = self.bring(shard)
            try:
                with file.open("rb", buffering=0) as stream:
                    stream.seek(offset)
                    content = stream.read(length)
                    while len(content) < length and (more := stream.read(length - len(content))):
                        content += more
                    return content
            except FileNotFoundError as error:
                self.gone(file, error)
            except OSError as error:
                raise InputError(f"{file} cannot be read: {error.strerror or error}") from error

    def gone(self, file: Path, error: OSError) -> None:
        """Say what to do when the file of a shard is not there any more."""
        raise InputError(f"{file} is no longer there: put it back, then continue with --resume") from error

    def expect(self, shards: Sequence[int]) -> None:
        """Take the order in which shards are going to be read; nothing is brought before the first is."""
        with self._lock:
            self._order = [*shards]
            self._place = {shard: place for place, shard in enumerate(self._order)}
            self._brought = 0

    def _touched(self, shard: int) -> None:
        """Have those brought that come after one that is read, each once."""
        place = self._place.get(shard)
        if place is None or place + 1 + AHEAD <= self._brought:
            return
        with self._lock:
            # Those before it were passed by, as by a run that goes on in the middle.
            start, stop = max(self._brought, place + 1), min(place + 1 + AHEAD, len(self._order))
            coming = self._order[start:stop]
            self._brought = max(self._brought, place + 1 + AHEAD)
        if coming:
            # Nobody waits for it at the end of the program: a part of a shard is no loss.
            threading.Thread(target=self._bring_all, args=(coming,), name="shards", daemon=True).start()

    def _bring_all(self, shards: Sequence[int]) -> None:
        for shard in shards:
            with suppress(InputError, OSError):  # whoever needs it will be told
                self.warm(self.bring(shard))


class Disk(Source):
    """Shards in a folder. The next ones are read in large pieces, which leaves them in the system's memory."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        super().__init__(shards)
        self._files = [folder / shard.file for shard in shards]

    def bring(self, shard: int) -> Path:
        """Give the file of a shard."""
        return self._files[shard]

    def warm(self, file: Path) -> None:
        """Read a shard once forward, for nothing but that."""
        piece = bytearray(PIECE)
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(piece):
                pass
