"""What may be given for a picture in Python, and what of it reaches the decoder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.errors import UnreadablePicture

Picture: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any]
)
Source: TypeAlias = Path | bytes | Image.Image

_KINDS = "a path, the bytes of a file, an open file, a Pillow image or a NumPy array"
_ADDRESS = re.compile(r"(https?|ftp|s3|gs)://", re.IGNORECASE)


def source_of(picture: Picture) -> Source:
    """Turn anything that represents a picture into what ``decode`` takes; nothing of it is changed.

    Arrays are uint8: H×W×3 RGB, H×W×4 RGB with alpha, H×W or H×W×1 grey. OpenCV's are BGR: give ``array[..., ::-1]``. A
    file object is read from its start, where it can be rewound.

    Raises ``UnreadablePicture`` with what to give instead.
    """
    if isinstance(picture, (Image.Image, bytes)):
        return picture
    if isinstance(picture, str):
        return _path(picture)
    if isinstance(picture, os.PathLike):
        return Path(picture)
    if isinstance(picture, (bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, np.ndarray):
        return _image(picture)
    if hasattr(picture, "read"):
        return _read(picture)
    if hasattr(picture, "permute"):
        raise UnreadablePicture(
            "a tensor is not a picture: pass an array, H×W×3 uint8 RGB (of a tensor 3×H×W of 0 to 1: "
            "(t * 255).byte().permute(1, 2, 0).numpy())"
        )
    several = ": for several pictures use mobilenets.predict" if isinstance(picture, (list, tuple, set, dict)) else ""
    raise UnreadablePicture(f"a picture is {_KINDS}, not {type(picture).__name__}{several}")


def is_one(pictures: object) -> bool:
    """Say whether something represents one picture, though some that do can be iterated over."""
    if isinstance(pictures, np.ndarray):
        return pictures.ndim != 4 and pictures.dtype != object
    single = isinstance(pictures, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
    return single or hasattr(pictures, "read") or hasattr(pictures, "permute")


def _path(name: str) -> Path:
    if not name:
        raise UnreadablePicture("the path is empty")
    if _ADDRESS.match(name):
        raise UnreadablePicture(
            "this is a web address: download the picture first, then pass its path or bytes; for shards or lists of "
            "addresses: mobilenets predict MODEL ADDRESS --engine local --out FOLDER"
        )
    if name.startswith("data:"):
        raise UnreadablePicture("this is a data URL: decode its Base64 and pass the bytes")
    if name.startswith("file://"):
        raise UnreadablePicture("this is a file address: pass only the path, without file://")
    return Path(name)


def _image(array: npt.NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8:
        scale = ", of 0 to 1: (array * 255).round().astype('uint8')" if array.dtype.kind == "f" else ""
        raise UnreadablePicture(f"an array must be uint8 from 0 to 255, not {array.dtype}{scale}")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        shape = "×".join(map(str, array.shape))
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = ": move the channels last, array.transpose(1, 2, 0)"
        else:
            hint = ": for several pictures use mobilenets.predict" if array.ndim == 4 else ""
        raise UnreadablePicture(
            f"an array must be H×W×3 RGB, H×W×4 with alpha or H×W grey, not {shape or 'empty'}{hint}"
        )
    if 0 in array.shape:
        raise UnreadablePicture("the picture has no pixels")
    return Image.fromarray(np.ascontiguousarray(array))


def _read(file: IO[bytes]) -> bytes:
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)  # as Pillow does: what was just written into memory stands at its end
        content: object = file.read()
    except Exception as error:  # a closed file, a broken connection: anything may be behind it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadablePicture(f"the file object cannot be read: {reason}") from error
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise UnreadablePicture('the file is open as text: open it with open(path, "rb")')
    return bytes(content)
