"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021, section 3.1).

Probabilities are to be out-of-fold: of a model that did not learn from the picture. A picture is suspected where the
model is as sure of another class as it is on average of that class's own pictures. It answers as cleanlab 2.9's
``find_label_issues`` does with ``filter_by="confident_learning"``, which would bring pandas, SciPy and scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ROUNDING = 1e-6  # a probability counts as being at a threshold that it misses by so much


@dataclass(frozen=True)
class WrongLabel:
    """Picture ``index``, labelled as class number ``given``, is rather of class ``suggested``.

    ``score`` is by how much the probability of the suggested class is above that of the given one, from 0 to 1.
    """

    index: int
    given: int
    suggested: int
    score: float


def confident_thresholds(labels: Integers, probabilities: Floats) -> Floats:
    """Give each class's mean probability over its own pictures, (K,); 1 for a class that has none."""
    return np.array(
        [
            probabilities[labels == label, label].mean() if (labels == label).any() else 1.0
            for label in range(probabilities.shape[1])
        ]
    )


def wrong_labels(labels: Integers, probabilities: Floats, least: float = 0.0) -> tuple[WrongLabel, ...]:
    """Suspect labels (N,) by out-of-fold probabilities (N, K), the surest first; ``least`` is the lowest score.

    >>> wrong_labels(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]))
    (WrongLabel(index=1, given=0, suggested=1, score=0.8),)
    """
    sure = probabilities >= confident_thresholds(labels, probabilities) - ROUNDING
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(labels))
    # Of several classes that it is sure of, the most probable; and one that it is sure of, but that another tops, is
    # none to suggest.
    suspected = (
        sure.any(axis=1) & (best != labels) & np.where(sure.sum(axis=1) > 1, True, sure.argmax(axis=1) != labels)
    )
    scores = probabilities[rows, best] - probabilities[rows, labels]
    found = np.flatnonzero(suspected & (scores >= least))
    order = found[np.argsort(-scores[found], kind="stable")]
    return tuple(WrongLabel(int(row), int(labels[row]), int(best[row]), round(float(scores[row]), 6)) for row in order)
