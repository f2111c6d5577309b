"""Every figure about a classifier that follows from its logits and the true labels, with its uncertainty.

NumPy only, in float64. All fractions run from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.errors import FaultFound, InputError
from mobilenets.runtime.answers import log_softmax, softmax

Interval: TypeAlias = tuple[float, float]
Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

Z_95 = 1.959964
"""The standard normal's 97.5 % point, so that ± z covers 95 %."""

RELIABILITY_BINS = 15
_EDGES = np.linspace(0, 1, RELIABILITY_BINS + 1)


def wilson_interval(hits: int, n: int) -> Interval:
    """The 95 % Wilson score interval of a proportion, ``hits`` of ``n`` (Wilson, JASA 1927; Brown et al. 2001).

    It keeps its coverage near 0 and 1 and for small ``n``, where mean ± z standard errors does not. With
    ``n`` = 0 nothing is known: (0, 1). ValueError unless 0 ≤ hits ≤ n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must be between 0 and n, got {hits} of {n}")
    if n == 0:
        return 0.0, 1.0
    rate, z = hits / n, Z_95
    shrink = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    # At the ends one bound is exact; rounding must not move it.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == n else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class; None where the quotient is 0/0.

    ``precision`` is None if the class was never predicted, ``recall`` if it has no picture, ``f1`` if both.
    ``images`` counts the pictures whose true class it is.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    images: int


@dataclass(frozen=True)
class ReliabilityBin:
    """The pictures whose confidence lies in (``lower``, ``upper``]; both means are None in an empty bin."""

    lower: float
    upper: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Mistake:
    """Picture ``index`` of class number ``true``, predicted as class ``predicted`` with this probability."""

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier answered for N pictures of K classes; every figure is computed on first use.

    ``images`` are the paths as shown to people, in the order of ``labels`` (N,) and ``logits`` (N, K). A
    class may have no picture. Ties never count in the classifier's favour: an answer is right only if the
    true class's logit is strictly above all others, so a network that answers the same for every class
    scores 0, not 1/K. ``distances`` (N,) are how far the pictures are from what the model learned, where it says so.

    Raises InputError without pictures or with two classes of one name, FaultFound if a logit is not finite,
    and ValueError if the shapes or labels do not fit each other.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: Integers
    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        count, width = len(self.images), len(self.classes)
        if self.labels.shape != (count,) or self.logits.shape != (count, width):
            raise ValueError(
                f"{count} images and {width} classes do not fit labels {self.labels.shape} "
                f"and logits {self.logits.shape}"
            )
        if count == 0:
            raise InputError("there is no picture to evaluate on: use a folder with at least one")
        if len(set(self.classes)) < width:
            twice = next(name for i, name in enumerate(self.classes) if name in self.classes[:i])
            raise InputError(f"two classes are called {twice!r}: give every class a different name")
        if self.labels.min() < 0 or self.labels.max() >= width:
            raise ValueError(f"labels must be 0 … {width - 1}")
        broken = int((~np.isfinite(self.logits)).any(axis=1).sum())
        if broken:
            raise FaultFound(
                f"the network's output is not finite for {broken} of {count} pictures: its weights are broken; "
                "train again with a lower learning rate"
            )

    @cached_property
    def log_probabilities(self) -> Floats:
        """The logarithm of the softmax, (N, K)."""
        return log_softmax(self.logits)

    @cached_property
    def probabilities(self) -> Floats:
        """The softmax of the logits, (N, K), to the last bit as `predict` gives it."""
        return softmax(self.logits)

    @cached_property
    def confidences(self) -> Floats:
        """The highest probability of each picture, (N,)."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

    @cached_property
    def predicted(self) -> Integers:
        """The class with the highest logit, (N,); if the true class shares that place, the other one."""
        rows = np.arange(len(self.labels))
        rivals = self.logits.astype(np.float64)
        rivals[rows, self.labels] = -np.inf
        wins = self.logits[rows, self.labels] > rivals.max(axis=1)
        return np.where(wins, self.labels, rivals.argmax(axis=1)).astype(np.int64)

    @cached_property
    def ranks(self) -> Integers:
        """How many other classes have a logit at least as high as the true class's, (N,); 0 is right."""
        true = self.logits[np.arange(len(self.labels)), self.labels]
        return np.asarray((self.logits >= true[:, None]).sum(axis=1) - 1, dtype=np.int64)

    @cached_property
    def losses(self) -> Floats:
        """The cross-entropy of each picture, in nats, (N,)."""
        return np.asarray(-self.log_probabilities[np.arange(len(self.labels)), self.labels], dtype=np.float64)

    @cached_property
    def loss(self) -> float:
        """The mean cross-entropy, in nats, without label smoothing."""
        return float(self.losses.mean())

    @cached_property
    def loss_interval(self) -> Interval | None:
        """The mean loss ± z standard errors: 95 % by the normal approximation; None for a single picture."""
        n = len(self.losses)
        if n < 2:
            return None
        half = Z_95 * float(self.losses.std(ddof=1)) / math.sqrt(n)
        return max(0.0, self.loss - half), self.loss + half

    @cached_property
    def top1(self) -> float:
        """The fraction of pictures whose highest logit is the true class's."""
        return self._hits(1) / len(self.labels)

    @cached_property
    def top1_interval(self) -> Interval:
        """The 95 % Wilson interval of ``top1``."""
        return wilson_interval(self._hits(1), len(self.labels))

    @cached_property
    def baseline_top1(self) -> float:
        """The top-1 of always answering the class with the most pictures."""
        return max(score.images for score in self.per_class.values()) / len(self.labels)

    @cached_property
    def top5(self) -> float:
        """The fraction of pictures whose true class is among the five highest (all of them if K < 5)."""
        return self._hits(5) / len(self.labels)

    @cached_property
    def top5_interval(self) -> Interval:
        """The 95 % Wilson interval of ``top5``."""
        return wilson_interval(self._hits(5), len(self.labels))

    def _hits(self, k: int) -> int:
        return int((self.ranks < k).sum())

    @cached_property
    def confusion(self) -> Integers:
        """Counts, (K, K): rows are the true class, columns the predicted one."""
        width = len(self.classes)
        flat = np.bincount(self.labels * width + self.predicted, minlength=width * width)
        return flat.reshape(width, width).astype(np.int64)

    @cached_property
    def per_class(self) -> dict[str, ClassScore]:
        """The score of each class, in the order of ``classes``."""
        right = self.confusion.diagonal().tolist()
        true = self.confusion.sum(axis=1).tolist()
        predicted = self.confusion.sum(axis=0).tolist()
        return {
            name: ClassScore(ratio(hit, p), ratio(hit, t), ratio(2 * hit, t + p), t)
            for name, hit, t, p in zip(self.classes, right, true, predicted, strict=True)
        }

    @cached_property
    def macro_f1(self) -> float:
        """The unweighted mean F1 of the classes that were seen or predicted at all."""
        known = [score.f1 for score in self.per_class.values() if score.f1 is not None]
        return sum(known) / len(known)

    @staticmethod
    def bins(confidences: Floats) -> Integers:
        """Give the place of each confidence among the bins of ``reliability``."""
        # Bins are open below and closed above; rounding may lift a confidence past 1.
        places = np.searchsorted(_EDGES, confidences, side="left") - 1
        return np.clip(places, 0, RELIABILITY_BINS - 1).astype(np.int64)

    @cached_property
    def reliability(self) -> tuple[ReliabilityBin, ...]:
        """Fifteen bins of equal width over the confidence (Guo et al. 2017, section 2)."""
        edges, places = _EDGES, self.bins(self.confidences)
        bins = []
        for number in range(RELIABILITY_BINS):
            inside = places == number
            some = bool(inside.any())
            bins.append(
                ReliabilityBin(
                    float(edges[number]),
                    float(edges[number + 1]),
                    int(inside.sum()),
                    float(self.confidences[inside].mean()) if some else None,
                    float((self.ranks[inside] == 0).mean()) if some else None,
                )
            )
        return tuple(bins)

    @cached_property
    def ece(self) -> float:
        """The expected calibration error over 15 bins (Guo et al. 2017, arXiv:1706.04599, equation 3)."""
        return sum(
            one.images / len(self.labels) * abs(one.accuracy - one.confidence)
            for one in self.reliability
            if one.accuracy is not None and one.confidence is not None
        )

    def mistakes(self, n: int) -> tuple[Mistake, ...]:
        """The ``n`` wrong answers given with the highest probability, the surest first."""
        wrong = np.flatnonzero(self.ranks > 0)
        chosen = self.probabilities[wrong, self.predicted[wrong]]
        order = np.argsort(-chosen, kind="stable")[:n]
        return tuple(
            Mistake(int(i), int(self.labels[i]), int(self.predicted[i]), float(p))
            for i, p in zip(wrong[order], chosen[order], strict=True)
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of an epoch in ``history.csv``."""
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5}

    def summary(self) -> str:
        """Say top-1 with its interval."""
        low, high = self.top1_interval
        return f"top-1 {100 * self.top1:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; a fraction that is 0/0 is null, nothing is NaN."""
        return {
            "images": len(self.images),
            "loss": self.loss,
            "loss_interval": None if self.loss_interval is None else list(self.loss_interval),
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "baseline_top1": self.baseline_top1,
            "top5": self.top5,
            "top5_interval": list(self.top5_interval),
            "ece": self.ece,
            "macro_f1": self.macro_f1,
            "classes": {name: dict(vars(score)) for name, score in self.per_class.items()},
            "confusion": self.confusion.tolist(),
        }


def ratio(part: float, whole: float) -> float | None:
    """The quotient; None where there is nothing to divide by."""
    return float(part / whole) if whole else None
