"""Whether boxes have to do with what is in the pictures, without training a detector.

Two exchangeability tests on features of the regions in boxes. Each box is compared with boxes of other pictures laid on
the same picture: were the boxes dealt out to the wrong pictures, nothing could tell the ones from the others, wherever
boxes lie as a rule. And the class of a box is told from the boxes of other pictures: were the classes shuffled, that
would succeed as often as with classes shuffled on purpose (a permutation test: Ojala and Garriga 2010, "Permutation
tests for studying classifier performance", JMLR 11, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.pictures.boxes import Boxes, overlaps

Floats = npt.NDArray[np.float64]

FOLDS = 5
RIDGE = 0.1  # of the features' mean square
PERMUTATIONS = 200
# Boxes are dealt out among so many pictures; others that overlap a picture's own ones by more say nothing.
GROUP, APART = 6, 0.3
MOST_BOXES = 8  # of a picture
# An AUC that right boxes reach by features of a trained network, and of one with random weights: 0.5 is chance. Below
# it by two deviations, they are called wrong. Right boxes of stamps on photographs had 0.94, of drawn shapes
# by random weights 0.83; shuffled ones 0.46 to 0.53.
TOLD, TOLD_UNTRAINED, MOST_CHANCE = 0.65, 0.58, 0.01
# Fewer boxes say nothing of the classes. By random weights 20 kinds of stamps were told as seldom as shuffled
# ones, from 11 boxes of each.
LEAST_BOXES, LEAST_OF_CLASS, LEAST_UNTRAINED = 60, 3, 50


@dataclass(frozen=True)
class Agreement:
    """What the tests found; None where there was too little to say.

    ``auc`` is how often a box looks more like a box than one of another picture does, laid on the same picture, with
    ``error``, the deviation of that by chance. ``accuracy`` is how often the class of one of ``boxes`` was told from
    other pictures, ``chance`` how often with shuffled classes, and ``probability`` that shuffled ones do as well.
    """

    pictures: int
    boxes: int
    trained: bool = True
    auc: float | None = None
    error: float | None = None
    accuracy: float | None = None
    chance: float | None = None
    probability: float | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the boxes, in sentences."""
        found, told = [], TOLD if self.trained else TOLD_UNTRAINED
        if self.auc is not None and self.error is not None and self.auc + 2 * self.error < told:
            found.append(
                f"the boxes have little to do with the pictures: of a picture's own box and a box of another picture, "
                f"what is inside tells which is its own in {100 * self.auc:.0f} % of cases, where 50 % is chance "
                f"({self.pictures} pictures). Are the annotations assigned to the wrong pictures, or in another order "
                "of coordinates?"
            )
        if self.probability is not None and self.accuracy is not None and self.probability > MOST_CHANCE:
            found.append(
                f"the classes have little to do with what is in the boxes: from other pictures the class is told in "
                f"{100 * self.accuracy:.0f} % of {self.boxes} boxes, and with shuffled classes in "
                f"{100 * (self.chance or 0):.0f} %. Are the class numbers shifted or shuffled?"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return vars(self) | {"faults": list(self.faults)}


def agreement(
    maps: Sequence[npt.NDArray[Any]], boxes: Sequence[Boxes], seed: int = 0, trained: bool = True
) -> Agreement:
    """Test the boxes of pictures by ``maps``, float H×W×C of each: features, colours, whatever varies with the place.

    ``boxes`` are in shares of the side. ``trained``: the features are of a network that has learned to see.
    """
    rng = np.random.default_rng((seed, 11))
    own = [one.taken(np.flatnonzero(~one.ignored)) for one in boxes]
    own = [one.taken(rng.permutation(len(one))[:MOST_BOXES]) for one in own]
    there = [place for place, one in enumerate(own) if len(one)]
    if not there:
        return Agreement(0, 0, trained)
    auc, error = _told_apart([maps[place] for place in there], [own[place].corners for place in there], rng)
    features = np.concatenate([regions(maps[place], own[place].corners) for place in there])
    of = np.repeat(np.arange(len(there)), [len(own[place]) for place in there])
    labels = np.concatenate([own[place].labels for place in there])
    told: tuple[float | None, float | None, float | None] = (None, None, None)
    if trained or len(labels) >= LEAST_UNTRAINED * len(np.unique(labels)):
        told = _classes_told(features, of, labels, rng)
    return Agreement(len(there), len(labels), trained, auc, error, *told)


def regions(map_: npt.NDArray[Any], corners: npt.NDArray[Any]) -> Floats:
    """Describe regions of a map H×W×C, corners N×4 in shares of the side: N×4C.

    Each has its mean and deviation, and how both differ from a frame around it that is half as wide on each side.
    """
    height, width = map_.shape[:2]
    values = map_.astype(np.float64)
    sums = np.zeros((2, height + 1, width + 1, map_.shape[2]))
    sums[:, 1:, 1:] = np.stack([values, values**2]).cumsum(1).cumsum(2)
    inside = _cells(corners, height, width)
    half = (corners[:, 2:] - corners[:, :2]) / 2
    around = _cells(np.concatenate([corners[:, :2] - half, corners[:, 2:] + half], axis=1), height, width)
    totals, counts = zip(*(_sum(sums, cells) for cells in (inside, around)), strict=True)
    ring, left = totals[1] - totals[0], np.maximum(counts[1] - counts[0], 1e-9)
    ring = np.where((counts[1] - counts[0])[None] > 0.5, ring / left, totals[0] / counts[0])
    found = totals[0] / counts[0]
    parts = []
    for mean, square in (found, ring):
        parts.append((mean, np.sqrt(np.maximum(square - mean**2, 0))))
    (mean, spread), (beyond, spread_beyond) = parts
    return np.concatenate([mean, spread, mean - beyond, spread - spread_beyond], axis=1)


def _cells(corners: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.int64]:
    """Give the cells of boxes as half-open ranges N×4, at least one cell each."""
    sides = np.array([width, height])
    low = np.clip(np.rint(corners[:, :2] * sides), 0, sides - 1).astype(np.int64)
    high = np.clip(np.rint(corners[:, 2:] * sides), low + 1, sides).astype(np.int64)
    return np.concatenate([low, high], axis=1)


def _sum(sums: Floats, cells: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    x0, y0, x1, y1 = cells.T
    total = sums[:, y1, x1] - sums[:, y0, x1] - sums[:, y1, x0] + sums[:, y0, x0]
    return total, ((x1 - x0) * (y1 - y0)).astype(np.float64)[:, None]


class _Projection:
    """Ridge regression from the rows of other folds: ``values @ targets`` for many targets at once."""

    def __init__(self, features: Floats, fold: npt.NDArray[np.int64]) -> None:
        deviation = features.std(axis=0)
        kept = deviation > 1e-12
        scaled = (features[:, kept] - features[:, kept].mean(axis=0)) / deviation[kept]
        self._rows = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
        self._fold = fold

    def __call__(self, targets: Floats) -> Floats:
        """Give what is told of each row by the rows of other folds, for targets rows×K."""
        found: Floats = np.zeros_like(targets, np.float64)
        for number in np.unique(self._fold):
            test, train = self._fold == number, self._fold != number
            taught = self._rows[train]
            inner = taught.T @ taught
            inner += np.eye(len(inner)) * (RIDGE * np.trace(inner) / len(inner))
            found[test] = self._rows[test] @ np.linalg.solve(inner, taught.T @ targets[train])
        return found


def _told_apart(
    maps: Sequence[npt.NDArray[Any]], own: Sequence[npt.NDArray[Any]], rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """Give the AUC within pictures, and its deviation where boxes are dealt out anew within groups of pictures."""
    count = len(maps) // GROUP
    if count < 2:
        return None, None
    groups = [range(number * GROUP, (number + 1) * GROUP) for number in range(count)]
    features, sets = [], []
    for group in groups:
        together = np.concatenate([own[place] for place in group])
        sets.append(np.repeat(np.arange(GROUP), [len(own[place]) for place in group]))
        features += [regions(maps[place], together) for place in group]
    # Of each picture the boxes of its whole group; whose they are is what is dealt out.
    of_set = np.concatenate([one for one in sets for _ in range(GROUP)])
    starts = np.cumsum([0, *(len(one) for one in sets for _ in range(GROUP))])
    dealt = np.empty((count * GROUP, 1 + PERMUTATIONS), np.int64)
    for group in groups:
        dealt[group] = np.stack([np.arange(GROUP), *(rng.permutation(GROUP) for _ in range(PERMUTATIONS))], axis=1)
    mine = of_set[:, None] == np.repeat(dealt, np.diff(starts), axis=0)
    share = mine.mean(axis=0)
    fold = np.repeat(np.arange(count * GROUP) // GROUP % FOLDS, np.diff(starts))
    scores = _Projection(np.concatenate(features), fold)(np.where(mine, 1 / share, -1 / (1 - share)))
    total = np.zeros(1 + PERMUTATIONS)
    for group in groups:
        together = np.concatenate([own[place] for place in group])
        near = overlaps(together, together) >= APART
        for place in group:
            rows = slice(starts[place], starts[place + 1])
            total += _auc(scores[rows], mine[rows], near)
    aucs = total / (count * GROUP)
    return float(aucs[0]), float(aucs[1:].std())


def _auc(scores: Floats, mine: npt.NDArray[np.bool_], near: npt.NDArray[np.bool_]) -> Floats:
    """Give for each column how often a picture's own boxes score higher than others that lie apart from all of them."""
    apart = ~mine & ~(near.astype(np.int64) @ mine.astype(np.int64) > 0)
    above = (scores[:, None] > scores[None]) + 0.5 * (scores[:, None] == scores[None])
    pairs = mine[:, None] & apart[None]
    number = pairs.sum(axis=(0, 1))
    found: Floats = np.where(number > 0, (above * pairs).sum(axis=(0, 1)) / np.maximum(number, 1), 0.5)
    return found


def _classes_told(
    features: Floats, of: npt.NDArray[Any], labels: npt.NDArray[Any], rng: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Give the accuracy, that of shuffled classes, and how often these do as well."""
    names, places = np.unique(labels, return_inverse=True)
    enough = (np.bincount(places) >= LEAST_OF_CLASS).sum() if len(names) else 0
    if len(labels) < LEAST_BOXES or enough < 2:
        return None, None, None
    wanted = np.eye(len(names))[places]
    # Of rare classes as much is expected as of common ones.
    wanted = wanted / np.sqrt(wanted.sum(axis=0))
    orders = [np.arange(len(places)), *(rng.permutation(len(places)) for _ in range(PERMUTATIONS))]
    scores = _Projection(features, of % FOLDS)(np.concatenate([wanted[order] for order in orders], axis=1))
    said = scores.reshape(len(places), len(orders), len(names)).argmax(axis=2)
    right, *shuffled = (said == np.stack([places[order] for order in orders], axis=1)).mean(axis=0).tolist()
    as_good = sum(one >= right for one in shuffled)
    return right, float(np.mean(shuffled)), (1 + as_good) / (1 + PERMUTATIONS)
