"""Which pictures decode: every file opened once before training, so that none stops it later. And their usual size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeAlias

from PIL import Image

from mobilenets.base import mounts
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import Problem
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, decode
from mobilenets.pictures.header import header
from mobilenets.pictures.stream import stream

Look: TypeAlias = Callable[[Sample, Image.Image], None]
SEEN = 64
FEW = 8  # pictures that a thread tries at a time

OPENED = 24  # pictures


def check_readable(
    samples: Sequence[Sample],
    workers: int | None = None,
    advance: Callable[[int], None] | None = None,
    look: Look | None = None,
) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
    """Decode every picture once, in ``workers`` threads.

    Returns the samples that decode, in their order, and a Problem (``unreadable`` or ``too_large``) for each
    that does not. ``advance`` is called from this thread with 1 for every picture done, ``look`` from any thread with
    every sample that decodes and its picture, no smaller than 64 pixels each way unless it is.
    """
    good: list[Sample] = []
    problems: list[Problem] = []

    def make(sample: Sample) -> None:
        # Where nobody looks, all of the file is read all the same, and refused alike.
        image = decode(sample.path, lambda width, height: math.inf if look is None else min(width, height) / SEEN)
        if look is not None:
            look(sample, image)

    mounts.expect([sample.path for sample in samples])
    for sample, error in stream(make, samples, workers=workers, together=FEW):
        if isinstance(error, UnreadablePicture):
            kind = "too_large" if isinstance(error, PictureTooLarge) else "unreadable"
            problems.append(Problem(kind, str(sample.path), str(error)))
        else:
            good.append(sample)
        if advance is not None:
            advance(1)
    return tuple(good), tuple(problems)


def typical_side(samples: Sequence[Sample]) -> int | None:
    """Return the median shorter side of some pictures, in pixels, from their headers; None where none can be read."""
    sides = []
    for sample in samples[:: max(1, len(samples) // OPENED)]:
        with contextlib.suppress(UnreadablePicture):
            sides.append(min(header(sample.path).size))
    return int(median(sides)) if sides else None
