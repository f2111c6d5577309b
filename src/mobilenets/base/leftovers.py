"""What processes that were killed while they wrote have left: it counts as nothing, and is cleared away."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobilenets.base.lock import try_lock

# How the names of what is written aside begin.
ASIDE = ".writing-"
# Held by the process that writes a folder aside, inside of it.
ALIVE = "alive"
# In a folder that is being filled with files under their final names; gone when all are there.
UNFINISHED = f"{ASIDE}unfinished"
# Where nobody can say whether what was written aside is still written: so many seconds after its last change it is not.
_LONG_AGO = 3600.0

_cleared: set[Path] = set()


def occupants(folder: Path) -> list[str]:
    """Name what is in a folder, without what killed processes left; nothing for a folder that was never finished."""
    names = sorted(path.name for path in folder.iterdir())
    return [] if UNFINISHED in names else [name for name in names if not name.startswith(ASIDE)]


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Mark an empty folder as unfinished until the block ends well: if it does not, the folder still counts as empty.

    It is made if it is missing; one that holds something already is not marked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / UNFINISHED
    if not occupants(folder):
        mark.touch()
    yield
    mark.unlink(missing_ok=True)


def clear_leftovers(folder: Path, below: bool = False) -> None:
    """Remove what killed processes left in ``folder``, and with ``below`` in those under it too; others' work stays."""
    for path in list((folder.rglob if below else folder.glob)(f"{ASIDE}*")):
        if path.name != UNFINISHED and _abandoned(path):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def clear_once(folder: Path) -> None:
    """Remove what killed processes left in ``folder``, the first time that this process writes there."""
    place = folder.absolute()
    if place not in _cleared:
        _cleared.add(place)
        clear_leftovers(folder)


def _abandoned(path: Path) -> bool:
    """Say whether the process that wrote something aside is gone: its lock went with it."""
    try:
        descriptor = os.open(path / ALIVE if path.is_dir() else path, os.O_RDWR)
    except OSError:
        return _empty(path) or _old(path)
    try:
        free = try_lock(descriptor)
    finally:
        os.close(descriptor)
    # Windows renames nothing that is open, so files are not held there: see ``writing``.
    if free is None or (os.name == "nt" and path.is_file()):
        return _old(path)
    return free


def _empty(path: Path) -> bool:
    """Say whether a process that wrote a folder aside was killed when it had only made it, or all but removed it."""
    with suppress(OSError):
        return path.is_dir() and not any(path.iterdir())
    return False


def _old(path: Path) -> bool:
    try:
        within = list(path.iterdir()) if path.is_dir() else []
        changed = max(each.lstat().st_mtime for each in (path, *within))
    except OSError:
        return False
    return time.time() - changed > _LONG_AGO
