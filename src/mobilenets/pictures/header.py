"""What a picture's file says of itself, before its pixels are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import PngImagePlugin, TiffImagePlugin

from mobilenets.base import mounts
from mobilenets.pictures.decode import decode, open_picture, orientation_of, quiet_pillow

_WIDTH, _HEIGHT = 256, 257  # TIFF 6.0, section 8
_TURNING = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # where a PNG may say that it is turned


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
    """Read a file's header; of one that is mended in decoding, the size of its pixels. Raises as ``decode`` does."""
    try:
        with quiet_pillow(), mounts.open_file(path) as stream, open_picture(stream) as picture:
            size = picture.size
            if isinstance(picture, TiffImagePlugin.TiffImageFile):  # whose size Pillow turns before its pixels
                size = picture.tag_v2[_WIDTH], picture.tag_v2[_HEIGHT]
            # Pillow would decode a PNG to look for EXIF behind its pixels.
            plain = isinstance(picture, PngImagePlugin.PngImageFile) and not _may_turn(mounts.read_file(path))
            return Header(picture.format or "", picture.mode, 1 if plain else orientation_of(picture), size)
    except Exception:
        picture = decode(path)
        return Header("", picture.mode, 1, picture.size)


def _may_turn(png: bytes) -> bool:
    return any(mark in png for mark in _TURNING)
