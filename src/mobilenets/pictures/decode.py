"""From a file, or its bytes, to the picture as people see it: upright, RGB, 8 bit, sRGB."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from PIL import (
    Image,
    ImageFile,
    JpegImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from mobilenets.base import mounts
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures import jpeg, kinds, png, ppm, tiff
from mobilenets.pictures.colour import as_seen

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

Surplus: TypeAlias = Callable[[int, int], float]
"""How many times larger per side a picture of width and height is than it needs to be decoded."""


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, and by how much its sides were divided in decoding."""

    image: Image.Image
    share: int = 1

    @property
    def whole(self) -> tuple[int, int]:
        """Width and height that it has when it is decoded whole."""
        return self.image.width * self.share, self.image.height * self.share


class PictureTooLarge(UnreadablePicture):
    """More pixels than ``MAX_PIXELS``, or a side longer than ``MAX_SIDE``."""


class UnknownKind(UnreadablePicture):
    """No picture, or one of a kind that is not read."""


def decode(source: Path | bytes | Image.Image, surplus: Surplus | None = None) -> Image.Image:
    """Decode a picture file, the bytes of one, or an open Pillow image to upright RGB; safe in several threads.

    A Pillow image is left as it is and gives what its file would: its EXIF, transparency and profile count.
    Reads JPEG, PNG, WebP, BMP, GIF, TIFF and PPM, HEIC where pillow-heif is installed and AVIF where Pillow has it, of
    animations and documents the first frame. A file is what its bytes say, whatever its name. Transparency
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
    return decode_scaled(source, surplus).image


def decode_scaled(source: Path | bytes | Image.Image, surplus: Surplus | None) -> Decoded:
    """Decode as ``decode`` does, and tell the scale."""
    try:
        with quiet_pillow():
            if isinstance(source, Image.Image):
                return _upright(_still_open(source))
            with _opened(source) as stream:
                return _decoded(stream, surplus)
    except InputError:  # also of shards that cannot be brought here
        raise
    except Exception as error:
        raise _explained(error) from error


def open_picture(stream: IO[bytes]) -> Image.Image:
    """Open a picture of any kind that is read, by its content; its pixels are not decoded yet.

    Raises ``UnknownKind`` where HEIC or AVIF would need what is not installed, and whatever Pillow does.
    """
    head = stream.read(kinds.HEAD)
    stream.seek(0)
    family = kinds.family(head)
    if family == "heic":
        return _heic(stream)
    if family == "avif":
        if not features.check("avif"):
            raise UnknownKind(f"AVIF: Pillow reads it from version 11.3 on (pip install -U pillow), or {kinds.CONVERT}")
        from PIL import AvifImagePlugin  # registers itself; without it Pillow would load every plugin that it has

        return Image.open(stream, formats=(AvifImagePlugin.AvifImageFile.format,))
    ppm.check_head(head)
    return Image.open(stream, formats=FORMATS)


def _heic(stream: IO[bytes]) -> Image.Image:
    try:
        import pillow_heif  # an extra; nothing is registered with Pillow
    except ImportError:
        raise UnknownKind(f"HEIC: pip install pillow-heif to read it, or {kinds.CONVERT}") from None
    opened: Callable[[IO[bytes]], Image.Image] = pillow_heif.HeifImageFile
    return opened(stream)


def _decoded(stream: IO[bytes], surplus: Surplus | None) -> Decoded:
    """Decode a file; one that Pillow refuses, and viewers read, once more without what is wrong with it."""
    try:
        with open_picture(stream) as picture:
            return _upright(picture, surplus, stream)
    except UnreadablePicture:
        raise
    except Exception as error:  # Pillow raises nearly every kind: SyntaxError, struct.error, zlib.error, …
        if isinstance(error, Image.DecompressionBombError):
            raise
        content = _all_of(stream)
        mended = _mended(content)
        if mended is None:
            raise _explained(error, content) from error
    again = io.BytesIO(mended)
    try:
        with Image.open(again, formats=FORMATS) as picture:
            return _upright(picture, surplus, again)
    except UnreadablePicture:
        raise
    except Exception as error:
        raise _explained(error, content) from error


def _mended(content: bytes) -> bytes | None:
    try:
        if content.startswith(jpeg.START):
            return jpeg.mended(content)
        return png.mended(content) if content.startswith(png.START) else None
    except Exception:  # beyond mending: what was wrong at first is said
        return None


def _all_of(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def _still_open(picture: Image.Image) -> Image.Image:
    # Closing puts None, or an error that is raised when it is used, in the place of the file and of the pixels.
    try:
        if isinstance(picture, ImageFile.ImageFile) and picture.tile:
            closed = picture.fp is None or picture.fp.closed
        else:
            closed = picture.im is None
    except (AttributeError, ValueError):
        closed = True
    if closed:
        raise UnreadablePicture("this Pillow image is closed: pass it while it is open")
    return picture


@contextmanager
def _opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        if not source:
            raise UnreadablePicture("the file is empty")
        yield io.BytesIO(source)
        return
    try:
        if mounts.mounted(source) is None:
            _check_file(source.stat())
        stream = mounts.open_file(source)
    except FileNotFoundError:
        raise UnreadablePicture("there is no such file") from None
    except PermissionError:
        raise UnreadablePicture("no permission to read the file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadablePicture(f"the file cannot be opened: {_line(reason)}") from error
    with stream:
        yield stream


def _check_file(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadablePicture("this is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise UnreadablePicture("this is not a regular file")
    if status.st_size == 0:
        raise UnreadablePicture("the file is empty")


def _upright(picture: Image.Image, surplus: Surplus | None = None, stream: IO[bytes] | None = None) -> Decoded:
    """Decode an opened picture; ``stream`` is its file, None for an image of the caller's."""
    width, height = picture.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureTooLarge(
            f"{width} x {height} pixels; the limit is {MAX_PIXELS // 10**6} million, {MAX_SIDE} per side"
        )
    if not width * height:
        raise UnreadablePicture("the picture has no pixels")
    share = 1
    if surplus is not None and isinstance(picture, JpegImagePlugin.JpegImageFile):
        share = jpeg.scale(picture, surplus(width, height))
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tiff.check(picture)
    if isinstance(picture, PpmImagePlugin.PpmImageFile) and picture.tile:  # else its pixels are there already
        ppm.make_quick(picture)
    picture.load()
    _check_pixels(picture, stream)
    seen = as_seen(picture)
    # Asked only now: PNG may carry EXIF behind its pixels, and TIFF turns itself while loading.
    turn = _UPRIGHT.get(orientation_of(picture))
    if turn is not None:
        seen = seen.transpose(turn)
    seen.info = {}  # what it says (profile, transparency, EXIF) is done, and must not be done again
    return Decoded(seen, share)


def _check_pixels(picture: Image.Image, stream: IO[bytes] | None) -> None:
    """Refuse pixels that the decoder made up without a word."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tiff.check_alpha(picture)
    if stream is None:
        return
    if picture.format in ("JPEG", "MPO") and jpeg.lacks_pixels(stream, picture):
        raise UnreadablePicture("the picture is damaged: some of its pixels are missing")
    if picture.format == "PNG" and png.is_damaged(_all_of(stream)):
        raise UnreadablePicture("the picture is damaged: its pixels do not match its checksum")


def orientation_of(picture: Image.Image) -> int:
    """Give the EXIF orientation of an open picture: 1 for upright, and where nothing tells it."""
    try:
        value = picture.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF does not make a bad picture
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _explained(error: Exception, content: bytes = b"") -> UnreadablePicture:
    """Say in one line what is wrong with a file, where its first bytes do not tell what it is."""
    if isinstance(error, Image.DecompressionBombError):
        return PictureTooLarge(f"too many pixels: the limit is {MAX_PIXELS // 10**6} million")
    kind = jpeg.unread_kind(content) or kinds.explain(content[: kinds.HEAD])
    if kind is not None:
        return UnknownKind(kind)
    if isinstance(error, UnidentifiedImageError):
        if content.startswith((jpeg.START, png.START)):
            return UnreadablePicture("the picture is damaged: its header cannot be read")
        if content.startswith(tiff.STARTS):
            return UnknownKind(f"this kind of TIFF {tiff.ADVICE}")
        return UnknownKind(f"not a picture that can be read ({READS} are)")
    if isinstance(error, MemoryError):
        return UnreadablePicture("the picture is damaged, or does not fit into memory")
    if isinstance(error, OSError) and error.strerror:
        return UnreadablePicture(f"the file cannot be read: {_line(error.strerror)}")
    if "truncated" in str(error):
        return UnreadablePicture("the picture is damaged: truncated, its end is missing; copy or download it again")
    return UnreadablePicture(f"the picture is damaged: {_line(str(error)) or type(error).__name__}")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


_lock = threading.Lock()
_decoding = 0
_silence: list[Any] = []


@contextmanager
def quiet_pillow() -> Iterator[None]:
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
