"""The plan of an epoch over shards, in a few numbers a shard: a permutation of 10⁹ samples fits in no process.

Shards come in a drawn order, one after the other, and within each stretch of ``buffer`` samples the order is drawn
again. So a reader holds one stretch at a time and reads forward, and any step is known without those before it. What
mixes is what lies in a stretch: shards should be packed in a drawn order. Both ideas are those of MosaicML Streaming:
its shuffle by blocks (``py1b``), and its canonical nodes, here lanes, which no number of processes changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EpochPlan(Sequence[list[int]]):
    """The batches of one epoch, as ``datasets.loader.shuffled`` plans them, each made when it is asked for.

    ``plan[step]`` lists the numbers of samples, counted through the shards in their own order. Every sample comes once.
    The plan depends on what is given here alone, never on how many processes share it or where one begins.

    Parameters
    ----------
    counts:
        How many samples each shard has.
    batch:
        Samples in a batch, of all processes together. Batches differ by ``lanes`` at most; the last may lack
        ``lanes - 1`` more.
    seed, epoch:
        What the order is drawn from.
    buffer:
        Samples in a stretch: what a reader holds of each lane. One as large as the set gives a full shuffle.
    lanes:
        Into how many parts the drawn order is cut; each batch takes as many samples from each. Processes whose number
        divides that of the lanes read different shards; with one lane all of them read all. It must divide ``batch``.

    Raises ``InputError`` for numbers that cannot be.

    >>> plan = EpochPlan([3, 2, 4], batch=4, seed=0, epoch=0, buffer=5)
    >>> len(plan), sorted(number for step in plan for number in step)
    (3, [0, 1, 2, 3, 4, 5, 6, 7, 8])

    """

    counts: Sequence[int] | Numbers = field(repr=False)
    batch: int
    seed: int
    epoch: int
    buffer: int = 4096
    lanes: int = 1
    # The last two stretches of a lane, by the lane and whether their number is odd.
    _drawn: dict[tuple[int, int], tuple[int, Numbers]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.batch, self.buffer, self.lanes) < 1 or self.batch % self.lanes:
            raise InputError(
                f"batch {self.batch}, buffer {self.buffer}, lanes {self.lanes}: "
                "give numbers from 1, and a number of lanes that divides the batch"
            )
        if np.min(self.counts, initial=0) < 0:
            raise InputError("a shard of less than no samples: pack the shards again")

    def __len__(self) -> int:
        """Count the steps."""
        return -(-self.samples // self.batch)

    @overload
    def __getitem__(self, step: int) -> list[int]: ...
    @overload
    def __getitem__(self, step: slice) -> Sequence[list[int]]: ...
    def __getitem__(self, step: int | slice) -> list[int] | Sequence[list[int]]:
        """Return the samples of a step, those of lane 0 first; of several steps, what makes them later."""
        if isinstance(step, slice):
            return _Steps(self, range(len(self))[step])
        numbers: list[int] = self.part(step).tolist()
        return numbers

    @cached_property
    def samples(self) -> int:
        """How many samples there are."""
        return int(np.sum(self.counts, dtype=np.int64))

    def row(self, step: int) -> int:
        """Return with which row a step begins: a row is one sample of each lane."""
        return step * -(-self.samples // self.lanes) // max(1, len(self))

    def part(self, step: int, rank: int = 0, ranks: int = 1) -> Numbers:
        """Return the samples of a step that process ``rank`` of ``ranks`` takes: an array of int64.

        The parts of all ranks, one behind the other, are the whole; they differ by one sample at most, the first are
        the larger ones. Raises ``IndexError`` for a step that is not there.
        """
        if not -len(self) <= step < len(self):
            raise IndexError(f"step {step} of {len(self)}")
        step %= len(self)
        first, last = self.row(step), self.row(step + 1)
        heights = np.clip(self._sizes - first, 0, last - first)
        ends = np.cumsum(heights)
        small, larger = divmod(int(ends[-1]), ranks)
        begin, end = (one * small + min(one, larger) for one in (rank, rank + 1))
        if begin == end:
            return np.empty(0, np.int64)
        parts = []
        lowest, highest = np.searchsorted(ends, (begin, end - 1), "right").tolist()
        for lane in range(lowest, highest + 1):
            top = int(ends[lane] - heights[lane])
            parts.append(self.rows(lane, first + max(begin - top, 0), first + min(end, int(ends[lane])) - top))
        return np.concatenate(parts)

    def rows(self, lane: int, first: int, last: int) -> Numbers:
        """Return the samples of a lane from row ``first`` to before ``last``."""
        last = min(last, int(self._sizes[lane]))
        parts = [np.empty(0, np.int64)]
        for stretch in range(first // self.buffer, -(-last // self.buffer)):
            start = stretch * self.buffer
            parts.append(self._stretch(lane, stretch)[max(0, first - start) : last - start])
        places: Numbers = np.concatenate(parts)
        if not len(places):
            return places
        # Those few among which they lie: the search in all shards takes several times as long.
        lowest, highest = np.searchsorted(self._ends, (places.min(), places.max()), "right")
        drawn = lowest + np.searchsorted(self._ends[lowest : highest + 1], places, "right")
        numbers: Numbers = self._numbers[drawn] + places
        return numbers

    @cached_property
    def _order(self) -> Numbers:
        rng = np.random.default_rng((self.seed, 0, self.epoch))
        return rng.permutation(len(self.counts)).astype(np.int64)

    @cached_property
    def _ends(self) -> Numbers:
        """Where each shard ends in the drawn order."""
        return np.cumsum(np.asarray(self.counts, np.int64)[self._order])

    @cached_property
    def _numbers(self) -> Numbers:
        """What is to be added to a place in the drawn order, by drawn shard, for the number of its sample."""
        counts = np.asarray(self.counts, np.int64)
        return (np.cumsum(counts) - counts)[self._order] - (self._ends - counts[self._order])

    @cached_property
    def _sizes(self) -> Numbers:
        """How many samples each lane has."""
        whole, rest = divmod(self.samples, self.lanes)
        return whole + (np.arange(self.lanes, dtype=np.int64) < rest)

    def _bounds(self, lane: int, stretch: int) -> tuple[int, int]:
        """Return from which place of the drawn order to before which a stretch goes."""
        whole, rest = divmod(self.samples, self.lanes)
        first = lane * whole + min(lane, rest)
        end = first + int(self._sizes[lane])
        return min(end, first + stretch * self.buffer), min(end, first + (stretch + 1) * self.buffer)

    def _stretch(self, lane: int, stretch: int) -> Numbers:
        """Return the places in the drawn order of a stretch's rows."""
        number, drawn = self._drawn.get((lane, stretch % 2), (-1, np.empty(0, np.int64)))
        if number != stretch:
            rng = np.random.default_rng((self.seed, 6, self.epoch, lane, stretch))
            begin, end = self._bounds(lane, stretch)
            drawn = begin + rng.permutation(end - begin).astype(np.int64)
            self._drawn[lane, stretch % 2] = stretch, drawn
        return drawn


@dataclass(frozen=True, eq=False)
class _Steps(Sequence[list[int]]):
    """Some steps of a plan."""

    plan: EpochPlan
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, step: int) -> list[int]: ...
    @overload
    def __getitem__(self, step: slice) -> Sequence[list[int]]: ...
    def __getitem__(self, step: int | slice) -> list[int] | Sequence[list[int]]:
        if isinstance(step, slice):
            return _Steps(self.plan, self.steps[step])
        return self.plan[self.steps[step]]
