"""Which epoch's model is kept, and what to expect of it: functions of the history alone, so that resuming is exact.

The best of many epochs on few pictures is partly luck. In simulated runs with 17 validation pictures and 30 epochs the
best top-1 was 10 to 12 points above the true one, that of the epoch with the lowest running mean of the loss 2, and the
mean over the epochs around it within 1 (``tests/training/test_keep.py`` has the simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mobilenets.measure.metric import Metric

# With so many validation pictures a single epoch's metric is steady enough to choose by.
MANY_PICTURES = 500
# The most epochs whose mean is compared, and the most that count as around the kept one, on either side.
SMOOTHED = 5
AROUND = 5
# The share of a blind guess's loss from which on a loss is no better.
HARDLY = 0.95

History = Sequence[dict[str, float]]


def best_epoch(
    history: History, metric: Metric, pictures: int, before: float | None = None, blind: float = math.inf
) -> int:
    """Return the number of the epoch to keep, counted from 1; 0 is the model that training started from.

    From ``MANY_PICTURES`` validation pictures it is the epoch with the best ``metric``, of equals the one with the
    lower loss; with fewer, the one up to which the loss of the last ``SMOOTHED`` epochs was lowest on average, or the
    metric best where the loss does not decide. With ``before``, the metric of the model that training started from, no
    epoch is kept that does worse than that. Losses that are hardly below ``blind``, or above it, count as equal: the
    network is surer than it is right, and the loss says no more of how often that is.
    """
    best, highest = 0, _start(metric, pictures, before)
    for number in range(1, len(history) + 1):
        score = _score(history[:number], metric, pictures, before, HARDLY * blind)
        if score > highest:
            best, highest = number, score
    return best


def _start(metric: Metric, pictures: int, before: float | None) -> list[float]:
    # Shorter than the score of an epoch as good, and so below it.
    by_metric = pictures >= MANY_PICTURES or not metric.loss_decides
    return [] if before is None else [metric.merit(before)] if by_metric else [1.0]


def _score(history: History, metric: Metric, pictures: int, before: float | None, most: float) -> list[float]:
    if pictures >= MANY_PICTURES:
        return [_merit(history[-1], metric), -history[-1]["validation_loss"]]
    recent = history[-max(1, min(SMOOTHED, len(history) // 3)) :]
    merit, loss = fmean(_merit(row, metric) for row in recent), fmean(row["validation_loss"] for row in recent)
    if not metric.loss_decides:
        return [merit, -loss]
    return [float(before is None or merit >= metric.merit(before)), -min(loss, most), merit if loss > most else 0.0]


def _merit(row: dict[str, float], metric: Metric) -> float:
    return metric.merit(row[f"validation_{metric.name}"])


@dataclass(frozen=True)
class Around:
    """The mean ``value`` of a metric over the epochs from ``first`` to ``last`` without the kept one between them."""

    value: float
    first: int
    last: int


def around(history: History, metric: Metric, kept: int) -> Around | None:
    """Measure the epochs around the kept one, which were not chosen; None where there is no other, or 0 is kept."""
    # In a short run, what lies five epochs back was still learning.
    reach = max(1, min(AROUND, len(history) // 6))
    near = [row for row in history if 0 < abs(row["epoch"] - kept) <= reach]
    if kept == 0 or not near:
        return None
    numbers = [int(row["epoch"]) for row in near] + [kept]
    return Around(fmean(row[f"validation_{metric.name}"] for row in near), min(numbers), max(numbers))
