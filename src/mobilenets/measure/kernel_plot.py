"""The kernels of one layer as a picture, the dead ones marked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mobilenets.measure.kernels import Floats, Weak
from mobilenets.measure.style import LIGHT, Theme, heading, new_figure, printable, save

MOST = 1024


def draw_kernels(name: str, weight: Floats, weak: Weak, path: Path) -> None:
    """Write the picture as PNG or SVG; see ``kernels_figure``."""
    save(kernels_figure(name, weight, weak), path)


def kernels_figure(name: str, weight: Floats, weak: Weak, theme: Theme = LIGHT) -> Figure:
    """Draw depthwise kernels O×1×k×k, the first 1,024 at most, in the order of their channels.

    Blue is negative, orange positive, white 0; each is as strong as the root of its share of the layer's strongest
    hundredth. Dead kernels have a frame, near-dead ones a thin one.
    """
    kernels = weight[:MOST, 0]
    side = kernels.shape[-1]
    across = max(8, math.ceil(math.sqrt(len(kernels) * 1.8)))
    down = math.ceil(len(kernels) / across)
    cell = side + 1
    sheet = np.full((down * cell + 1, across * cell + 1), np.nan)
    for number, kernel in enumerate(kernels):
        top, left = (1 + cell * place for place in divmod(number, across))
        sheet[top : top + side, left : left + side] = kernel
    unit = 11 / sheet.shape[1]
    figure = new_figure(11, unit * sheet.shape[0] + 0.9, theme)
    whole = unit * sheet.shape[0] + 0.9
    axes = figure.add_axes((0, 0.35 / whole, 1, unit * sheet.shape[0] / whole))
    limit = max(float(np.quantile(np.abs(kernels), 0.99)), 1e-12)
    scale = LinearSegmentedColormap.from_list("kernels", [theme.blue, theme.paper, theme.orange])
    colors = scale.with_extremes(bad=theme.grid)
    # By the root of the values: what is weak is still told from what is nothing.
    axes.imshow(
        np.sign(sheet) * np.sqrt(np.abs(sheet) / limit),
        cmap=colors,
        vmin=-1,
        vmax=1,
        interpolation="nearest",
        aspect="auto",
    )
    axes.axis("off")
    for flags, line in ((weak.dead, 2.0), (weak.near_dead, 0.8)):
        for number in np.flatnonzero(flags[:MOST]).tolist():
            top, left = (cell * place for place in divmod(number, across))
            place, inner = (left + 0.2, top + 0.2), side + 0.6
            axes.add_patch(Rectangle(place, inner, inner, fill=False, edgecolor=theme.ink, linewidth=line))
    total = len(weight)
    words = (
        f"{printable(name, 60)}: {int(weak.dead.sum())} of {total} kernels dead, {int(weak.near_dead.sum())} near dead"
    )
    heading(axes, words, theme)
    shown = f"; the first {MOST} are shown" if total > MOST else ""
    legend = (
        "Frame: dead, norm below 1 % of the layer's usual. Thin frame: near dead, below 10 %. BatchNorm is folded in"
    )
    figure.text(0, 0.06 / whole, f"{legend}{shown}.", fontsize=9, color=theme.muted)
    return figure
