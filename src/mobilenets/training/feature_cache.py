"""The outputs of frozen blocks on the disk.

Kept in SQLite, one file a key in the cache folder: a killed process leaves whole entries or none. The entries are
found by the pictures' content, so that a changed picture is computed anew and nothing else is. Each carries a checksum,
and the table has to be the one that is written here, letter for letter: what the disk has damaged is computed anew too.
There is no checksum of the whole file, because each group of pictures would have to wait for it.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.base.cache import cache_folder
from mobilenets.base.notes import log

Floats = npt.NDArray[np.float32]

# Of all caches on the disk, in bytes.
MOST_KEPT = 8 << 30
# What reading a damaged file raises.
_DAMAGED = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError)

# With a rowid: entries of kilobytes in the tree of the key itself took half as much room again, and more than twice
# the time.
_TABLE = "CREATE TABLE features (picture TEXT, view INTEGER, value BLOB, checksum INTEGER, PRIMARY KEY (picture, view))"


class FeatureCache:
    """The entries of one ``key`` for some pictures, each in so many views.

    ``marks`` are the hashes of the pictures' contents. ``values``, float32 pictures×views×H×W×C, is filled with what is
    found; ``missing`` has the places and views of what is not. To be closed.
    """

    def __init__(self, key: str, marks: Sequence[str], values: Floats) -> None:
        self._key, self._marks, self.values = key, marks, values
        self.missing: list[tuple[int, int]] = []
        self._base = self._open()

    def close(self) -> None:
        """Close the file."""
        if self._base is not None:
            self._base.close()

    def add(self, entries: Sequence[tuple[int, int]], computed: Floats) -> None:
        """Take values, N×H×W×C, of the places and views that ``entries`` names.

        A full disk is said once and stops nothing, because the values are in memory too.
        """
        rows = []
        for (place, view), value in zip(entries, computed, strict=True):
            self.values[place, view] = value
            mark, content = self._marks[place], value.tobytes()
            rows.append((mark, view, content, _checksum(self._key, mark, view, content)))
        if self._base is None:
            return
        try:
            with self._base:
                self._base.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            log.warning("the feature cache cannot grow (%s); continuing without it", error)
            self.close()
            self._base = None

    def _open(self) -> sqlite3.Connection | None:
        """Open the file and read it; a damaged one begins anew, and None stands for one that cannot be written."""
        path = _path(self._key)
        for again in (False, True):
            base = None
            try:
                if again:
                    path.unlink()
                path.parent.mkdir(parents=True, exist_ok=True)
                base = sqlite3.connect(path, timeout=60)
                base.text_factory = bytes  # damage may make text of a value, and text that is not UTF-8
                # To wait for the disk after each group is not worth it: should the machine fail, the checksums tell.
                base.execute("PRAGMA synchronous = OFF")
                _make_table(base)
                path.touch()
                self.missing, damaged = _read(base, self._key, self._marks, self.values)
                if damaged:
                    log.warning("%d outputs in the feature cache are damaged; computing them again", damaged)
                # Into a damaged tree nothing can be put so that it is found again.
                if self.missing and base.execute("PRAGMA integrity_check").fetchone() != (b"ok",):
                    raise ValueError("not as SQLite leaves it")
                return base
            # Damage makes SQLite say almost anything, also in words that are not UTF-8.
            except (*_DAMAGED, OSError) as error:
                if base is not None:
                    base.close()
                if again or isinstance(error, OSError) or _in_the_way(error, path):
                    log.warning("%s: the feature cache cannot be used (%s); continuing without it", path, error)
                    break
                log.warning("%s: the feature cache is damaged; computing it again", path)
        self.missing = [(place, view) for place in range(len(self._marks)) for view in range(self.values.shape[1])]
        return None


def look_up(key: str, marks: Sequence[str], values: Floats) -> list[int]:
    """Fill ``values``, N×H×W×C, with the first view of pictures; gives the places of those that are not in the cache.

    Nothing is written, and a damaged cache counts as empty.
    """
    try:
        with closing(sqlite3.connect(_path(key))) as base:
            base.text_factory = bytes
            return [place for place, _ in _read(base, key, marks, values[:, None])[0]]
    except _DAMAGED:
        return list(range(len(marks)))


def _read(
    base: sqlite3.Connection, key: str, marks: Sequence[str], values: Floats
) -> tuple[list[tuple[int, int]], int]:
    """Take the entries that are there and whole; gives the places of those that are not, and how many are damaged."""
    missing, damaged = [], 0
    if base.execute("SELECT 1 FROM features LIMIT 1").fetchone() is None:  # what a first run finds
        return [(place, view) for place in range(len(marks)) for view in range(values.shape[1])], 0
    for place, mark in enumerate(marks):
        rows = base.execute("SELECT view, value, checksum FROM features WHERE picture = ?", (mark,))
        known = {view: (value, checksum) for view, value, checksum in rows}
        for view in range(values.shape[1]):
            value, checksum = known.get(view, (None, None))
            whole = isinstance(value, bytes) and len(value) == values[place, view].nbytes
            if whole and checksum == _checksum(key, mark, view, value):
                values[place, view] = np.frombuffer(value, np.float32).reshape(values.shape[2:])
            else:
                missing.append((place, view))
                damaged += view in known
    return missing, damaged


def _checksum(key: str, mark: str, view: int, value: bytes) -> int:
    """Sum up an entry and what it is the entry of, so that none passes for another either."""
    return zlib.crc32(value, zlib.crc32(f"{key} {mark} {view}".encode()))


def _make_table(base: sqlite3.Connection) -> None:
    """Make the table in a new file; raises ``ValueError`` where there is another one."""
    base.execute(_TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))
    if base.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall() != [(_TABLE.encode(),)]:
        raise ValueError("another table than is written here")


def _in_the_way(error: Exception, path: Path) -> bool:
    """Say whether a file cannot be used for another reason than damage: no rights, no room, others who hold it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_READONLY:  # one byte of the file can say so too
        return not os.access(path, os.W_OK)
    return code in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
    }


def is_kept(key: str) -> bool:
    """Say whether there is a cache of this key."""
    return _path(key).is_file()


def count_entries(key: str, marks: Sequence[str], views: int) -> int:
    """Count the entries that a cache has of these pictures; a damaged cache counts as empty."""
    if not is_kept(key):
        return 0
    query = "SELECT count(*) FROM features WHERE picture = ? AND view < ?"
    try:
        with closing(sqlite3.connect(_path(key))) as base:
            return sum(int(base.execute(query, (mark, views)).fetchone()[0]) for mark in marks)
    except _DAMAGED:
        return 0


def prune() -> None:
    """Drop the caches that were used longest ago, beyond what should be kept."""
    files = sorted(_folder().glob("*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)
    room = MOST_KEPT
    for number, path in enumerate(files):
        room -= path.stat().st_size
        if room < 0 and number > 1:  # the two of this run stay
            with suppress(OSError):  # Windows keeps what another process has open
                path.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "features"


def _path(key: str) -> Path:
    return _folder() / f"{key}.sqlite"
