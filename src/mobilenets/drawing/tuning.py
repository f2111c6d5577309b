"""The picture of trials: what each reached, and how it got there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mobilenets.drawing.style import LIGHT, dress, legend, new_figure


def tuning_figure(trials: Sequence[Mapping[str, Any]], best: int) -> Figure:
    """Draw the rows of ``tune.json``: the figure of each trial with the best so far, and their validation by epoch.

    ``best`` is the number of the one that was chosen. A trial that was given up is shown at its last epoch.
    """
    figure = new_figure(10, 4.2, LIGHT, layout="constrained")
    left, right = figure.subplots(1, 2)
    complete = [row for row in trials if row["state"] == "complete"]
    pruned = [row for row in trials if row["state"] == "pruned" and row["epochs"]]
    numbers, values = [row["number"] for row in complete], [row["value"] for row in complete]
    left.scatter(numbers, values, 36, color=LIGHT.blue, label="complete", zorder=3)
    if pruned:
        ends = [list(row["epochs"].values())[-1] for row in pruned]
        left.scatter([row["number"] for row in pruned], ends, 30, color=LIGHT.muted, marker="x", label="given up")
    so_far = [max(values[: place + 1]) for place in range(len(values))]
    left.step(numbers, so_far, where="post", color=LIGHT.orange, linewidth=1.6, label="best so far")
    for row in (*pruned, *complete):
        chosen = row["number"] == best
        epochs = [int(epoch) for epoch in row["epochs"]]
        style = {"color": LIGHT.blue if chosen else LIGHT.muted, "linewidth": 2.2 if chosen else 1.0}
        alpha = 1.0 if chosen else 0.45
        right.plot(epochs, list(row["epochs"].values()), alpha=alpha, marker="." if len(epochs) < 2 else "", **style)
    for axes, title, under in (
        (left, "Validation top-1 of each trial", "trial"),
        (right, f"By epoch; trial {best} was chosen", "epoch"),
    ):
        dress(axes, LIGHT, title, under)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    legend(left, LIGHT, loc="best")
    return figure
