"""Points of accuracy against time, the front of them, and which is taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mobilenets.measure.metrics import Interval, wilson_interval
from mobilenets.measure.paired import paired_interval
from mobilenets.shrinking.candidates import FLOAT, Candidate
from mobilenets.shrinking.limit import Limit


@dataclass(frozen=True)
class Point:
    """A candidate that was measured, in a precision.

    ``choosing`` and ``reporting`` say for each picture of the two halves whether it was right, as 0 and 1; by the first
    is chosen, and the figures are those of the second. ``epochs`` are all that its weights were trained, those of the
    run that it comes from among them. ``ms`` is on the device where one was given, else here; ``estimated``: it was not
    timed itself. ``folder`` holds the model, by its name among the candidates.
    """

    candidate: Candidate
    precision: str
    rung: int
    epochs: int
    ms: float
    estimated: bool
    bytes: int
    macs: int
    choosing: str
    reporting: str
    seconds: float
    folder: str

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return self.candidate.name + ("" if self.precision == FLOAT else f"-{self.precision}")

    @property
    def top1(self) -> float:
        """The share of right answers on pictures that nothing was chosen on."""
        return share(self.reporting)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of ``top1``."""
        return wilson_interval(self.reporting.count("1"), len(self.reporting))

    def fits(self, limit: Limit | None) -> bool:
        """Say whether it is within the limit."""
        return limit is None or getattr(self, limit.what) <= limit.most

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self) | {"candidate": self.candidate.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Point:
        """Read it; raises ``TypeError`` or ``KeyError`` for what is none."""
        return cls(**(value | {"candidate": Candidate(**value["candidate"])}))

    def summary(self) -> dict[str, Any]:
        """Give it as a row of the result: the figures, without the answers."""
        row = self.to_json() | {"name": self.name, "top1": self.top1, "top1_interval": list(self.interval)}
        return {name: value for name, value in row.items() if name not in ("choosing", "reporting")}


def share(right: str) -> float:
    """Give the share of right answers.

    >>> share("0110")
    0.5
    """
    return right.count("1") / max(1, len(right))


def latest(points: Iterable[Point]) -> list[Point]:
    """Keep the last of each name: a candidate as it was trained longest."""
    return list({point.name: point for point in points}.values())


def front(points: Sequence[Point]) -> list[Point]:
    """Give those that no other beats in both accuracy and time (Pareto), the fastest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.ms, -one.top1)):
        if not found or point.top1 > found[-1].top1:
            found.append(point)
    return found


def survivors(points: Sequence[Point], most: int, *, limited: bool) -> list[Point]:
    """Choose who is trained longer: within a limit the most accurate; else those of the front, then of what is left."""
    if limited:
        return sorted(points, key=lambda one: (-share(one.choosing), one.ms))[:most]
    left, found = list(points), list[Point]()
    while left and len(found) < most:
        ahead = front([replace(point, reporting=point.choosing) for point in left])
        names = [point.name for point in sorted(ahead, key=lambda one: -one.top1)]
        found += [next(point for point in left if point.name == name) for name in names]
        left = [point for point in left if point.name not in names]
    return found[:most]


def best(points: Sequence[Point], limit: Limit | None) -> Point | None:
    """Choose one: the most accurate within the limit, by the pictures to choose on; None where none fits.

    Without a limit it is the fastest that is less than a standard error below the most accurate (the rule of Breiman et
    al. 1984, for trees).
    """
    fitting = [point for point in points if point.fits(limit)]
    if not fitting:
        return None
    most = max(share(point.choosing) for point in fitting)
    images = max(1, len(fitting[0].choosing))
    slack = 0.0 if limit is not None else math.sqrt(most * (1 - most) / images)
    good = [point for point in fitting if share(point.choosing) >= most - slack]
    return min(good, key=lambda one: one.ms)


def compared(first: Point, second: Point) -> dict[str, Any]:
    """Say by how much the second is more accurate, on the same pictures, with the 95 % interval for pairs."""
    pairs = list(zip(first.reporting, second.reporting, strict=True))
    table = tuple(pairs.count(kind) for kind in (("1", "1"), ("1", "0"), ("0", "1"), ("0", "0")))
    interval = paired_interval(*table)
    change = (table[2] - table[1]) / sum(table)
    return {"first": first.name, "second": second.name, "change": change, "change_interval": list(interval)}
