"""PPM and its kin (netpbm), where Pillow's decoder is written in Python: the same values, by NumPy.

Pillow takes a value at a time where 255 is not the greatest, and where values are written as text: tens of times
slower, and a few megabytes of comments keep it busy for minutes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, PpmImagePlugin

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.kinds import HEAD

_STARTS = tuple(b"P%c" % kind for kind in b"0123456fy")
_BITMAPS = (b"P1", b"P4")
_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_NO_NUMBER = re.compile(rb"[^0-9\s]")
_LONG = re.compile(rb"[0-9]{11}")
_SPACES = b" \t\n\v\f\r"
_BLOCK = 1 << 20


def check_head(head: bytes) -> None:
    """Refuse a header that does not end within the first bytes of a file; raises UnreadablePicture."""
    if len(head) < HEAD or not head.startswith(_STARTS):
        return
    needed = 2 if head.startswith(_BITMAPS) else 3
    if len(_COMMENT.sub(b"", head[2:]).split(None, needed)) < needed:
        raise UnreadablePicture(f"a PPM whose header is longer than {HEAD} bytes is not read: save it as PNG")


def make_quick(picture: PpmImagePlugin.PpmImageFile) -> None:
    """Have an opened picture's values come from NumPy where Pillow would make them one by one."""
    [(decoder, extents, offset, how)] = picture.tile
    if decoder not in ("ppm", "ppm_plain"):
        return
    assert picture.fp is not None
    picture.fp.seek(offset)
    values = picture.width * picture.height * Image.getmodebands(picture.mode)
    kind = "I;32" if picture.mode == "I" else picture.mode
    if picture.mode == "1":
        content, kind = _bits(picture.fp.read(), values), "1;8"
    else:
        greatest = cast(tuple[Any, int], how)[1]
        found = (
            _plain(picture.fp.read(), values, greatest)
            if decoder == "ppm_plain"
            else _binary(picture, values, greatest)
        )
        content = _scaled(found, greatest, picture.mode)
    picture.fp = io.BytesIO(content)
    picture.tile = cast(Any, [("raw", extents, 0, (kind, 0, 1))])


def _scaled(values: npt.NDArray[Any], greatest: int, mode: str) -> bytes:
    most = 65535 if mode == "I" else 255
    table = np.minimum(np.rint(np.arange(max(greatest, 255, int(values.max(initial=0))) + 1) / greatest * most), most)
    scaled: npt.NDArray[Any] = table.astype("<i4" if mode == "I" else "u1")[values]
    return scaled.tobytes()


def _binary(picture: PpmImagePlugin.PpmImageFile, values: int, greatest: int) -> npt.NDArray[Any]:
    assert picture.fp is not None
    size = 1 if greatest < 256 else 2
    content = picture.fp.read(size * values)
    return np.frombuffer(content[: len(content) // size * size], f">u{size}")


def _bits(content: bytes, values: int) -> bytes:
    digits = _COMMENT.sub(b"", content).translate(None, _SPACES)[:values]
    if digits.translate(None, b"01"):
        raise ValueError("a value that is neither 0 nor 1")
    return digits.translate(bytes.maketrans(b"01", b"\xff\x00"))


def _plain(content: bytes, values: int, greatest: int) -> npt.NDArray[Any]:
    found, count = [], 0
    for block in _blocks(_COMMENT.sub(b"", content)):
        other = _NO_NUMBER.search(block)
        # What is behind the last value does not matter, and may be anything.
        text = block if other is None else (block[: other.start()] + b"x").rsplit(None, 1)[0]
        if _LONG.search(text):
            raise ValueError("a number that is too long")
        part = np.fromstring(text, np.int64, sep=" ") if text.strip(_SPACES + b"x") else np.empty(0, np.int64)
        found.append(part[: values - count])
        count += len(found[-1])
        if count == values or other is not None:
            break
    numbers = np.concatenate(found) if found else np.empty(0, np.int64)
    if numbers.max(initial=0) > greatest:
        raise ValueError(f"a value that is greater than {greatest}")
    return numbers


def _blocks(content: bytes) -> Iterator[bytes]:
    """Give the text in parts that end between two numbers."""
    place = 0
    while place < len(content):
        end = place + _BLOCK
        while end < len(content) and content[end - 1] not in _SPACES:
            end += 1
        yield content[place:end]
        place = end
