"""The picture of an export: what the file answers beside what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.style import LIGHT, dress, heading, legend, new_figure, printable, save, signed
from mobilenets.measure.paired import DetectionPair, Pair
from mobilenets.runtime.labels import Labels

MOST_CLASSES = 12
# Points: large on a small sheet, to be read on a telephone too.
LETTERS = 13


def draw_export(pair: Pair, tolerance: float, labels: Labels | None, path: Path) -> None:
    """Write the picture as PNG or SVG, by readable names; see ``export_figure``."""
    classes = pair.reference.classes
    save(export_figure(pair, tolerance, classes if labels is None else labels.shown(classes, drawable)), path)


def export_figure(pair: Pair, tolerance: float, classes: Sequence[str]) -> Figure:
    """Draw what an export changed.

    Left the change of top-1 with its 95 % interval (or that nothing changed), and the points that may be lost
    as a line; in the middle a dot for each picture, by the probability that the model and the file give its true class;
    right the classes whose top-1 changed, the worst above, at most 12. ``classes`` are the names to show, in order.
    """
    figure = new_figure(9.8, 4.6, LIGHT, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 2.1, 1.1))
    _change(left, pair, tolerance)
    _pictures(middle, pair)
    _by_class(right, pair, [printable(name, 18) for name in classes])
    for axes in (left, middle, right):
        axes.tick_params(labelsize=LETTERS - 1, pad=8)
        axes.xaxis.label.set(fontsize=LETTERS, color=LIGHT.muted)
        axes.yaxis.label.set(fontsize=LETTERS, color=LIGHT.muted)
    return figure


def _change(axes: Axes, pair: Pair, tolerance: float) -> None:
    change, (low, high) = 100 * pair.top1_change, (100 * end for end in pair.top1_change_interval)
    dress(axes, LIGHT)
    axes.axhline(0, color=LIGHT.muted, linewidth=1)
    if tolerance < 100:  # else nothing is refused for it, and the rest would shrink to a line
        label = f"allowed: {signed(-tolerance)}"
        axes.axhline(-tolerance, color=LIGHT.orange, linewidth=1.8, linestyle=(0, (4, 2)), label=label)
    images, (_, lost, gained, _) = sum(pair.table), pair.table
    said = f"{signed(change)}\n({signed(low)} to {signed(high)})"
    if lost == gained == 0:
        said = f"the same answer\non all {images}" if pair.same == images else "the same ones\nright"
    spread = [[change - low], [high - change]] if lost or gained else None
    axes.errorbar([0], [change], spread, fmt="o", markersize=9, color=LIGHT.blue, capsize=7, linewidth=2)
    axes.set_xlim(-1, 1)
    axes.set_xticks([0], [said])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(lambda value, _: signed(value, 3))
    heading(axes, "Top-1, points", LIGHT, LETTERS)
    if tolerance < 100:
        _legend(axes)


def _pictures(axes: Axes, pair: Pair) -> None:
    reference, candidate = pair.reference, pair.candidate
    places = np.arange(len(reference.labels))
    ours, theirs = (one.probabilities[places, one.labels] for one in (reference, candidate))
    before, after = reference.ranks == 0, candidate.ranks == 0
    dress(axes, LIGHT)
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    axes.plot((0, 1), (0, 1), color=LIGHT.muted, linewidth=1, linestyle=(0, (4, 2)))
    for which, name, color, size in (
        (before == after, "same", LIGHT.sky, 16),
        (before & ~after, "lost", LIGHT.orange, 46),
        (~before & after, "gained", LIGHT.green, 46),
    ):
        label = f"{int(which.sum())} {name}"
        edge = LIGHT.paper if size > 16 else "none"
        axes.scatter(ours[which], theirs[which], size, color, label=label, edgecolor=edge, clip_on=False, zorder=3)
    for axis, word in ((axes.xaxis, "the model, %"), (axes.yaxis, "the exported file, %")):
        axis.set_major_formatter(PercentFormatter(1, 0, ""))
        axis.set_major_locator(MultipleLocator(0.25))
        axis.set_label_text(word)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    heading(axes, "Probability of the true class", LIGHT, LETTERS)
    _legend(axes)


def _by_class(axes: Axes, pair: Pair, names: Sequence[str]) -> None:
    changes = changes_by_class(pair, names, "recall")
    shown = changes[:MOST_CLASSES]
    dress(axes, LIGHT, grid=False)
    heading(axes, "By class, points", LIGHT, LETTERS)
    if not shown:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0, 0.97, "no class changed", fontsize=LETTERS, color=LIGHT.muted, transform=axes.transAxes, va="top")
        return
    draw_changes(axes, shown)
    axes.set_xlim(min(0.0, 1.1 * shown[0][0]), max(0.0, 1.1 * shown[-1][0]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, 3))
    if len(changes) > len(shown):
        axes.set_xlabel(f"worst {len(shown)} of {len(changes)}")


def _legend(axes: Axes) -> None:
    close = {"ncols": 3, "handletextpad": 0.3, "columnspacing": 1.0, "handlelength": 1.4}
    legend(axes, LIGHT, fontsize=LETTERS, loc="upper center", bbox_to_anchor=(0.5, -0.17), **close)


def changes_by_class(pair: Pair | DetectionPair, names: Sequence[str], figure: str) -> list[tuple[float, str]]:
    """Give the points by which a figure of each class changed, where it did, with the class's name; the worst first."""
    changes = []
    for name, key in zip(names, pair.reference.classes, strict=True):
        was, now = (getattr(one.per_class[key], figure) for one in (pair.reference, pair.candidate))
        if was is not None and now is not None and was != now:
            changes.append((100 * (now - was), name))
    return sorted(changes, key=lambda one: one[0])


def draw_changes(axes: Axes, changes: Sequence[tuple[float, str]]) -> None:
    """Draw changes of classes as bars from the top down, losses in orange and gains in green."""
    values = [value for value, _ in changes]
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    axes.axvline(0, color=LIGHT.muted, linewidth=1)
    axes.barh(range(len(values)), values, 0.62, color=[LIGHT.orange if value < 0 else LIGHT.green for value in values])
    axes.set_yticks(range(len(values)), [name for _, name in changes])
    axes.set_ylim(max(len(values), 6) - 0.4, -0.6)
