"""The picture of a detector's export: what the file finds beside what the model finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mobilenets.drawing.export import MOST_CLASSES, changes_by_class, draw_changes
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.style import LIGHT, dress, heading, label, legend, new_figure, printable, save, signed
from mobilenets.measure.paired import DetectionPair
from mobilenets.runtime.labels import Labels

LETTERS = 11

Scores = npt.NDArray[np.float32]


def draw_export(
    pair: DetectionPair, ours: Scores, theirs: Scores, tolerance: float, labels: Labels | None, path: Path
) -> None:
    """Write the picture as PNG or SVG, by readable names; see ``export_figure``."""
    classes = pair.reference.classes
    shown = classes if labels is None else labels.shown(classes, drawable)
    save(export_figure(pair, ours, theirs, tolerance, shown), path)


def export_figure(
    pair: DetectionPair, ours: Scores, theirs: Scores, tolerance: float, classes: Sequence[str]
) -> Figure:
    """Draw what an export changed.

    Left a dot for each box that both found, by the score that the model (``ours``) and the file (``theirs``) give it;
    right the change of AP of the classes that changed most, at most 12. ``classes`` are the names to show, in order.
    """
    figure = new_figure(8.6, 4.4, LIGHT, layout="constrained")
    left, right = figure.subplots(1, 2)
    dress(left, LIGHT, f"Score of {len(ours)} boxes")
    left.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    left.plot((0, 1), (0, 1), color=LIGHT.muted, linewidth=1, linestyle=(0, (4, 2)))
    left.scatter(ours, theirs, 16, LIGHT.blue, clip_on=False, zorder=3, edgecolor="none")
    left.set_xlim(0, 1)
    left.set_ylim(0, 1)
    label(left, LIGHT, "the model", "the exported file", LETTERS)
    changes = changes_by_class(pair, [printable(name, 18) for name in classes], "ap")
    most = sorted(changes, key=lambda one: -abs(one[0]))[:MOST_CLASSES]
    dress(right, LIGHT, grid=False)
    draw_changes(right, sorted(most, key=lambda one: one[0]))
    ap, change = 100 * pair.candidate.ap, 100 * pair.ap_change
    heading(right, "No box to find" if math.isnan(ap) else f"AP {ap:.1f} % ({signed(change)} points)", LIGHT)
    right.axvline(-tolerance, color=LIGHT.orange, linewidth=1.5, linestyle=(0, (4, 2)), label="allowed on average")
    label(right, LIGHT, "points of AP by class" if changes else "no class changed", size=LETTERS)
    legend(right, LIGHT, fontsize=9, loc="lower right")
    return figure
