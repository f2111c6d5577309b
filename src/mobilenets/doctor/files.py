"""Every picture opened once: whether it decodes, and the few figures by which it, or its class, gives itself away."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.datasets.folder import Sample, relative
from mobilenets.doctor.problems import Finding
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, UnknownKind, decode, open_picture
from mobilenets.pictures.stream import stream

SIDE = 256  # pixels of the shorter side that figures are taken at: about what a network sees
SMALL = 96  # pixels; of smaller pictures nobody can say whether they are blurred
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4 A
_EDGE = 24  # of 255: less is no edge to judge by


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture looks like from outside.

    ``bytes`` of its file, its ``format``, ``width`` and ``height`` upright in pixels, EXIF's ``orientation`` (1:
    upright), ``transparent`` where it has an alpha channel. Of 255: ``brightest``, the 99.5th percentile of the largest
    channel; ``darkest``, the 0.5th of the smallest; ``range``, the widest channel's span. ``sharpness`` from 0 to 1 is
    that of its sharpest edges, None where there is none to judge by. ``border`` is mean red, green, blue and deviation
    of its outermost pixels.
    """

    bytes: int
    format: str
    width: int
    height: int
    orientation: int
    transparent: bool
    brightest: float
    darkest: float
    range: float
    sharpness: float | None
    border: tuple[float, float, float, float]


def look_at_all(
    samples: Sequence[Sample], root: Path, workers: int | None = None, advance: Callable[[int], None] | None = None
) -> tuple[dict[Path, Look], list[Finding]]:
    """Look at every picture, in ``workers`` threads; returns the looks, and what does not decode.

    ``advance`` is called from this thread with 1 for every picture done.
    """
    looks: dict[Path, Look] = {}
    findings: list[Finding] = []
    for sample, found in stream(lambda one: look(one.path), samples, workers=workers):
        if isinstance(found, UnreadablePicture):
            kind = "too_large" if isinstance(found, PictureTooLarge) else "unreadable"
            if isinstance(found, UnknownKind):
                kind = "not_an_image"
            findings.append(Finding(kind, relative(sample.path, root), str(found), suggestion="drop"))
        else:
            looks[sample.path] = found
        if advance is not None:
            advance(1)
    return looks, findings


def look(path: Path) -> Look:
    """Look at one picture; raises ``UnreadablePicture`` as ``decode`` does."""
    picture = decode(path, _surplus)
    format, mode, orientation, size = _header(path)
    if orientation >= 5:
        size = size[::-1]
    pixels = _figured(picture)
    alpha = "A" in mode or "a" in mode or mode == "P"
    low, high = np.percentile(pixels.min(2), 0.5), np.percentile(pixels.max(2), 99.5)
    spans = np.percentile(pixels, 99.9, axis=(0, 1)) - np.percentile(pixels, 0.1, axis=(0, 1))
    return Look(
        bytes=path.stat().st_size,
        format=f"{format} {mode}",
        width=size[0],
        height=size[1],
        orientation=orientation,
        transparent=alpha,
        brightest=float(high),
        darkest=float(low),
        range=float(spans.max()),
        sharpness=sharpness(pixels) if min(size) >= SMALL else None,
        border=_border(pixels),
    )


def _surplus(width: int, height: int) -> float:
    return min(width, height) / SIDE


def _header(path: Path) -> tuple[str, str, int, tuple[int, int]]:
    """Format, mode, EXIF orientation and size as the file has them."""
    with path.open("rb") as stream_, open_picture(stream_) as picture:
        try:
            orientation = picture.getexif().get(_ORIENTATION)
        except Exception:  # broken EXIF does not make a bad picture
            orientation = None
        turned = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
        return picture.format or "", picture.mode, turned, picture.size


def _figured(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Bring a picture to at most ``SIDE`` on its shorter side; uint8 H×W×3."""
    share = SIDE / min(picture.size)
    if share < 1:
        # A strip's longer side too: nothing of it is lost to the figures.
        size = (
            max(1, min(round(picture.width * share), 4 * SIDE)),
            max(1, min(round(picture.height * share), 4 * SIDE)),
        )
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture.convert("RGB"))


def sharpness(pixels: npt.NDArray[np.uint8]) -> float | None:
    """Say how sharp the sharpest edges are, whatever the picture's contrast: 1 is a step from one pixel to the next.

    Around every pixel the span of brightness within 3×3 pixels is put beside that within 9×9; the figure is their ratio
    (its 90th percentile) where the wider span is among the largest. A Gaussian blur of deviation 2 leaves about 0.4. A
    sharp subject before a blurred background counts as sharp, and so does noise. None where nothing has contrast.
    """
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if min(grey.shape) < 9:
        return None
    wide = _span(grey, 4)
    near = _span(grey, 1)[3:-3, 3:-3]
    bar = max(_EDGE, float(np.percentile(wide, 95)))
    there = wide >= bar
    if int(there.sum()) < 30:
        return None
    return float(np.percentile(near[there] / wide[there], 90))


def _span(grey: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """Greatest less least value within ``reach`` pixels of each pixel that is as far from the edges."""
    high = low = grey
    for axis in (0, 1):
        length = grey.shape[axis] - 2 * reach
        parts = [[slice(None), slice(None)] for _ in range(2 * reach + 1)]
        for start, part in enumerate(parts):
            part[axis] = slice(start, start + length)
        high = np.maximum.reduce([high[tuple(part)] for part in parts])
        low = np.minimum.reduce([low[tuple(part)] for part in parts])
    return high - low


def _border(pixels: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.float32)
    red, green, blue = (float(value) for value in frame.mean(0))
    deviation = float(frame.std(0).mean())
    return (red, green, blue, 0.0 if math.isnan(deviation) else deviation)
