"""Labels that are probably wrong, by what models answered that did not learn from the pictures.

Confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021) suspects a picture where a model is surer of another
class than it usually is of that class. Among classes that look alike most of these are pictures that are hard to tell.
So the evidence here is measured by what is usual for pictures of that label: in ``docs/measured/wrong-labels.md`` this
found more of the planted labels, with a third to a sixth of the false suspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mobilenets.runtime.answers import log_softmax

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Evidence from which a label is suspected: 665 times the usual odds.
LEAST = 6.5
TINY = 1e-9  # probabilities below count as this
_TEMPERATURES = np.geomspace(0.1, 10, 41)


@dataclass(frozen=True)
class WrongLabel:
    """Picture ``index``, labelled as class number ``given``, is rather of class ``suggested``.

    ``score`` is the evidence for that: the natural logarithm of the odds of the suggested class against the given one,
    over those that pictures of the given label have on average.
    """

    index: int
    given: int
    suggested: int
    score: float


def wrong_labels(labels: Integers, probabilities: Floats, least: float = LEAST) -> tuple[WrongLabel, ...]:
    """Suspect labels (N,) by out-of-fold probabilities (N, K), the surest first; ``least`` is the lowest score.

    Only pictures are suspected for which another class is the most probable.

    >>> scores = np.array([[0.9, 0.1], [0.01, 0.99], [0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    >>> wrong_labels(np.array([0, 0, 0, 1, 1]), scores, least=4)
    (WrongLabel(index=1, given=0, suggested=1, score=5.014493),)
    """
    logs = np.log(np.maximum(probabilities, TINY))
    rows, best = np.arange(len(labels)), probabilities.argmax(axis=1)
    usual = np.full((probabilities.shape[1],) * 2, TINY)
    for label in np.unique(labels):
        usual[label] = np.maximum(probabilities[labels == label].mean(axis=0), TINY)
    normal = np.log(usual[labels, best]) - np.log(usual[labels, labels])
    scores = logs[rows, best] - logs[rows, labels] - normal
    found = np.flatnonzero((best != labels) & (scores >= least))
    order = found[np.argsort(-scores[found], kind="stable")]
    return tuple(WrongLabel(int(row), int(labels[row]), int(best[row]), round(float(scores[row]), 6)) for row in order)


def sharpened(labels: Integers, log_probabilities: Floats) -> Floats:
    """Give the probabilities (N, K) at the temperature at which their loss is lowest.

    Label smoothing and long training make a network too cautious or too sure, and its evidence too weak or too strong.
    """
    losses, rows = [], np.arange(len(labels))
    for temperature in _TEMPERATURES:
        losses.append(-log_softmax(log_probabilities / temperature)[rows, labels].mean())
    return np.exp(log_softmax(log_probabilities / _TEMPERATURES[int(np.argmin(losses))]))
