"""Kinds of TIFF that Pillow reads wrongly without a word: refused by their tags (TIFF 6.0), or put right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin

from mobilenets.errors import UnreadablePicture

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR = 254, 258, 259, 262, 266, 277, 284
_COLOURS, _EXTRA, _FORMAT, _DNG = 320, 338, 339, 50706
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_RAW, _OLD_JPEG = 1, 6
_UNSIGNED, _SIGNED = 1, 2
STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ADVICE = "is not read: convert it to PNG or JPEG"


def check(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse kinds whose pixels would not be the file's; raises UnreadablePicture."""
    reason = _camera_raw(picture) or _unsure(picture)
    if reason is not None:
        raise UnreadablePicture(reason)


def check_alpha(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a fourth channel that is said to be nothing and would hide pixels; asked of a decoded picture."""
    unsaid = picture.mode == "RGBA" and not _all(picture, _EXTRA)
    if unsaid and picture.getchannel("A").getextrema() != (255, 255):
        raise UnreadablePicture(f"a TIFF whose fourth channel has no stated meaning {ADVICE}")


def levels(picture: TiffImagePlugin.TiffImageFile) -> tuple[npt.NDArray[Any], float | None, bool]:
    """Return the grey values of a decoded picture, their white where it is stated, and whether white is zero."""
    values = np.asarray(picture)
    bits, kind = (_all(picture, _BITS) or (1,))[0], (_all(picture, _FORMAT) or (_UNSIGNED,))[0]
    white = None
    if kind == _UNSIGNED and bits in (12, 16):
        white = float(2**bits - 1)
    elif kind == _UNSIGNED and bits == 32:
        values = values.astype(np.int32).view(np.uint32)  # Pillow has no mode for them
    return values, white, picture.tag_v2.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO


def _all(picture: TiffImagePlugin.TiffImageFile, tag: int) -> tuple[int, ...]:
    value = picture.tag_v2.get(tag, ())
    return tuple(value) if isinstance(value, tuple) else (value,)


def _camera_raw(picture: TiffImagePlugin.TiffImageFile) -> str | None:
    tags = picture.tag_v2
    subfile = tags.get(_SUBFILE, 0)
    if _DNG in tags:
        return "camera raw (DNG) is not read: export it as JPEG"
    if isinstance(subfile, int) and subfile & 1:
        return "the first picture in this file is a small preview, as in camera raw: export it as JPEG"
    return None


def _unsure(picture: TiffImagePlugin.TiffImageFile) -> str | None:
    tags = picture.tag_v2
    compression, photometric = tags.get(_COMPRESSION, _RAW), tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    bits, kinds = _all(picture, _BITS) or (1,), set(_all(picture, _FORMAT) or (_UNSIGNED,))
    samples = tags.get(_SAMPLES, 1)
    if compression == _OLD_JPEG:
        return f"a TIFF with old-style JPEG compression {ADVICE}"
    if photometric == _YCBCR and compression == _RAW and samples > 1:
        return f"a TIFF of uncompressed YCbCr {ADVICE}"
    in_planes = tags.get(_PLANAR, 1) == 2 and samples > 1
    if in_planes and (samples == 2 or max(bits) != 8 or tags.get(_FILL_ORDER, 1) == 2):
        return f"a TIFF of {max(bits)}-bit channels in separate planes {ADVICE}"
    if kinds == {_SIGNED} and max(bits) == 8:
        return f"a TIFF of signed 8-bit values {ADVICE}"
    if photometric == _WHITE_IS_ZERO and kinds != {_UNSIGNED}:
        return f"a TIFF of signed or decimal values whose white is zero {ADVICE}"
    # libtiff gives values in the machine's byte order, but Pillow turns them once more.
    if kinds != {_UNSIGNED} and tags.prefix == b"MM" and compression != _RAW:
        return f"a compressed TIFF of signed or decimal values in big-endian order {ADVICE}"
    if photometric == _PALETTE and max(_all(picture, _COLOURS), default=0) < 256:
        return f"a TIFF whose palette has 8 bits instead of 16 {ADVICE}"
    return None
