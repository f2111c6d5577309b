"""The learning curves of a training run, and the learning rate that is planned for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from mobilenets.drawing.style import LIGHT, Theme, dress, label, legend, new_figure, save, side_note
from mobilenets.measure.metric import Metric

History = Sequence[Mapping[str, float]]


def draw_curves(history: History, metric: Metric, path: Path, best_epoch: int | None = None) -> None:
    """Write the learning curves as PNG or SVG; see ``curves``."""
    save(curves(history, metric, best_epoch), path)


def draw_schedule(epochs: Sequence[float], rates: Sequence[float], title: str, path: Path) -> None:
    """Write the learning rate over the epochs as PNG or SVG; one value of each for every step to be drawn."""
    figure = new_figure(7, 2.8, LIGHT, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(epochs, rates, color=LIGHT.blue, linewidth=1.9)
    axes.fill_between(epochs, rates, color=LIGHT.blue, alpha=0.12, linewidth=0)
    axes.set_ylim(0, max(rates) * 1.08)
    axes.set_xlim(0, max(1, epochs[-1]))
    dress(axes, LIGHT, title, "epoch")
    save(figure, path)


def curves(history: History, metric: Metric, best_epoch: int | None = None, theme: Theme = LIGHT) -> Figure:
    """Loss, metric and learning rate over the epochs.

    ``history`` holds the rows of history.csv. The epoch marked is ``best_epoch``, whose model was kept (0: the model
    that training started from, which marks none), or else the first with the best validation metric. ValueError if
    the history is empty.
    """
    if not history:
        raise ValueError("the history is empty")
    key = f"validation_{metric.name}"
    best = max(history, key=lambda row: metric.merit(row[key]))
    word = "best" if best_epoch is None else "kept"
    if best_epoch is not None:
        best = next((row for row in history if row["epoch"] == best_epoch), best)
    figure = new_figure(10, 4.2, theme, layout="constrained")
    halves = figure.add_gridspec(1, 2, wspace=0.06)
    loss = figure.add_subplot(halves[0])
    stack = halves[1].subgridspec(2, 1, height_ratios=(3.2, 1), hspace=0.08)
    value = figure.add_subplot(stack[0])
    rate = figure.add_subplot(stack[1], sharex=value)
    for axes, figure_name in ((loss, "loss"), (value, metric.name)):
        for part, color, style in (("train", theme.orange, (0, (4, 1.6))), ("validation", theme.blue, "-")):
            name = "training" if part == "train" else "validation"
            _line(axes, history, f"{part}_{figure_name}", color, linestyle=style, linewidth=1.9, label=name)
        if best_epoch != 0:
            axes.axvline(best["epoch"], color=theme.muted, linewidth=0.9, linestyle=":")
    _line(rate, history, "lr", theme.muted, linewidth=1.6)
    epochs = [row["epoch"] for row in history]
    rate.fill_between(epochs, [row["lr"] for row in history], color=theme.muted, alpha=0.15, linewidth=0)
    if best_epoch != 0:
        dot: dict[str, Any] = {"marker": "o", "markersize": 8, "markeredgecolor": theme.paper, "markeredgewidth": 2}
        value.plot(best["epoch"], best[key], color=theme.blue, linestyle="none", **dot)
    for axes, name in ((loss, f"Loss ({metric.loss})"), (value, metric.title), (rate, "Learning rate")):
        dress(axes, theme, name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if len(history) < 2:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        else:
            axes.margins(x=0.02)
    kept = f"{word}: {metric.shown(best[key])}, epoch {best['epoch']:.0f}"
    side_note(value, "kept: the model before training" if best_epoch == 0 else kept, theme.blue)
    if metric.fraction:
        value.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    value.tick_params(labelbottom=False)
    for axes in (loss, rate):
        axes.set_ylim(bottom=0)
        label(axes, theme, x="epoch")
    rate.yaxis.set_major_locator(MaxNLocator(nbins=2))
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    legend(loss, theme)
    return figure


def _line(axes: Axes, history: History, key: str, color: str, **options: Any) -> None:
    if key in history[0]:  # not every metric is taken while training
        # A single epoch makes a point, no line.
        options |= {"color": color, "marker": "o" if len(history) < 2 else ""}
        axes.plot([row["epoch"] for row in history], [row[key] for row in history], **options)
