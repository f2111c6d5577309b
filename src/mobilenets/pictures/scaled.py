"""JPEG's scaled decoding: a large picture at a fraction of its sides, where that hardly shows."""

from __future__ import annotations

import io
from typing import IO, cast

from PIL import JpegImagePlugin

from mobilenets.pictures.colour import transform_to_srgb

# ITU-T T.81, table B.1. Before the frame only these segments are passed over, by their length.
_PASSED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}
_FRAMES_OF_DCT = {0xC0, 0xC1, 0xC2}


def scale(picture: JpegImagePlugin.JpegImageFile, surplus: float) -> int:
    """Have libjpeg decode at the smallest scale that leaves enough, where the pixels stay nearly what they were.

    Returns by how much the sides are divided: 1, 2, 4 or 8, at most ``surplus``.
    """
    width, height = picture.size
    shares = (share for share in (8, 4, 2) if share <= surplus and not width % share and not height % share)
    share = next(shares, 1)
    if share == 1 or not _scales_well(picture) or not _of_dct(cast(IO[bytes], picture.fp)):
        return 1
    picture.draft(None, (width // share, height // share))
    return share


def _scales_well(picture: JpegImagePlugin.JpegImageFile) -> bool:
    # libjpeg keeps colour as fine as it can only where it is sampled alike both ways: 4:4:4 and 4:2:0, but not 4:2:2.
    if any(across != down for _, across, down, _ in picture.layer):
        return False
    # Conversion clips what sRGB does not hold, and a mean of clipped pixels is not the clipped mean.
    profile = picture.info.get("icc_profile")
    return not isinstance(profile, bytes) or transform_to_srgb(profile, picture.mode) is None


def _of_dct(stream: IO[bytes]) -> bool:
    """Say whether a JPEG's frame is coded by DCT: libjpeg does not scale lossless ones, and Pillow would not notice."""
    place = stream.tell()
    try:
        stream.seek(2)
        while True:
            mark, kind, *size = stream.read(4).ljust(4, b"\0")
            if mark != 0xFF or kind not in _PASSED:
                return mark == 0xFF and kind in _FRAMES_OF_DCT
            stream.seek(int.from_bytes(size) - 2, io.SEEK_CUR)
    finally:
        stream.seek(place)
