"""Average precision and recall from matched boxes, as COCO counts them, also of pictures drawn again and again."""

from __future__ import annotations

import math

import numpy as np

from mobilenets.measure.matching import MOST, OVERLAPS, SIZES, Flags, Floats, Matches
from mobilenets.measure.metrics import Z_95, Interval, wilson_interval

RECALLS = np.linspace(0, 1, 101)
"""The recalls at which precision is read off; AP is the mean over them."""

RESAMPLES = 1000
LEAST_PICTURES = 20
"""Pictures with boxes from which there is an interval: of fewer the bootstrap's are too narrow."""

# Numbers of one step: some 30 MB.
_AT_ONCE = 4_000_000


def average_precision(matches: Matches, classes: int, size: str = "all", most: int = MOST) -> tuple[Floats, Floats]:
    """Return AP and the highest recall of each class at each of the ``OVERLAPS``, two arrays K×10.

    NaN where a class has no box of that size. ``most`` is how many detections of a class count in a picture. This is
    pycocotools' ``COCOeval.accumulate``, where −1 stands for NaN.
    """
    weights = np.ones((1, matches.images))
    place = list(SIZES).index(size)
    found = [_of_class(matches, label, weights, place, most) for label in range(classes)]
    return np.stack([one[0][0] for one in found]), np.stack([one[1][0] for one in found])


def resampled(matches: Matches, classes: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return AP by class and overlap in resamples of the pictures, B×K×10.

    Each resample has as many pictures, drawn with replacement (Efron 1979); one that is drawn twice counts as two. The
    same seed draws the same pictures. NaN where no box of the class was drawn.
    """
    rng, images = np.random.default_rng(seed), matches.images
    result = np.empty((resamples, classes, len(OVERLAPS)))
    widest = max(images, *np.bincount(matches.label, minlength=1), *np.bincount(matches.truth_label, minlength=1))
    step = max(1, _AT_ONCE // int(widest))
    for begin in range(0, resamples, step):
        rows = slice(begin, min(begin + step, resamples))
        weights = rng.multinomial(images, np.full(images, 1 / images), size=rows.stop - begin).astype(np.float64)
        for label in range(classes):
            result[rows, label] = _of_class(matches, label, weights, 0, MOST)[0]
    return result


def mean_of_known(values: Floats) -> Floats:
    """Return the mean over the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    number = known.sum(axis=-1)
    total = np.where(known, values, 0).sum(axis=-1)
    return np.asarray(np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0))


def interval_95(value: float, resamples: Floats, pictures: int) -> Interval | None:
    """Return the 95 % bootstrap interval of ``value`` from resamples of ``pictures``; None where these are too few.

    It is the normal one with the bias taken off (Davison and Hinkley 1997, section 5.2): average precision of few
    pictures is too high, and its resamples are higher still, so that the middle 95 % of these hold the true value in 80
    to 93 of 100 cases, this interval in 87 to 95 (``benchmarks/average_precision.py coverage``). Where all resamples
    agree, which tells nothing, it is Wilson's of as many hits or misses as there are pictures.
    """
    known = resamples[~np.isnan(resamples)]
    if pictures < LEAST_PICTURES or not len(known) or math.isnan(value):
        return None
    spread = float(known.std())
    if spread < 1e-12 and value in (0, 1):
        return wilson_interval(pictures if value else 0, pictures)
    middle = 2 * value - float(known.mean())
    return middle - Z_95 * spread, middle + Z_95 * spread


def _of_class(matches: Matches, label: int, weights: Floats, size: int, most: int) -> tuple[Floats, Floats]:
    """AP and highest recall of one class by resample and overlap, both B×10; ``weights`` are those of the pictures."""
    rows = np.flatnonzero((matches.label == label) & (matches.rank < most))
    rows = rows[np.argsort(-matches.score[rows], kind="stable")]
    truths = (matches.truth_label == label) & matches.counts[:, size]
    wanted = weights[:, matches.truth_image[truths]].sum(axis=1)
    weight = weights[:, matches.image[rows]]
    right, ignored = matches.right[rows, size], matches.ignored[rows, size]
    answered = np.cumsum(weight, axis=1) if not ignored.any() else None
    precisions, recalls = np.zeros((2, len(weights), len(OVERLAPS)))
    for overlap in range(len(OVERLAPS)):
        all_so_far = np.cumsum(weight * ~ignored[:, overlap], axis=1) if answered is None else answered
        precisions[:, overlap], recalls[:, overlap] = _area(weight, right[:, overlap], all_so_far, wanted)
    empty = wanted == 0
    precisions[empty], recalls[empty] = np.nan, np.nan
    return precisions, recalls


def _area(weight: Floats, right: Flags, answered: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """The area under precision against recall, by 101 points, and the last recall, each B.

    Only where a right box comes does the recall grow, so that these places say it all.
    """
    places = np.flatnonzero(right)
    if not len(places):
        return np.zeros(len(weight)), np.zeros(len(weight))
    hits = np.cumsum(weight[:, places], axis=1)
    recall = np.divide(hits, wanted[:, None], out=np.zeros_like(hits), where=wanted[:, None] > 0)
    precision = hits / (answered[:, places] + np.spacing(1))
    # Precision at a recall is the best at that recall or a higher one.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
    points = np.diff(reached, axis=1, prepend=0)
    return (best * points).sum(axis=1) / len(RECALLS), recall[:, -1]
