"""Shards from elsewhere, kept on the disk up to a limit; several processes share one folder of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobilenets.base.cache import cache_folder
from mobilenets.base.files import explaining, sync
from mobilenets.base.lock import holding
from mobilenets.datasets.folder import content_hash
from mobilenets.datasets.shards.index import HASH
from mobilenets.errors import InputError

VARIABLE = "MOBILENETS_SHARD_GB"
GIB = 10.0
"""GiB that are kept where nobody says otherwise."""

_PAUSE = 0.05
_TOUCHED = 5.0  # seconds between two notes that a shard was used


class ShardCache:
    """Whole shards under the hash of where they come from and what they are; the least recently used go first.

    ``most`` is the limit in bytes, in which those that are on their way count as if they were there.
    """

    def __init__(self, most: int | None = None, folder: Path | None = None) -> None:
        self.folder = cache_folder() / "shards" if folder is None else folder
        self.most = most_kept() if most is None else most
        self._used: dict[Path, float] = {}

    def get(self, name: str, size: int, blake2b: str, fetch: Callable[[Path], None]) -> Path:
        """Give the file of a shard; ``fetch`` brings it where it is not there, adding to what the file given has.

        Raises ``InputError`` where it cannot be kept or brought, or is not the one that the index names.
        """
        key = hashlib.blake2b(f"{name}\0{size}\0{blake2b}".encode(), digest_size=HASH).hexdigest()
        path = self.folder / f"{key}.tar"
        if self._there(path):
            return path
        if size > self.most:
            raise InputError(
                f"{name} has {size / 2**30:.2f} GiB, more than the {self.most / 2**30:.2f} that may be kept: set "
                f"{VARIABLE} higher"
            )
        with explaining(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone(f"{key}.lock", lambda: self._there(path)):
                if not self._there(path):
                    part = self.folder / f"{key}.{size}.part"
                    self._make_room(size, part)
                    self._bring(part, name, blake2b, fetch)
                    sync(part)
                    with self._alone("room.lock", lambda: False):  # nobody is to count neither of the two
                        part.replace(path)
        return path

    def _there(self, path: Path) -> bool:
        """Whether a shard is there; notes that it is used."""
        now = time.monotonic()
        if now - self._used.get(path, -_TOUCHED) < _TOUCHED:
            return path.is_file()
        try:
            os.utime(path)
        except OSError:
            return False
        self._used[path] = now
        return True

    def forget(self, path: Path) -> None:
        """Know that somebody removed a shard."""
        self._used.pop(path, None)

    def _bring(self, part: Path, name: str, blake2b: str, fetch: Callable[[Path], None]) -> None:
        for again in (True, False):
            fetch(part)
            if content_hash(part).hex() == blake2b:
                return
            if again:
                part.write_bytes(b"")  # and not away: it keeps the room
            else:
                part.unlink()
                raise InputError(
                    f"{name} is not the shard that the index names: put the right one there, or pack again"
                )

    def _make_room(self, size: int, own: Path) -> None:
        """Remove the least recently used shards until another fits; waits for others that are on their way."""
        while True:
            with self._alone("room.lock", lambda: False):
                coming, kept = self._listed(own)
                for at, path, length in sorted(kept):
                    if coming + sum(one[2] for one in kept) + size <= self.most:
                        break
                    with suppress(OSError):  # Windows removes none that is being read
                        path.unlink(missing_ok=True)
                        kept.remove((at, path, length))
                if coming + sum(one[2] for one in kept) + size <= self.most:
                    own.touch()
                    return
                own.unlink(missing_ok=True)  # of a killed process: others that wait would count it as on its way
            time.sleep(_PAUSE)

    def _listed(self, own: Path) -> tuple[int, list[tuple[float, Path, int]]]:
        """Give the bytes on their way, and the shards that are there: when used, where, how many bytes."""
        coming, kept = 0, []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.suffix == ".tar":
                    kept.append((status.st_mtime, path, status.st_size))
                elif path.suffix == ".part" and path != own:
                    key, length, _ = path.name.split(".")
                    with holding(self.folder / f"{key}.lock") as free:
                        if not free:
                            coming += int(length)
                        else:  # what a killed process left
                            kept.append((status.st_mtime, path, status.st_size))
        return coming, kept

    @contextmanager
    def _alone(self, name: str, done: Callable[[], bool]) -> Iterator[None]:
        """Hold a lock of all processes and threads, or wait until what it is for is done by another."""
        while True:
            with holding(self.folder / name) as held:
                if held or done():
                    try:
                        yield
                    finally:
                        if held:
                            with suppress(OSError):
                                (self.folder / name).unlink(missing_ok=True)
                    return
            time.sleep(_PAUSE)


def most_kept() -> int:
    """Return how many bytes of shards to keep, by the environment or by default."""
    said = os.environ.get(VARIABLE)
    if not said:
        return int(GIB * 2**30)
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise InputError(f"{VARIABLE}: give the GiB of shards to keep, a number above 0, not {said[:40]!r}")
    return int(value * 2**30)
