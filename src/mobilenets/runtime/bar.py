"""From which distance a picture counts as "none of these": the part of ``model.json`` that says so. NumPy only."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from mobilenets.errors import InputError

# The output of a graph that gives the distance, and the file with the arrays that it is made of.
DISTANCE = "distance"
SPACE = "distance.safetensors"

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bar:
    """Pictures whose distance is above ``bar`` are called "none of these".

    ``false_alarms`` is the share of pictures of the model's own classes that may be called so, as it was asked for.
    ``rate`` is the share that was, of ``pictures`` held out, with its 95 % ``interval``; ``cross_fitted``: each of them
    was judged by a bar that others gave. ``sha256`` is that of the file ``distance.safetensors`` beside the weights.
    """

    bar: float
    false_alarms: float
    rate: float
    interval: tuple[float, float]
    pictures: int
    cross_fitted: bool
    sha256: str

    def knows(self, distance: float) -> bool:
        """Say whether a picture at this distance is of one of the classes; what is no number is not."""
        return bool(distance <= self.bar)

    def to_json(self) -> dict[str, Any]:
        """Return what stands under ``none_of_these`` in ``model.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Bar:
        """Read what ``to_json`` wrote; raises ``InputError`` for anything else."""
        try:
            assert isinstance(value, dict)
            bar, asked, rate = (float(value[key]) for key in ("bar", "false_alarms", "rate"))
            low, high = map(float, value["interval"])
            assert all(map(math.isfinite, (bar, asked, rate, low, high))) and _HASH.fullmatch(value["sha256"])
            pictures, crossed = int(value["pictures"]), bool(value["cross_fitted"])
            return cls(bar, asked, rate, (low, high), pictures, crossed, value["sha256"])
        except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError("none_of_these is malformed") from error


def check_false_alarms(rate: float) -> float:
    """Return a share of false alarms; raises ``InputError`` for what is none."""
    if not 0 < rate < 1:
        raise InputError(f"false alarms {rate:g}: give a fraction between 0 and 1, such as 0.05")
    return rate
