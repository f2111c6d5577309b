"""The confusion matrix of an evaluation, by class and by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.style import LIGHT, Theme, columns, dress, label, new_figure, printable, save
from mobilenets.measure.groups import grouped
from mobilenets.measure.metrics import Evaluation, Integers
from mobilenets.runtime.labels import Labels

POINT = 1 / 72  # inches


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
    dress(axes, theme, "Confusion matrix", grid=False)
    _write_counts(axes, confusion, shares, cell, theme)
    _name_classes(axes, [printable(name) for name in classes], cell)
    label(axes, theme, f"predicted {kind}", f"true {kind}", 10)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 8

    # A colour bar of fixed size in inches, whatever the number of classes.
    bar = figure.add_axes((1 + 0.25 / side, 0, 0.12 / side, 1))
    key = figure.colorbar(mesh, cax=bar, ticks=[0, 0.05, 0.25, 0.5, 1], format=PercentFormatter(1, 0, " %"))
    key.outline.set_visible(False)
    dress(bar, theme, y=f"of the true {kind}", grid=False)
    return figure


def _write_counts(axes: Axes, confusion: Integers, shares: Any, cell: float, theme: Theme) -> None:
    """Write the numbers into the cells, of ``cell`` inches, where they can be read."""
    digits = max(3, len(str(confusion.max())))
    number = min(10.0, 1.25 * cell / POINT / digits)
    if number < 6:
        return
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


def _name_classes(axes: Axes, names: Sequence[str], cell: float) -> None:
    """Name every class, or every second, third, … where names would overlap."""
    font = float(np.clip(0.52 * cell / POINT, 5.5, 10))
    every = math.ceil(1.15 * font * POINT / cell)
    places = np.arange(0, len(names), every) + 0.5
    named = names[::every]
    widest = max(columns(name) for name in named) * 0.62 * font * POINT
    upright = widest > 0.92 * cell * every
    slanted = upright and 0.7 * cell * every > 1.35 * font * POINT
    axes.set_yticks(places, named, fontsize=font)
    axes.set_xticks(
        places,
        named,
        fontsize=font,
        rotation=(45 if slanted else 90) if upright else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
