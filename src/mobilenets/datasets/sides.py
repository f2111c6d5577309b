"""How large the pictures of a folder are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from statistics import median

from mobilenets.datasets.folder import Sample
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.header import header

OPENED = 24  # pictures


def typical_side(samples: Sequence[Sample]) -> int | None:
    """Return the median shorter side of some pictures, in pixels, from their headers; None where none can be read."""
    sides = []
    for sample in samples[:: max(1, len(samples) // OPENED)]:
        with contextlib.suppress(UnreadablePicture):
            sides.append(min(header(sample.path).size))
    return int(median(sides)) if sides else None
