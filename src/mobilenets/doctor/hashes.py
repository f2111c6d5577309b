"""What pictures are compared by: the hash of a file's bytes, and a thumbnail of what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import content_hash
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.stream import checked, default_workers, stream

Bytes: TypeAlias = npt.NDArray[np.uint8]

SIDE = 32
"""Pixels of a thumbnail's luma each way."""

COLOUR = 8
"""Pixels of a thumbnail's chroma each way: people see colour coarser than light, and so do JPEG files."""

_FINE = 2 * SIDE  # decoded no smaller than this, so that the scale of decoding does not show in the thumbnail
_AHEAD = 32


class Thumbnail(NamedTuple):
    """A whole picture, upright, in 1,152 bytes: ``luma`` 32×32 and ``chroma`` 2×8×8 (Cb, Cr), both uint8."""

    luma: Bytes
    chroma: Bytes


def thumbnail(image: Image.Image) -> Thumbnail:
    """Make the thumbnail of a decoded picture, as ``decode`` gives it: its sides are not kept in proportion."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.asarray(small.convert("YCbCr"))
    times = SIDE // COLOUR
    coarse = pixels[..., 1:].reshape(COLOUR, times, COLOUR, times, 2).mean((1, 3))
    return Thumbnail(pixels[..., 0].copy(), coarse.round().astype(np.uint8).transpose(2, 0, 1))


def surplus(width: int, height: int) -> float:
    """Say how many times larger per side a picture is than a thumbnail needs it: for ``decode``."""
    return min(width, height) / _FINE


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """The thumbnails of N pictures, in their order.

    ``contents`` are the hashes of the files' bytes (``content_hash``, in hexadecimal), ``luma`` N×32×32 and ``chroma``
    N×2×8×8. ``shown`` is False for a file that does not decode, whose thumbnail is black.
    """

    contents: tuple[str, ...]
    luma: Bytes
    chroma: Bytes
    shown: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.contents)

    @classmethod
    def of(cls, made: Iterable[tuple[str, Thumbnail | None]], count: int) -> Thumbnails:
        """Gather ``count`` hashes with their thumbnails, None for a file that does not decode."""
        contents: list[str] = []
        luma = np.zeros((count, SIDE, SIDE), np.uint8)
        chroma = np.zeros((count, 2, COLOUR, COLOUR), np.uint8)
        shown = np.zeros(count, np.bool_)
        for place, (content, small) in enumerate(made):
            contents.append(content)
            if small is not None:
                luma[place], chroma[place], shown[place] = small.luma, small.chroma, True
        return cls(tuple(contents), luma, chroma, shown)

    def joined(self, other: Thumbnails) -> Thumbnails:
        """Give these pictures and then the ``other`` ones."""
        return Thumbnails(
            self.contents + other.contents,
            np.concatenate([self.luma, other.luma]),
            np.concatenate([self.chroma, other.chroma]),
            np.concatenate([self.shown, other.shown]),
        )


def thumbnails(paths: Sequence[Path], workers: int | None = None) -> Thumbnails:
    """Read every file once, in threads, and make its thumbnail.

    Only a few decoded pictures are held at a time. Raises ``InputError`` for a file that cannot be opened.
    """

    def make(path: Path) -> tuple[str, Thumbnail | None]:
        content = content_hash(path).hex()
        try:
            return content, thumbnail(decode(path, surplus))
        except UnreadablePicture:
            return content, None

    def each() -> Iterator[tuple[str, Thumbnail | None]]:
        # Small pictures take less time than a hand-over between threads: several are under way.
        ahead = _AHEAD + (workers or default_workers())
        made = stream(make, paths, workers=workers, ahead=ahead)
        with progress("looking for copies", len(paths), "pictures") as said, closing(made):
            for one in checked(made):
                said.advance(1)
                yield one

    return Thumbnails.of(each(), len(paths))
