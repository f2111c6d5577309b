"""What a picture's file says of itself, before its pixels are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mobilenets.pictures.decode import open_picture

_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4 A


class Header(NamedTuple):
    """Format, mode, EXIF orientation (1: upright; from 5 on the sides are swapped), and size as stored, in pixels."""

    format: str
    mode: str
    orientation: int
    size: tuple[int, int]

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as people see it."""
        return self.size if self.orientation < 5 else self.size[::-1]


def header(path: Path) -> Header:
    """Read a file's header; raises what ``open_picture`` raises."""
    with path.open("rb") as stream, open_picture(stream) as picture:
        try:
            orientation = picture.getexif().get(_ORIENTATION)
        except Exception:  # broken EXIF does not make a bad picture
            orientation = None
        turned = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
        return Header(picture.format or "", picture.mode, turned, picture.size)
