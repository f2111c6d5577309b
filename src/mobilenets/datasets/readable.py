"""Which pictures decode: every file opened once before training, so that none stops it later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import Problem
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, decode
from mobilenets.pictures.stream import stream


def check_readable(
    samples: Sequence[Sample], workers: int | None = None, advance: Callable[[int], None] | None = None
) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
    """Decode every picture once, in ``workers`` threads.

    Returns the samples that decode, in their order, and a Problem (``unreadable`` or ``too_large``) for each
    that does not. ``advance`` is called from this thread with 1 for every picture done.
    """
    good: list[Sample] = []
    problems: list[Problem] = []
    for sample, error in stream(_decode, samples, workers=workers):
        if isinstance(error, UnreadablePicture):
            kind = "too_large" if isinstance(error, PictureTooLarge) else "unreadable"
            problems.append(Problem(kind, str(sample.path), str(error)))
        else:
            good.append(sample)
        if advance is not None:
            advance(1)
    return tuple(good), tuple(problems)


def _decode(sample: Sample) -> None:
    decode(sample.path, _as_small_as_can_be)


def _as_small_as_can_be(width: int, height: int) -> float:
    return math.inf  # all of the file is read all the same, and refused alike
