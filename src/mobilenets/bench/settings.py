"""Settings of a measurement, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mobilenets.errors import InputError

MAX_THREADS = 1024


def check_numbers(what: str, numbers: Sequence[int], most: int = MAX_THREADS) -> list[int]:
    """Return the numbers sorted, each once; raises ``InputError`` for none, or one that is not from 1 to ``most``."""
    for number in numbers:
        if not 1 <= number <= most:
            raise InputError(f"{what} {number}: give a number from 1 to {most}")
    if not numbers:
        raise InputError(f"no {what}: give a number from 1 to {most}")
    return sorted(set(numbers))


def check_seconds(seconds: float) -> None:
    """Raise ``InputError`` for a time that is not a number above 0."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds {seconds:g}: give a number above 0")
