"""Precision against recall as the score threshold of a detector falls."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mobilenets.drawing.style import LIGHT, Theme, dress, new_figure, side_note
from mobilenets.measure.detection import DetectionEvaluation

MARKS = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Scores that are named along the curve."""


def precision_recall(evaluation: DetectionEvaluation, theme: Theme = LIGHT) -> Figure:
    """Over the boxes of all classes together, at an overlap of 0.5; a dot marks the evaluation's threshold."""
    recall, precision, scores = evaluation.precision_recall
    figure = new_figure(6, 4.6, theme, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(recall, precision, color=theme.blue, linewidth=1.9, marker="o" if len(scores) < 2 else "")
    places = {int(np.searchsorted(-scores, -score, side="right")) - 1: score for score in reversed(MARKS)}
    for place, score in places.items():
        if place >= 0:
            at = (recall[place], precision[place])
            axes.plot(*at, color=theme.muted, marker="o", markersize=4)
            axes.annotate(f"{score:g}", at, (4, 5), textcoords="offset points", fontsize=8, color=theme.muted)
    if evaluation.precision is not None and evaluation.recall is not None:
        dot: dict[str, Any] = {"markersize": 9, "markeredgecolor": theme.paper, "markeredgewidth": 2}
        axes.plot(evaluation.recall, evaluation.precision, color=theme.orange, marker="o", linestyle="none", **dot)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0, " %"))
    under = ("recall: the share of objects that are found", "precision: the share of boxes that are right")
    dress(axes, theme, "Precision against recall", *under)
    side_note(axes, f"threshold {evaluation.shown_from:.2f}", theme.orange)
    return figure
