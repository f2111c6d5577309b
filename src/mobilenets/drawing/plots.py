"""The figures of a training run: learning curves, confusion matrix, reliability diagram.

Each comes twice: as a matplotlib ``Figure`` for the report, in light or dark, and drawn to a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.style import LIGHT, Theme, columns, dress, heading, new_figure, printable, save
from mobilenets.measure.groups import grouped
from mobilenets.measure.metrics import Evaluation, Integers
from mobilenets.runtime.labels import Labels

History = Sequence[Mapping[str, float]]

POINT = 1 / 72  # inches


def draw_curves(history: History, path: Path, best_epoch: int | None = None) -> None:
    """Write the learning curves as PNG or SVG; see ``curves``."""
    save(curves(history, best_epoch), path)


def draw_confusion(confusion: Integers, classes: Sequence[str], path: Path, kind: str = "class") -> None:
    """Write the confusion matrix as PNG or SVG; see ``confusion_matrix``."""
    save(confusion_matrix(confusion, classes, kind=kind), path)


def draw_confusions(evaluation: Evaluation, labels: Labels | None, folder: Path) -> None:
    """Write ``confusion.png`` and, where all classes have groups, ``confusion_groups.png``; both by readable names."""
    classes = evaluation.classes if labels is None else labels.shown(evaluation.classes, drawable)
    draw_confusion(evaluation.confusion, classes, folder / "confusion.png")
    by_group = None if labels is None else grouped(evaluation, labels)
    if labels is not None and by_group is not None:
        groups = labels.shown_groups(by_group.classes, drawable)
        draw_confusion(by_group.confusion, groups, folder / "confusion_groups.png", "group")


def draw_reliability(evaluation: Evaluation, path: Path) -> None:
    """Write the reliability diagram as PNG or SVG; see ``reliability_diagram``."""
    save(reliability_diagram(evaluation), path)


def draw_schedule(epochs: Sequence[float], rates: Sequence[float], title: str, path: Path) -> None:
    """Write the learning rate over the epochs as PNG or SVG; one value of each for every step to be drawn."""
    figure = new_figure(7, 2.8, LIGHT, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(epochs, rates, color=LIGHT.blue, linewidth=1.9)
    axes.fill_between(epochs, rates, color=LIGHT.blue, alpha=0.12, linewidth=0)
    axes.set_ylim(0, max(rates) * 1.08)
    axes.set_xlim(0, max(1, epochs[-1]))
    axes.set_xlabel("epoch")
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
    epochs = [row["epoch"] for row in history]
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

    # A single epoch makes a point, no line.
    marker = "o" if len(history) < 2 else ""
    for axes, key in ((loss, "loss"), (top1, "top1")):
        for part, color, style in (("train", theme.orange, (0, (4, 1.6))), ("validation", theme.blue, "-")):
            axes.plot(
                epochs,
                [row[f"{part}_{key}"] for row in history],
                color=color,
                linestyle=style,
                linewidth=1.9,
                label="training" if part == "train" else "validation",
                marker=marker,
            )
        if best_epoch != 0:
            axes.axvline(best["epoch"], color=theme.muted, linewidth=0.9, linestyle=":")
    rate.plot(epochs, [row["lr"] for row in history], color=theme.muted, linewidth=1.6, marker=marker)
    rate.fill_between(epochs, [row["lr"] for row in history], color=theme.muted, alpha=0.15, linewidth=0)

    if best_epoch != 0:
        top1.plot(
            best["epoch"],
            best["validation_top1"],
            marker="o",
            markersize=8,
            color=theme.blue,
            markeredgecolor=theme.paper,
            markeredgewidth=2,
            linestyle="none",
        )
    for axes, name in (
        (loss, "Loss (cross-entropy, nats)"),
        (top1, "Top-1 accuracy"),
        (rate, "Learning rate"),
    ):
        dress(axes, theme)
        heading(axes, name, theme)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if len(history) < 2:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        else:
            axes.margins(x=0.02)
    top1.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    top1.set_title(
        "kept: the model before training"
        if best_epoch == 0
        else f"{word}: {100 * best['validation_top1']:.1f} %, epoch {best['epoch']:.0f}",
        loc="right",
        fontsize=9,
        color=theme.blue,
        pad=10,
    )
    top1.tick_params(labelbottom=False)
    loss.set_ylim(bottom=0)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_locator(MaxNLocator(nbins=2))
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axes in (loss, rate):
        axes.set_xlabel("epoch", fontsize=9, color=theme.muted)
    loss.legend(
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        borderaxespad=0.1,
    )
    return figure


def confusion_matrix(
    confusion: Integers, classes: Sequence[str], theme: Theme = LIGHT, *, kind: str = "class"
) -> Figure:
    """The (K, K) confusion matrix, coloured by row: the fraction of a true class that got each answer.

    The figure grows with K; counts are written into the cells while they fit, and above 200 classes only
    every second, third, … class is named. The row of a class without pictures is grey. ``kind`` is what the axes
    call a class.
    """
    size = len(classes)
    cell = float(np.interp(size, (2, 5, 10, 30, 60, 120), (1, 0.7, 0.5, 0.32, 0.2, 0.14)))
    side = min(size * cell, 28.0)
    cell = side / size
    font = float(np.clip(0.52 * cell / POINT, 5.5, 10))
    names = [printable(name) for name in classes]
    every = math.ceil(1.15 * font * POINT / cell)

    figure = new_figure(side, side, theme)
    axes = figure.add_axes((0, 0, 1, 1))
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan))
    scale = LinearSegmentedColormap.from_list("share", (theme.paper, theme.blue)).with_extremes(bad=theme.grid)
    # The square root lifts the few mistakes out of the paper's colour.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    mesh = axes.pcolormesh(
        shares, cmap=scale, norm=norm, edgecolors=theme.grid, linewidth=min(0.8, 2 * cell), rasterized=True
    )
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    dress(axes, theme, grid=False)

    digits = max(3, len(str(confusion.max())))
    number = min(10.0, 1.25 * cell / POINT / digits)
    if number >= 6:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            share = math.sqrt(float(shares[row, column]))
            axes.text(
                column + 0.5,
                row + 0.5,
                str(confusion[row, column]),
                ha="center",
                va="center",
                fontsize=number,
                fontweight="bold" if row == column else "normal",
                color=theme.paper if share > 0.55 else theme.ink,
            )

    places = np.arange(0, size, every) + 0.5
    shown = names[::every]
    widest = max(columns(name) for name in shown) * 0.62 * font * POINT
    upright = widest > 0.92 * cell * every
    slanted = upright and 0.7 * cell * every > 1.35 * font * POINT
    axes.set_yticks(places, shown, fontsize=font)
    axes.set_xticks(
        places,
        shown,
        fontsize=font,
        rotation=(45 if slanted else 90) if upright else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    axes.set_ylabel(f"true {kind}", fontsize=10, color=theme.muted, labelpad=8)
    axes.set_xlabel(f"predicted {kind}", fontsize=10, color=theme.muted, labelpad=8)
    heading(axes, "Confusion matrix", theme)

    # A colour bar of fixed size in inches, whatever the number of classes.
    bar = figure.add_axes((1 + 0.25 / side, 0, 0.12 / side, 1))
    key = figure.colorbar(mesh, cax=bar, ticks=[0, 0.05, 0.25, 0.5, 1], format=PercentFormatter(1, 0, " %"))
    key.outline.set_visible(False)
    dress(bar, theme, grid=False)
    bar.set_ylabel(f"of the true {kind}", fontsize=9, color=theme.muted)
    return figure


def reliability_diagram(evaluation: Evaluation, theme: Theme = LIGHT) -> Figure:
    """Accuracy against confidence in 15 bins, above the number of pictures (Guo et al. 2017, figure 1)."""
    figure = new_figure(5.2, 5.4, theme, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    bins = [one for one in evaluation.reliability if one.images]
    width = 1 / len(evaluation.reliability)
    above.plot((0, 1), (0, 1), color=theme.muted, linewidth=1.1, linestyle=(0, (4, 2)), label="perfectly calibrated")
    above.bar(
        [one.lower for one in bins],
        [one.accuracy or 0.0 for one in bins],
        width=width,
        align="edge",
        color=theme.blue,
        edgecolor=theme.paper,
        linewidth=1.2,
        label="accuracy",
    )
    places = [one.confidence or 0.0 for one in bins]
    heights = [one.accuracy or 0.0 for one in bins]
    above.vlines(places, heights, places, color=theme.orange, linewidth=2.2, label="gap to accuracy", zorder=3)
    above.plot(places, heights, linestyle="none", marker="o", markersize=5, color=theme.orange, clip_on=False)
    below.bar(
        [one.lower for one in bins],
        [one.images for one in bins],
        width=width,
        align="edge",
        color=theme.muted,
        edgecolor=theme.paper,
        linewidth=1.2,
    )
    for axes in (above, below):
        dress(axes, theme)
        axes.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    below.xaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    below.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    above.set_ylabel("accuracy", fontsize=9, color=theme.muted)
    below.set_ylabel("pictures", fontsize=9, color=theme.muted)
    below.set_xlabel("confidence", fontsize=9, color=theme.muted)
    heading(above, "Reliability", theme)
    above.set_title(
        f"expected calibration error {100 * evaluation.ece:.1f} %",
        loc="right",
        fontsize=9,
        color=theme.muted,
        pad=10,
    )
    above.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc="upper left")
    return figure
