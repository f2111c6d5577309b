"""From a file, or its bytes, to the picture as people see it: upright, RGB, 8 bit, sRGB."""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from mobilenets.errors import UnreadablePicture

MAX_PIXELS = 120_000_000
"""Larger pictures are refused before their pixels are decoded (a 108-megapixel phone photo passes)."""

MAX_SIDE = 65_535
"""JPEG's own limit; keeps a strip one pixel wide from growing enormous when its short side is resized."""

# Only these decoders ever see a file. The two that Pillow does not preload are named by their modules, whose
# import registers them once, before there are threads.
FORMATS = (
    "JPEG",
    "PNG",
    WebPImagePlugin.WebPImageFile.format,
    "BMP",
    "GIF",
    TiffImagePlugin.TiffImageFile.format,
    "PPM",
)
READS = "JPEG, PNG, WebP, BMP, GIF, TIFF and PPM"

_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4 A
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY = ("1", "L", "LA", "La")

Surplus: TypeAlias = Callable[[int, int], float]
"""How many times larger, a side, a picture of so many pixels a side is than it need be decoded."""

# ITU-T T.81, table B.1. Before the frame only these segments are passed over, by their length.
_PASSED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}
_FRAMES_OF_DCT = {0xC0, 0xC1, 0xC2}


class PictureTooLarge(UnreadablePicture):
    """More pixels than ``MAX_PIXELS``, or a side longer than ``MAX_SIDE``."""


def decode(source: Path | bytes | Image.Image, surplus: Surplus | None = None) -> Image.Image:
    """Decode a picture file, the bytes of one, or an open Pillow image to upright RGB; safe in several threads.

    A Pillow image is left as it is and gives what its file would: its EXIF, transparency and profile count.
    Reads JPEG, PNG, WebP, BMP, GIF, TIFF and PPM, of animations and documents the first frame. Transparency
    is composited on white. EXIF (or XMP) orientation is applied. An embedded colour profile other than sRGB
    is converted to sRGB; one that cannot be used is ignored, as is broken EXIF. CMYK without a profile is
    converted by the plain formula. 16-bit grey is scaled to 8 bit; 16-bit colour keeps its high byte.
    Grey of 32-bit integers or floats has no stated white: it is taken to be the smallest of 1 (floats only),
    255 and 65535 that covers the values, and values outside all of them are stretched from least to greatest.

    With ``surplus`` (that of a ``Preprocessing``) a JPEG file larger than need be is decoded at 1/2, 1/4 or 1/8 of its
    sides where that hardly shows: if they divide evenly, the colour is as fine across as down, and there is no profile
    to convert from. What is refused whole is refused then too.

    Raises UnreadablePicture, whose message is the reason in one line, for whatever is not such a picture.
    """
    try:
        with _quiet_pillow():
            if isinstance(source, Image.Image):
                return _upright(source)
            with _opened(source) as stream, Image.open(stream, formats=FORMATS) as picture:
                return _upright(picture, surplus)
    except UnreadablePicture:
        raise
    except Exception as error:  # Pillow raises nearly every kind: SyntaxError, struct.error, zlib.error, …
        raise _explained(error) from error


@contextmanager
def _opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        if not source:
            raise UnreadablePicture("the file is empty")
        yield io.BytesIO(source)
        return
    try:
        status = source.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadablePicture("this is a folder, not a picture")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise UnreadablePicture("this is not a regular file")
        if status.st_size == 0:
            raise UnreadablePicture("the file is empty")
        stream = source.open("rb")
    except FileNotFoundError:
        raise UnreadablePicture("there is no such file") from None
    except PermissionError:
        raise UnreadablePicture("no permission to read the file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadablePicture(f"the file cannot be opened: {_line(reason)}") from error
    with stream:
        yield stream


def _upright(picture: Image.Image, surplus: Surplus | None = None) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureTooLarge(
            f"{width} x {height} pixels; the limit is {MAX_PIXELS // 10**6} million, {MAX_SIDE} a side"
        )
    if not width * height:
        raise UnreadablePicture("the picture has no pixels")
    if surplus is not None and isinstance(picture, JpegImagePlugin.JpegImageFile):
        _scale(picture, surplus(width, height))
    picture.load()
    seen = _as_seen(picture)
    # Asked only now: PNG may carry EXIF behind its pixels, and TIFF turns itself while loading.
    turn = _UPRIGHT.get(_orientation(picture))
    if turn is not None:
        seen = seen.transpose(turn)
    seen.info = {}  # what it says (profile, transparency, EXIF) is done, and must not be done again
    return seen


def _scale(picture: JpegImagePlugin.JpegImageFile, surplus: float) -> None:
    """Have libjpeg decode at the smallest scale that leaves enough, where the pixels stay nearly what they were."""
    width, height = picture.size
    shares = (share for share in (8, 4, 2) if share <= surplus and not width % share and not height % share)
    share = next(shares, 1)
    if share > 1 and _scales_well(picture) and _of_dct(cast(IO[bytes], picture.fp)):
        picture.draft(None, (width // share, height // share))


def _scales_well(picture: JpegImagePlugin.JpegImageFile) -> bool:
    # libjpeg keeps colour as fine as it can only where it is sampled alike both ways: 4:4:4 and 4:2:0, but not 4:2:2.
    if any(across != down for _, across, down, _ in picture.layer):
        return False
    # Conversion clips what sRGB does not hold, and a mean of clipped pixels is not the clipped mean.
    profile = picture.info.get("icc_profile")
    return not isinstance(profile, bytes) or _transform(profile, picture.mode) is None


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


def _orientation(picture: Image.Image) -> Any:
    try:
        value = picture.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF does not make a bad picture
        return None
    return value if isinstance(value, int) else None


def _as_seen(picture: Image.Image) -> Image.Image:
    """RGB in sRGB, on white, not yet upright."""
    profile = picture.info.get("icc_profile")
    if picture.mode[0] in "IF":
        picture = _eight_bit_grey(picture)
    if picture.mode == "CMYK":
        if picture.format in ("JPEG", "MPO") and "adobe" not in picture.info:
            # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted.
            picture = Image.eval(picture, lambda ink: 255 - ink)
        return _in_srgb(picture, profile, "CMYK") or picture.convert("RGB")
    seen = _on_white(picture)
    if not profile:
        return seen
    return _in_srgb(seen, profile, "L" if picture.mode in _GREY else "RGB") or seen


def _on_white(picture: Image.Image) -> Image.Image:
    key = picture.info.get("transparency")
    if picture.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and key is None:
        return picture.convert("RGB")
    if isinstance(key, tuple) and max(key) > 255:
        # A 16-bit PNG's transparent colour; its pixels keep their high byte, so the key does too.
        picture = picture.copy()
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Modes I;16 (and its byte orders), I and F to L; Pillow's own conversion would clip at 255."""
    values = np.asarray(picture)
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = float(numbers.min()), float(numbers.max())
    whites = (65535,) if sixteen else (255, 65535) if picture.mode == "I" else (1, 255, 65535)
    white = next((float(white) for white in whites if low >= 0 and high <= white), None)
    if white is None:
        numbers -= low
        white = (high - low) or 1.0
    grey = np.rint(numbers * (255 / white)).astype(np.uint8)
    key = picture.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


def _in_srgb(picture: Image.Image, profile: Any, mode: str) -> Image.Image | None:
    """The picture converted from its profile, or None where there is nothing to convert or no way to."""
    if not isinstance(profile, bytes):
        return None
    transform = _transform(profile, mode)
    if transform is None:
        return None
    try:
        return cast(Image.Image, transform.apply(picture.convert(mode)))
    except Exception:  # a profile that cannot be used does not make a bad picture
        return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """ImageCms transform from a profile to sRGB; None for an unusable one and for sRGB by any name."""
    # The header's data colour space (ICC.1:2022, 7.2.8) must be the picture's.
    if profile[16:20] != {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}[mode]:
        return None
    try:
        from PIL import ImageCms  # an optional part of Pillow

        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Without its one-pixel cache a transform can be shared between threads.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        if mode == "CMYK":
            return transform
        ramp = np.linspace(0, 255, 9).round().astype(np.uint8)
        probe = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(27, 27, 3)
        before = Image.fromarray(probe).convert(mode)
        after = np.asarray(transform.apply(before), np.int16)
    except Exception:
        return None
    same = np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max() <= 2
    return None if same else transform


def _explained(error: Exception) -> UnreadablePicture:
    if isinstance(error, Image.DecompressionBombError):
        return PictureTooLarge(f"too many pixels: the limit is {MAX_PIXELS // 10**6} million")
    if isinstance(error, UnidentifiedImageError):
        return UnreadablePicture(f"no picture that can be read ({READS} can)")
    if isinstance(error, MemoryError):
        return UnreadablePicture("the picture is damaged, or does not fit into memory")
    if isinstance(error, OSError) and error.strerror:
        return UnreadablePicture(f"the file cannot be read: {_line(error.strerror)}")
    return UnreadablePicture(f"the picture is damaged: {_line(str(error)) or type(error).__name__}")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


_lock = threading.Lock()
_decoding = 0
_silence: list[Any] = []


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Ignore the warnings of Pillow's own modules while any thread decodes.

    ``warnings.catch_warnings`` is no help: it puts back the whole list of filters, so two threads that
    overlap would leave theirs behind. One filter is added with the first and removed with the last.
    """
    global _decoding
    with _lock:
        if _decoding == 0:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _silence[:] = [warnings.filters[0]]
        _decoding += 1
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0:
                filters = cast(list[Any], warnings.filters)
                if _silence[0] in filters:
                    filters.remove(_silence[0])
