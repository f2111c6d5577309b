"""Whether boxes have to do with what is in the pictures, without training a detector.

Two exchangeability tests on features of the regions in boxes. Each box is compared with boxes of other pictures laid on
the same picture: were the boxes dealt out to the wrong pictures, nothing could tell the ones from the others, wherever
boxes lie as a rule. And the class of a box is told from the boxes of other pictures: were the classes shuffled, that
would succeed as often as with classes shuffled on purpose (a permutation test: Ojala and Garriga 2010, "Permutation
tests for studying classifier performance", JMLR 11, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.pictures.boxes import Boxes, overlaps

Floats = npt.NDArray[np.float64]

FOLDS = 5
RIDGE = 0.1  # of the features' mean square, so that a share of each direction is kept
PERMUTATIONS = 200
# How much other boxes may overlap a picture's own ones, and how many are laid on it for each of these.
APART, OTHERS = 0.3, 4
# An AUC that right boxes reach: 0.5 is chance. Below it by two deviations, they are called wrong.
TOLD, MOST_CHANCE = 0.62, 0.01
# Fewer boxes than these, in all and a class, say nothing of the classes.
LEAST_BOXES, LEAST_OF_CLASS = 60, 3


@dataclass(frozen=True)
class Agreement:
    """What the tests found; None where there was too little to say.

    ``auc`` is how often a box looks more like a box than one of another picture in the same picture does, with
    ``error`` the deviation of that over ``pictures`` by chance. ``accuracy`` is how often the class of one of ``boxes`` was told from other
    pictures, ``chance`` how often with shuffled classes, and ``probability`` that shuffled ones do as well.
    """

    pictures: int
    boxes: int
    auc: float | None = None
    error: float | None = None
    accuracy: float | None = None
    chance: float | None = None
    probability: float | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the boxes, in sentences."""
        found = []
        if self.auc is not None and self.error is not None and self.auc + 2 * self.error < TOLD:
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


def agreement(maps: Sequence[npt.NDArray[Any]], boxes: Sequence[Boxes], seed: int = 0) -> Agreement:
    """Test the boxes of pictures by ``maps``, float H×W×C of each: features, colours, whatever varies with the place.

    ``boxes`` are in shares of the side.
    """
    rng = np.random.default_rng((seed, 11))
    rows, of, own, labels = [], [], [], []
    for place, (map_, mine) in enumerate(zip(maps, boxes, strict=True)):
        mine = mine.taken(~mine.ignored)
        other = _others(boxes, place, mine, rng)
        if not len(mine):
            continue
        found = regions(map_, np.concatenate([mine.corners, other]))
        rows.append(found)
        of += [place] * len(found)
        own += [True] * len(mine) + [False] * len(other)
        labels += [*mine.labels.tolist(), *[-1] * len(other)]
    if not rows:
        return Agreement(0, 0)
    features, of_picture = np.concatenate(rows), np.array(of)
    mine_too, classes = np.array(own), np.array(labels)
    auc, error, pictures = _told_apart(features, of_picture, mine_too, rng)
    accuracy, chance, probability = _classes_told(features[mine_too], of_picture[mine_too], classes[mine_too], rng)
    return Agreement(pictures, int(mine_too.sum()), auc, error, accuracy, chance, probability)


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


def _others(boxes: Sequence[Boxes], place: int, mine: Boxes, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Draw boxes of other pictures that lie apart from the own ones."""
    elsewhere = [other.corners[~other.ignored] for at, other in enumerate(boxes) if at != place]
    pool = np.concatenate([*elsewhere, np.empty((0, 4), np.float32)])
    if len(mine):
        pool = pool[overlaps(pool, mine.corners).max(axis=1, initial=0) < APART]
    return pool[rng.permutation(len(pool))[: OTHERS * len(mine)]]


def _projected(features: Floats, of: npt.NDArray[Any]) -> Floats:
    """Give for each row what it takes of every row's value: a ridge regression from the pictures of other folds."""
    deviation = features.std(axis=0)
    kept = deviation > 1e-12
    scaled = (features[:, kept] - features[:, kept].mean(axis=0)) / deviation[kept]
    gram = scaled @ scaled.T + 1.0  # with a constant
    hat: Floats = np.zeros_like(gram)
    fold = np.unique(of, return_inverse=True)[1] % FOLDS
    for number in range(FOLDS):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(test) and len(train):
            inner = gram[np.ix_(train, train)]
            inner = inner + np.eye(len(train)) * (RIDGE * np.trace(inner) / len(train))
            hat[np.ix_(test, train)] = np.linalg.solve(inner, gram[np.ix_(train, test)]).T
    return hat


def _told_apart(
    features: Floats, of: npt.NDArray[Any], own: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float | None, float | None, int]:
    """Give the AUC within pictures, its deviation where own and other boxes are shuffled, and the pictures it is of."""
    places = [np.flatnonzero(of == place) for place in np.unique(of)]
    places = [rows for rows in places if 0 < own[rows].sum() < len(rows)]
    if len(places) < 2 * FOLDS:
        return None, None, len(places)
    dealt = np.repeat(own[:, None], 1 + PERMUTATIONS, axis=1)
    for rows in places:
        dealt[rows, 1:] = rng.permuted(dealt[rows, 1:], axis=0)
    shares = dealt.mean(axis=0)
    scores = _projected(features, of) @ np.where(dealt, 1 / shares, -1 / (1 - shares))
    total = np.zeros(1 + PERMUTATIONS)
    for rows in places:
        mine, there = scores[rows], dealt[rows]
        above = (mine[:, None] > mine[None]) + 0.5 * (mine[:, None] == mine[None])
        pairs = there[:, None] & ~there[None]
        total += (above * pairs).sum(axis=(0, 1)) / pairs.sum(axis=(0, 1))
    aucs = total / len(places)
    return float(aucs[0]), float(aucs[1:].std()), len(places)


def _classes_told(
    features: Floats, of: npt.NDArray[Any], labels: npt.NDArray[Any], rng: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Give the accuracy, that of shuffled classes, and how often these do as well."""
    names, places = np.unique(labels, return_inverse=True)
    enough = (np.bincount(places) >= LEAST_OF_CLASS).sum() if len(names) else 0
    if len(labels) < LEAST_BOXES or enough < 2:
        return None, None, None
    hat = _projected(features, of)
    wanted = np.eye(len(names))[places]
    # Of rare classes as much is expected as of common ones.
    wanted = wanted / np.sqrt(wanted.sum(axis=0))

    def accuracy(order: npt.NDArray[Any]) -> float:
        return float(((hat @ wanted[order]).argmax(axis=1) == places[order]).mean())

    right = accuracy(np.arange(len(places)))
    shuffled = [accuracy(rng.permutation(len(places))) for _ in range(PERMUTATIONS)]
    as_good = sum(one >= right for one in shuffled)
    return right, float(np.mean(shuffled)), (1 + as_good) / (1 + PERMUTATIONS)
