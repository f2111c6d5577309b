"""Successive halving: many candidates for a short time, the better third of them for longer (arXiv 1502.07943)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

THIRD = 3
# A rung of so few is the last.
FEW = 2
# Of the time that is left, what is kept for int8, the export and the drawing: a share, and at least so many seconds.
ENDING, ENDING_SECONDS = 0.15, 20.0
# Of a rung's time, what is planned with.
PLANNED = 0.85


@dataclass(frozen=True)
class Budget:
    """The time that there is: ``seconds`` from ``began`` on, by ``clock``; None: as long as it takes."""

    seconds: float | None
    began: float
    clock: Callable[[], float]

    def left(self) -> float:
        """Give the seconds that are left, perhaps infinitely many."""
        return math.inf if self.seconds is None else self.began + self.seconds - self.clock()

    def spent(self) -> float:
        """Give the seconds that went by."""
        return self.clock() - self.began

    def ending(self) -> float:
        """Give the seconds that the end is to have."""
        return 0.0 if self.seconds is None else max(ENDING * self.seconds, min(ENDING_SECONDS, self.seconds / 3))

    def training(self) -> float:
        """Give the seconds that are left for training."""
        return max(0.0, self.left() - self.ending())


@dataclass(frozen=True)
class Pace:
    """What training takes here: seconds a multiply-accumulate and picture, and of every training besides."""

    work: float
    besides: float

    def epoch(self, macs: int, pictures: int) -> float:
        """Give the seconds of an epoch."""
        return self.work * macs * pictures


def rungs(count: int) -> list[int]:
    """Give how many are trained in each rung.

    >>> rungs(12)
    [12, 4, 2]
    """
    found = [count]
    while found[-1] > FEW:
        found.append(max(FEW, math.ceil(found[-1] / THIRD)))
    return found


def epochs_of(whole: int, number: int) -> list[int]:
    """Divide the epochs of a whole training over so many rungs, each three times as long as all before it so far.

    >>> epochs_of(18, 3)
    [2, 4, 12]
    """
    ends = [max(rung + 1, round(whole / THIRD ** (number - 1 - rung))) for rung in range(number)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def fitting(seconds: float, pace: Pace, macs: Sequence[int], pictures: int, most: int) -> tuple[int, int]:
    """Plan a rung: how many of the candidates, in order, and for how many epochs, up to ``most``.

    Those at the end fall away until at least one epoch of the others fits; the first is trained in any case.
    """
    for count in range(len(macs), 1, -1):
        room = PLANNED * seconds - count * pace.besides
        an_epoch = sum(pace.epoch(one, pictures) for one in macs[:count])
        if room >= an_epoch:
            return count, min(most, int(room / an_epoch))
    room = PLANNED * seconds - pace.besides
    return min(1, len(macs)), max(1, min(most, int(room / max(pace.epoch(macs[0], pictures), 1e-9)))) if macs else 0
