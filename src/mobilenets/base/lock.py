"""Locks on files. The system ends them with the process that holds them, so that a killed one leaves none."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What systems say where another process holds the lock.
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)
# Where Windows locks a byte: beyond all content, because there a locked byte can be neither read nor written.
_FAR = 1 << 30


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed: False where somebody else has, None where its file system knows no locks.

    It is the open file that holds the lock: a second opening of it counts as somebody else, in the same process too.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` while the block runs, made where it is missing and left where it is.

    Yields whether it is held: False where somebody else holds it. Where no file can be made or locked (a folder that is
    read-only, a network drive) nothing can be told, and nothing stands in the way. The block may remove the file.
    """
    descriptor = None
    try:
        held: bool | None = None
        with suppress(OSError):
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
                held = try_lock(descriptor)
                # The one who held it before may have removed the file meanwhile; then this one is nobody's.
                if held is not True or _is(descriptor, path):
                    break
                os.close(descriptor)
                descriptor = None
        yield held is not False
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
