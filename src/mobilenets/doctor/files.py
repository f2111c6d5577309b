"""Every picture opened once: whether it decodes, and the few figures by which it, or its class, gives itself away.

By these it is judged whether it shows anything, alone and with what is usual in its set.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base import mounts
from mobilenets.base.text import percent
from mobilenets.datasets.folder import Sample, content_hash, relative
from mobilenets.doctor.hashes import Thumbnail, Thumbnails, thumbnail
from mobilenets.doctor.problems import KINDS, Finding
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, UnknownKind, decode
from mobilenets.pictures.header import header
from mobilenets.pictures.stream import checked, default_workers, stream

SIDE = 256  # pixels of the shorter side that figures are taken at: about what a network sees
AHEAD = 32  # pictures under way: a small one takes less time than a hand-over between threads
SMALL = 96  # pixels; of smaller pictures nobody can say whether they are blurred
_EDGE = 24  # of 255: less is no edge to judge by

BLANK = 8  # of 255: less span than this in every channel is one colour
DARK = 40  # of 255: nothing is brighter
WHITE = 215  # of 255: nothing is darker, in any channel
BLURRED = 0.48  # of the sharpest edges, see ``files.sharpness``: a Gaussian blur of some 2 pixels of 256
ODD = 4.0  # times as long as high
USUAL = 0.2  # of a set: what so many have in common is no fault


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
    brightest: int
    darkest: int
    range: int
    sharpness: float | None
    border: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of all pictures: those that decode, what is wrong with the others, and what to compare them by."""

    looks: Mapping[Path, Look]
    findings: list[Finding]
    small: Thumbnails


def look_at_all(
    samples: Sequence[Sample], root: Path, workers: int | None = None, advance: Callable[[int], None] | None = None
) -> Looks:
    """Look at every picture once, in ``workers`` threads; only a few decoded ones are held at a time.

    ``advance`` is called from this thread with 1 for every picture done. Raises InputError for a file that cannot be
    opened.
    """
    looks: dict[Path, Look] = {}
    findings: list[Finding] = []

    def each() -> Iterator[tuple[str, Thumbnail | None]]:
        ahead = AHEAD + (workers or default_workers())
        with closing(stream(lambda one: _seen(one.path), samples, workers=workers, ahead=ahead)) as made:
            for sample, (content, found, small) in zip(samples, checked(made), strict=True):
                if isinstance(found, Look):
                    looks[sample.path] = found
                else:
                    findings.append(Finding(_kind(found), relative(sample.path, root), str(found), suggestion="drop"))
                if advance is not None:
                    advance(1)
                yield content, small

    mounts.expect([sample.path for sample in samples])
    small = Thumbnails.of(each(), len(samples))
    return Looks(looks, findings, small)


def _seen(path: Path) -> tuple[str, Look | UnreadablePicture, Thumbnail | None]:
    """The hash of a file, how its picture looks or why it has none, and its thumbnail."""
    content = content_hash(path).hex()
    try:
        picture = decode(path, lambda width, height: min(width, height) / SIDE)
        return content, look(path, picture), thumbnail(picture)
    except UnreadablePicture as error:
        return content, error, None


def _kind(error: UnreadablePicture) -> str:
    if isinstance(error, PictureTooLarge):
        return "too_large"
    return "not_an_image" if isinstance(error, UnknownKind) else "unreadable"


def look(path: Path, picture: Image.Image) -> Look:
    """Look at one file and the picture that it decodes to."""
    head = header(path)
    pixels = _figured(picture)
    alpha = "A" in head.mode or "a" in head.mode or head.mode == "P"
    channels = [pixels[..., channel] for channel in range(3)]
    span = max(_percentile(one, 0.999) - _percentile(one, 0.001) for one in channels)
    return Look(
        bytes=mounts.file_size(path),
        format=f"{head.format} {head.mode}",
        width=head.upright[0],
        height=head.upright[1],
        orientation=head.orientation,
        transparent=alpha,
        brightest=_percentile(np.maximum.reduce(channels), 0.995),
        darkest=_percentile(np.minimum.reduce(channels), 0.005),
        range=span,
        sharpness=sharpness(pixels) if min(head.size) >= SMALL else None,
        border=_border(pixels),
    )


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

    Of each 9×9 pixels the widest span of brightness within 3×3 is put beside the span of all; the figure is their ratio
    (its 90th percentile) where the wide span is among the largest. A Gaussian blur of deviation 2 leaves 0.4 to 0.5. A
    sharp subject before a blurred background counts as sharp, and so does noise. None where there is no contrast.
    """
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if min(grey.shape) < 9:
        return None
    wide = _span(grey, 4)
    near = _extreme(_span(grey, 1), 3, np.maximum)
    bar = max(_EDGE, float(np.percentile(wide, 95)))
    there = wide >= bar
    if int(there.sum()) < 30:
        return None
    return float(np.percentile(near[there] / wide[there], 90))


def _span(grey: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """Greatest less least value within ``reach`` pixels of each pixel that is as far from the edges."""
    return _extreme(grey, reach, np.maximum) - _extreme(grey, reach, np.minimum)


def _extreme(grey: npt.NDArray[np.float32], reach: int, take: np.ufunc) -> npt.NDArray[np.float32]:
    """Greatest, or least, value within ``reach`` pixels of each pixel that is as far from the edges."""
    for axis in (0, 1):
        length = grey.shape[axis] - 2 * reach
        parts = [slice(start, start + length) for start in range(2 * reach + 1)]
        grey = take.reduce([grey[part] if axis == 0 else grey[:, part] for part in parts])
    return grey


def _percentile(pixels: npt.NDArray[np.uint8], share: float) -> int:
    """Give the value that ``share`` of the pixels do not exceed; by counting, many times faster than by sorting."""
    counts = np.bincount(pixels.ravel(), minlength=256).cumsum()
    return int(np.searchsorted(counts, share * counts[-1]))


def _border(pixels: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.float32)
    red, green, blue = (float(value) for value in frame.mean(0))
    deviation = float(frame.std(0).mean())
    return (red, green, blue, 0.0 if math.isnan(deviation) else deviation)


def judge(looks: Mapping[Path, Look], root: Path) -> tuple[list[Finding], list[str]]:
    """Find blank, dark, overexposed, blurred, odd and tiny pictures, and such as EXIF turns upright.

    The bars are set so that a set that is meant so passes: white digits on black, icons on white, X-rays. What a fifth
    of a set has in common is taken for its nature. Returns the findings, and notes on what that is.
    """
    found: dict[str, list[Finding]] = {}
    typical = statistics.median(min(look.width, look.height) for look in looks.values()) if looks else 0
    for path, look in looks.items():
        for kind, detail in _said(look, typical):
            found.setdefault(kind, []).append(Finding(kind, relative(path, root), detail))
    findings, notes = [], []
    for kind, some in found.items():
        if kind in ("blank", "orientation") or len(some) <= max(1.0, USUAL * len(looks)):
            findings += some
        else:
            share = f"{len(some)} of {len(looks)} {KINDS[kind].many}"
            notes.append(f"{share}: taken as the nature of this set, and not listed")
    return findings, notes


def _said(look: Look, typical: float) -> list[tuple[str, str]]:
    """The kinds that a picture belongs to, with what is seen; of blank, dark and white only the first that fits."""
    said = []
    if look.range < BLANK:
        through = ": what it shows is perhaps in its transparency" if look.transparent else ""
        said.append(("blank", f"one colour all over{through}"))
    elif look.brightest < DARK:
        said.append(("dark", f"nothing in it is brighter than {percent(look.brightest / 255, 0)} of white"))
    elif look.darkest > WHITE:
        said.append(("overexposed", f"nothing in it is darker than {percent(look.darkest / 255, 0)} of white"))
    elif look.sharpness is not None and look.sharpness < BLURRED:
        said.append(
            ("blurred", f"its sharpest edges are {1 / max(look.sharpness, 0.01):.0f} times as wide as sharp ones")
        )
    long, short = max(look.width, look.height), max(1, min(look.width, look.height))
    if long >= ODD * short:
        said.append(
            ("odd_aspect", f"{look.width}×{look.height} pixels: a square crop shows 1/{long / short:.0f} of it")
        )
    if short < 32 and short * 8 <= typical:
        said.append(("tiny_picture", f"{look.width}×{look.height} pixels, where {typical:.0f} are usual"))
    if look.orientation != 1:
        said.append(("orientation", f"EXIF orientation {look.orientation}"))
    return said
