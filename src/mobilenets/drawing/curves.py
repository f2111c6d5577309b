"""The learning curves of a training run, and the learning rate that is planned for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from mobilenets.drawing.style import LIGHT, Theme, dress, heading, label, legend, new_figure, save, side_note

History = Sequence[Mapping[str, float]]


def draw_curves(history: History, path: Path, best_epoch: int | None = None) -> None:
    """Write the learning curves as PNG or SVG; see ``curves``."""
    save(curves(history, best_epoch), path)


def draw_schedule(epochs: Sequence[float], rates: Sequence[float], title: str, path: Path) -> None:
    """Write the learning rate over the epochs as PNG or SVG; one value of each for every step to be drawn."""
    figure = new_figure(7, 2.8, LIGHT, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(epochs, rates, color=LIGHT.blue, linewidth=1.9)
    axes.fill_between(epochs, rates, color=LIGHT.blue, alpha=0.12, linewidth=0)
    axes.set_ylim(0, max(rates) * 1.08)
    axes.set_xlim(0, max(1, epochs[-1]))
    label(axes, LIGHT, x="epoch")
    dress(axes, LIGHT)
    heading(axes, title, LIGHT)
    save(figure, path)


def curves(history: History, best_epoch: int | None = None, theme: Theme = LIGHT) -> Figure:
    """Loss, top-1 accuracy and learning rate over the epochs.

    ``history`` holds the rows of history.csv. The epoch marked is ``best_epoch``, whose model was kept (0: the model
    that training started from, which marks none), or else the first with the highest validation accuracy. ValueError
    if the history is empty.
    """
    if not history:
        raise ValueError("the history is empty")
    best = max(history, key=lambda row: row["validation_top1"])
    word = "best" if best_epoch is None else "kept"
    if best_epoch is not None:
        best = next((row for row in history if row["epoch"] == best_epoch), best)
    figure = new_figure(10, 4.2, theme, layout="constrained")
    halves = figure.add_gridspec(1, 2, wspace=0.06)
    loss = figure.add_subplot(halves[0])
    stack = halves[1].subgridspec(2, 1, height_ratios=(3.2, 1), hspace=0.08)
    top1 = figure.add_subplot(stack[0])
    rate = figure.add_subplot(stack[1], sharex=top1)
    for axes, key in ((loss, "loss"), (top1, "top1")):
        for part, color, style in (("train", theme.orange, (0, (4, 1.6))), ("validation", theme.blue, "-")):
            name = "training" if part == "train" else "validation"
            _line(axes, history, f"{part}_{key}", color, linestyle=style, linewidth=1.9, label=name)
        if best_epoch != 0:
            axes.axvline(best["epoch"], color=theme.muted, linewidth=0.9, linestyle=":")
    _line(rate, history, "lr", theme.muted, linewidth=1.6)
    epochs = [row["epoch"] for row in history]
    rate.fill_between(epochs, [row["lr"] for row in history], color=theme.muted, alpha=0.15, linewidth=0)
    if best_epoch != 0:
        dot: dict[str, Any] = {"marker": "o", "markersize": 8, "markeredgecolor": theme.paper, "markeredgewidth": 2}
        top1.plot(best["epoch"], best["validation_top1"], color=theme.blue, linestyle="none", **dot)
    for axes, name in ((loss, "Loss (cross-entropy, nats)"), (top1, "Top-1 accuracy"), (rate, "Learning rate")):
        dress(axes, theme)
        heading(axes, name, theme)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if len(history) < 2:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        else:
            axes.margins(x=0.02)
    kept = f"{word}: {100 * best['validation_top1']:.1f} %, epoch {best['epoch']:.0f}"
    side_note(top1, "kept: the model before training" if best_epoch == 0 else kept, theme.blue)
    top1.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    top1.tick_params(labelbottom=False)
    for axes in (loss, rate):
        axes.set_ylim(bottom=0)
        label(axes, theme, x="epoch")
    rate.yaxis.set_major_locator(MaxNLocator(nbins=2))
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    legend(loss, theme)
    return figure


def _line(axes: Axes, history: History, key: str, color: str, **options: Any) -> None:
    # A single epoch makes a point, no line.
    marker = "o" if len(history) < 2 else ""
    axes.plot([row["epoch"] for row in history], [row[key] for row in history], color=color, marker=marker, **options)
