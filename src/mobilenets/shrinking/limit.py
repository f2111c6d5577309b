"""``--within 15ms``, ``2MB`` or ``60MMACs``: what a model may take at most."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mobilenets.errors import InputError

# What is limited, by unit, and how much of it the unit is.
UNITS = {
    "ms": ("ms", 1.0),
    "s": ("ms", 1e3),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "mmacs": ("macs", 1e6),
    "gmacs": ("macs", 1e9),
}


@dataclass(frozen=True)
class Limit:
    """At most ``most`` of ``what``: ``ms`` (milliseconds a picture), ``bytes`` of the file, or ``macs`` a picture."""

    what: str
    most: float
    words: str


def parse_limit(text: str) -> Limit:
    """Read a limit; raises ``InputError`` for what is none.

    >>> parse_limit("2 MB")
    Limit(what='bytes', most=2000000.0, words='2 MB')
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]+)\s*", text, re.IGNORECASE)
    word = found[2].lower() if found else ""
    unit = UNITS.get(f"{word}s" if word.endswith("mac") else word)
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    if unit is None or not (math.isfinite(value) and value > 0):
        raise InputError(f"within {text!r}: give a time, a size or a count such as 15ms, 2MB or 60MMACs")
    return Limit(unit[0], value * unit[1], text.strip())
