"""What a figure is called, how it is shown, and which way is up."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure that says how good a network is.

    ``name`` is its key in ``history.csv`` and ``metrics.json``, ``words`` are for a line of text and ``title`` for a
    plot. A ``fraction`` is shown in per cent. ``loss`` says what the loss beside it is. ``loss_decides``: of few
    pictures the loss tells the better network more surely.

    >>> Metric("top1", "top-1", "Top-1 accuracy", "cross-entropy", higher_is_better=True, fraction=True).shown(0.625)
    '62.5 %'

    """

    name: str
    words: str
    title: str
    loss: str
    higher_is_better: bool
    fraction: bool = False
    loss_decides: bool = True

    def blind(self, classes: int) -> float:
        """Give the loss where all classes are thought equally probable; infinite where it is none of classes."""
        return math.log(classes) if self.loss.startswith("cross-entropy") and classes > 1 else math.inf

    def shown(self, value: float) -> str:
        """Write a value for people."""
        return f"{100 * value:.1f} %" if self.fraction else f"{value:.3f}"

    def merit(self, value: float) -> float:
        """Give a number that is higher where the value is better."""
        return value if self.higher_is_better else -value


TOP1 = Metric("top1", "top-1", "Top-1 accuracy", "cross-entropy, nats", higher_is_better=True, fraction=True)
"""That of a classifier."""
