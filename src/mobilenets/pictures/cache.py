"""Decoded pictures kept in memory from one epoch to the next, as far as they fit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path

from PIL import Image

from mobilenets.base import mounts
from mobilenets.base.free_memory import free_memory
from mobilenets.errors import InputError
from mobilenets.pictures.decode import Decoded

MOST = 2 << 30
"""The most bytes of pictures that are kept, where nobody says otherwise."""

SHARE = 8
"""What is kept takes at most the 8th part of free memory."""

UNKNOWN = 256 << 20
"""Kept where nobody tells how much memory is free."""

VARIABLE = "MOBILENETS_PICTURE_MEMORY"

# What an entry takes besides its pixels: its key, its place in the table.
_BESIDE = 600


class PictureCache:
    """Pictures as ``make`` gave them, RGB of 8 bit; safe in several threads.

    - ``most``: the most bytes to keep. By default what ``$MOBILENETS_PICTURE_MEMORY`` says in MiB (0: none), else an
      eighth of free memory, up to 2 GiB.

    Raises InputError when the variable is not a whole number.

    What is there stays: every picture comes once an epoch, in another order each time, so that whatever was thrown out
    would be missed as often as what took its place. The pixels are those that decoding anew would give.
    """

    def __init__(self, most: int | None = None) -> None:
        self._room = most_kept() if most is None else most
        self._kept: dict[Hashable, tuple[tuple[int, int], int, bytes]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._kept)

    def get(self, path: Path, how: Hashable, make: Callable[[], Decoded]) -> Decoded:
        """Give what is kept of a file, else what ``make`` makes of it; ``how`` is what that follows from besides.

        A file that was written since is made anew.
        """
        try:
            version = mounts.version(path)
        except OSError:  # make says what is wrong
            return make()
        key = (path, version, how)
        kept = self._kept.get(key)
        if kept is not None:
            size, share, pixels = kept
            return Decoded(Image.frombytes("RGB", size, pixels), share)
        made = make()
        self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Decoded) -> None:
        size = 3 * made.image.width * made.image.height + _BESIDE
        with self._lock:
            if size > self._room or key in self._kept:
                return
            self._room -= size
            # Pillow's own pixels take 4 bytes.
            self._kept[key] = (made.image.size, made.share, made.image.tobytes())


def most_kept() -> int:
    """Return how many bytes of pictures to keep, by the environment or by what memory is free."""
    said = os.environ.get(VARIABLE)
    if said:
        if not (said.isascii() and said.isdigit()):
            raise InputError(f"{VARIABLE}: give a whole number of MiB, 0 to keep no pictures, not {said[:40]!r}")
        return int(said) << 20
    free = free_memory()
    return UNKNOWN if free is None else min(MOST, free // SHARE)
