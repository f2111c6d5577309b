"""Two models on the same pictures: by how much does the second differ, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.measure.average_precision import LEAST_PICTURES, interval_95, mean_of_known
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.metrics import Z_95, Evaluation, Interval, wilson_interval

Z_POWER = 0.8416212
"""The standard normal's 80 % point: what is there is found in 80 of 100 attempts."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A reference and a candidate, evaluated on the same pictures in the same order.

    Raises ``InputError`` where they are not.
    """

    reference: Evaluation
    candidate: Evaluation

    def __post_init__(self) -> None:
        one, other = self.reference, self.candidate
        if one.classes != other.classes or one.images != other.images or not np.array_equal(one.labels, other.labels):
            raise InputError("the two were not measured on the same pictures and classes")

    @cached_property
    def table(self) -> tuple[int, int, int, int]:
        """Pictures that both, only the reference, only the candidate and neither have right."""
        one, other = self.reference.ranks == 0, self.candidate.ranks == 0
        return (
            int((one & other).sum()),
            int((one & ~other).sum()),
            int((~one & other).sum()),
            int((~one & ~other).sum()),
        )

    @property
    def top1_change(self) -> float:
        """Top-1 of the candidate minus that of the reference, a fraction."""
        _, lost, gained, _ = self.table
        return (gained - lost) / sum(self.table)

    @property
    def top1_change_interval(self) -> Interval:
        """The 95 % interval of the change; see ``paired_interval``."""
        return paired_interval(*self.table)

    @cached_property
    def same(self) -> int:
        """On how many pictures both gave the same class, right or wrong."""
        return int((self.reference.predicted == self.candidate.predicted).sum())

    def worst_class(self) -> dict[str, Any] | None:
        """The class whose recall fell by most, with both recalls; None where none fell."""
        falls = []
        for name, before in self.reference.per_class.items():
            after = self.candidate.per_class[name]
            if before.recall is not None and after.recall is not None and after.recall < before.recall:
                falls.append((after.recall - before.recall, name, before.recall, after.recall, before.images))
        if not falls:
            return None
        change, name, was, now, images = min(falls)
        return {"class": name, "change": change, "reference": was, "exported": now, "images": images}

    @property
    def max_difference(self) -> float:
        """The largest difference of a probability, over all pictures and classes."""
        return float(np.abs(self.reference.probabilities - self.candidate.probabilities).max())


def said_of_pair(result: Mapping[str, Any]) -> str:
    """Say in words how far the answers of two models differ, from the keys of ``export --json``.

    Where nothing changed that is said, because an interval around 0 says little to most people.
    """
    images, same = result["images"], result["same_answers"]
    if same == images:
        return f"the same answer on {'the one picture' if images == 1 else f'all {images} pictures'}"
    if result["pictures_lost"] == result["pictures_gained"] == 0:
        return f"the same answer on {same} of {images} pictures, and the same ones right"
    low, high = result["top1_change_interval"]
    return f"{100 * result['top1_change']:+.2f} points   95 % interval {100 * low:+.2f} to {100 * high:+.2f}"


def most_different(images: int) -> float:
    """The share of all pictures that may at most be answered differently when none of ``images`` was (95 %)."""
    return float(1 - 0.05 ** (1 / images))


def paired_interval(both: int, lost: int, gained: int, neither: int) -> Interval:
    """The 95 % interval of the difference of two proportions seen on the same pictures, second minus first.

    Newcombe's square-and-add from two Wilson intervals with the correlation of the pairs (Newcombe 1998, Statistics in
    Medicine 17:2635, method 10): it holds for few pictures and where no answer changed.
    """
    n = both + lost + gained + neither
    if n == 0:
        raise InputError("there is no picture to compare on")
    first, second = (both + lost) / n, (both + gained) / n
    low1, high1 = wilson_interval(both + lost, n)
    low2, high2 = wilson_interval(both + gained, n)
    product = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    phi = 0.0
    if product:
        covariance = both * neither - lost * gained
        # Newcombe's continuity correction, for a positive correlation only.
        phi = (max(covariance - n / 2, 0) if covariance > 0 else covariance) / math.sqrt(product)
    down1, up1, down2, up2 = first - low1, high1 - first, second - low2, high2 - second
    change = second - first
    below = math.sqrt(max(down2**2 - 2 * phi * down2 * up1 + up1**2, 0))
    above = math.sqrt(max(up2**2 - 2 * phi * up2 * down1 + down1**2, 0))
    return max(-1.0, change - below), min(1.0, change + above)


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p-value of McNemar's exact test, from the pictures that only one of two models has right.

    If the two were equally good, each of these would be as likely to be right in the one as in the other (McNemar 1947;
    exact, by the binomial distribution).
    """
    number = lost + gained
    term = total = 1
    for k in range(min(lost, gained)):
        term = term * (number - k) // (k + 1)
        total += term
    return float(min(1.0, 2 * total / 2**number))


def pictures_needed(discordant: float, change: float) -> int | None:
    """How many pictures tell a difference in 80 of 100 attempts, at the 5 % level; None where there is no difference.

    ``discordant`` is the share of pictures that only one of the two has right, ``change`` the difference of their
    shares of right answers, both fractions (Connor 1987, Biometrics 43:207). The exact test needs a few more.
    """
    if not 0 < abs(change) <= discordant:
        return None
    spread = Z_95 * math.sqrt(discordant) + Z_POWER * math.sqrt(discordant - change * change)
    return math.ceil((spread / change) ** 2)


def smallest_difference(discordant: float, images: int) -> float | None:
    """The smallest difference that so many pictures tell in 80 of 100 attempts; None where they tell none.

    See ``pictures_needed``.
    """
    needed = pictures_needed(discordant, discordant)
    if needed is None or needed > images:
        return None
    low, high = 0.0, discordant
    for _ in range(50):
        middle = (low + high) / 2
        found = pictures_needed(discordant, middle)
        low, high = (low, middle) if found is not None and found <= images else (middle, high)
    return high


@dataclass(frozen=True, eq=False)
class DetectionPair:
    """A reference and a candidate, evaluated on the same pictures in the same order.

    Raises ``InputError`` where they are not.
    """

    reference: DetectionEvaluation
    candidate: DetectionEvaluation

    def __post_init__(self) -> None:
        one, other = self.reference, self.candidate
        same = one.classes == other.classes and one.images == other.images
        if not same or not np.array_equal(one.matches.truth_corners, other.matches.truth_corners):
            raise InputError("the two were not measured on the same pictures and classes")

    @property
    def ap_change(self) -> float:
        """AP of the candidate minus that of the reference, a fraction."""
        return self.candidate.ap - self.reference.ap

    @property
    def ap50_change(self) -> float:
        """AP50 of the candidate minus that of the reference, a fraction."""
        return self.candidate.ap50 - self.reference.ap50

    @cached_property
    def ap_change_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap_change``, both in the same resamples of the pictures."""
        return self._interval(self.ap_change, slice(None))

    @cached_property
    def ap50_change_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap50_change``, both in the same resamples of the pictures."""
        return self._interval(self.ap50_change, slice(1))

    def _interval(self, change: float, overlaps: slice) -> Interval | None:
        means = [
            mean_of_known(one.resampled[..., overlaps].reshape(len(one.resampled), -1))
            for one in (self.candidate, self.reference)
        ]
        differences = means[0] - means[1]
        if not differences.any():  # the same boxes, or none that count
            return (0.0, 0.0) if self.reference.pictures_with_boxes >= LEAST_PICTURES else None
        return interval_95(change, differences, self.reference.pictures_with_boxes)
