"""How large the pictures of a folder are."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from statistics import median

from PIL import Image

from mobilenets.base import mounts
from mobilenets.datasets.folder import Sample
from mobilenets.errors import UnreadablePicture

OPENED = 24  # pictures


def typical_side(samples: Sequence[Sample]) -> int | None:
    """Return the median shorter side of some pictures, in pixels, from their headers; None where none can be read."""
    sides = []
    with warnings.catch_warnings():
        # A header says the size, however large the picture: nothing is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for sample in samples[:: max(1, len(samples) // OPENED)]:
            with (
                contextlib.suppress(OSError, ValueError, UnreadablePicture, Image.DecompressionBombError),
                mounts.open_file(sample.path) as file,
                Image.open(file) as one,
            ):
                sides.append(min(one.size))
    return int(median(sides)) if sides else None
