"""Whether a picture is of one of the classes at all: the distance fitted, the bar set, and how well both tell.

NumPy only. The same pictures give the same arrays.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilenets.measure.metrics import wilson_interval
from mobilenets.models.distance import Floats, Space

# Axes kept. On the sets of docs/measured/none-of-these.md 32 told less, and 128 not more.
AXES = 64
# Training pictures an axis: with fewer they would be noise.
PER_AXIS = 4
FEW_TRAINED, FEW_HELD = 20, 8
FOLDS = 5

Scores = npt.NDArray[np.float64]


class Answered(NamedTuple):
    """What a network gave for N pictures: features N×D in front of the last layer, and logits N×classes."""

    features: Floats
    logits: Floats


def above(distances: Floats, bar: float) -> npt.NDArray[np.bool_]:
    """Say which pictures are above the bar; a distance that is no number is above every bar."""
    return ~(distances <= bar)


def called_to_json(distances: Floats, bar: float) -> dict[str, Any]:
    """Return how many pictures of known classes are called "none of these", with the share and its 95 % interval."""
    count, total = int(above(distances, bar).sum()), len(distances)
    return {"called": count, "share": count / total, "interval": list(wilson_interval(count, total)), "bar": bar}


def why_not(trained: int, held: int, classes: int) -> str | None:
    """Say why no distance can be fitted on so many pictures, or None where it can."""
    if classes < 2:
        return "a model with one class has no other to doubt it by"
    if trained < max(FEW_TRAINED, 2 * classes):
        return f"{trained} training pictures are too few; {max(FEW_TRAINED, 2 * classes)} are enough"
    if held == 0:
        return "no picture is held out to say how often it would be wrong, as with --folds"
    if held < FEW_HELD:
        return f"{held} held-out pictures are too few to say how often it would be wrong: {FEW_HELD} are enough"
    return None


def fit_space(trained: Answered, labels: npt.NDArray[np.int64], held: Answered) -> Space:
    """Fit the distance to training pictures with these class numbers; ``held`` gives the scale of its two parts."""
    roots = np.sqrt(np.maximum(trained.features, 0)).astype(np.float64)
    centre = roots.mean(axis=0)
    roots -= centre
    axes = _axes(roots, max(1, min(AXES, len(roots) // PER_AXIS, roots.shape[1] // 2)))
    along = roots @ axes.astype(np.float64)
    present, places = np.unique(labels, return_inverse=True)
    means = np.stack([along[places == place].mean(axis=0) for place in range(len(present))])
    inside = along - means[places]
    covariance = inside.T @ inside / len(inside)
    share, width = shrinkage(inside), len(covariance)
    # Features that hardly vary are told apart by nothing but rounding.
    even = max(float(np.trace(covariance)) / width, 1e-6)
    covariance = (1 - share) * covariance + share * even * np.eye(width) + 1e-6 * even * np.eye(width)
    # x'C⁻¹x is the square of x'W for W W' = C⁻¹.
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    left = float((roots**2).sum() - (along**2).sum())
    # Across them as along them, were nothing to vary there.
    rest = max(left / len(roots) / max(1, roots.shape[1] - width), 1e-3 * even)
    parts = [part.astype(np.float32) for part in (centre, whiten, means @ whiten, np.array([rest]))]
    plain, one = np.array([0, 1], np.float32), np.ones(1, np.float32)
    space = Space(parts[0], axes, parts[1], parts[2], parts[3], near=plain, doubt=plain, scale=one)
    near, doubt = (
        np.array([part.mean(), max(float(part.std()), 0.05)], np.float32)
        for part in (np.log(space.apart(held.features)), space.doubts(held.logits))
    )
    return replace(space, near=near, doubt=doubt)


def shrinkage(rows: Scores) -> float:
    """Give the share of the even covariance that is best for centred rows N×r (Ledoit and Wolf 2004, section 3).

    As ``ledoit_wolf_shrinkage`` of scikit-learn, which takes a second or more to load.
    """
    count, width = rows.shape
    covariance = rows.T @ rows / count
    away = np.square(covariance - np.trace(covariance) / width * np.eye(width)).sum()
    noise = (np.square((rows**2).sum(axis=1)).mean() - np.square(covariance).sum()) / count
    return float(min(noise, away) / away) if away > 0 else 0.0


def _axes(centred: Scores, count: int) -> npt.NDArray[np.float16]:
    """Give the directions D×count in which rows N×D vary most, from whichever product is the smaller."""
    rows, columns = centred.shape
    if columns <= rows:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    else:
        axes = centred.T @ np.linalg.eigh(centred @ centred.T)[1][:, ::-1][:, :count]
        axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    # Which way an axis points is arbitrary, so it is settled.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    return np.asarray(axes, np.float16)


def find_bar(distances: Floats, false_alarms: float) -> float:
    """Set the bar so that a new picture of the same kind is above it with a probability of at most ``false_alarms``.

    Of n distances it is above the ⌈(n + 1)(1 - false_alarms)⌉th, which gives just that, whatever their distribution
    (Vovk et al. 2005; Angelopoulos and Bates 2021, arXiv 2107.07511, section 1); above the largest where there are too
    few, and then the probability is 1 / (n + 1). It lies midway to the next, so that rounding changes no answer.
    """
    ordered = np.sort(distances.astype(np.float64))
    place = min(len(ordered), math.ceil((len(ordered) + 1) * (1 - false_alarms) - 1e-9)) - 1
    after = ordered[place + 1] if place + 1 < len(ordered) else ordered[place] + 0.1
    return float((ordered[place] + after) / 2)


def called_crosswise(distances: Floats, false_alarms: float) -> int:
    """Count the pictures that are above a bar that the other folds give; they lie in the folds in turn."""
    fold = np.arange(len(distances)) % FOLDS
    parts = [(distances[fold == number], distances[fold != number]) for number in range(FOLDS)]
    return sum(int(above(own, find_bar(others, false_alarms)).sum()) for own, others in parts if len(own))


def auroc(known: npt.ArrayLike, foreign: npt.ArrayLike) -> float:
    """Give the probability that a foreign picture has a larger value than a known one, ties counting half."""
    one, other = np.sort(np.asarray(known, np.float64)), np.asarray(foreign, np.float64)
    below, upto = (np.searchsorted(one, other, side=side) for side in ("left", "right"))
    return float((below + upto).sum() / 2 / len(one) / len(other))
