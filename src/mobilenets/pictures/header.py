"""What a picture's file says of itself, before its pixels are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import TiffImagePlugin

from mobilenets.pictures.decode import open_picture, orientation_of

_WIDTH, _HEIGHT = 256, 257  # TIFF 6.0, section 8


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
        size = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile):  # whose size Pillow turns before its pixels
            size = picture.tag_v2[_WIDTH], picture.tag_v2[_HEIGHT]
        return Header(picture.format or "", picture.mode, orientation_of(picture), size)
