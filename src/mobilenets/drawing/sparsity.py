"""The picture of sparse weights: how many each layer keeps, and how many are 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mobilenets.drawing.style import LIGHT, Theme, count, dress, heading, label, legend, new_figure, printable, save


def draw_sparsity(layers: Mapping[str, Sequence[int]], path: Path) -> None:
    """Write the picture as PNG or SVG; see ``sparsity_figure``."""
    save(sparsity_figure(layers), path)


def sparsity_figure(layers: Mapping[str, Sequence[int]], theme: Theme = LIGHT) -> Figure:
    """Draw a bar a layer, from the input down: ``layers`` has the weights of each, and how many of them are 0."""
    figure = new_figure(8, 1.6 + 0.2 * len(layers), theme, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(layers))
    left = [weights - zeros for weights, zeros in layers.values()]
    zero = [zeros for _, zeros in layers.values()]
    axes.barh(places, left, color=theme.blue, label="learned")
    axes.barh(places, zero, left=left, color=theme.muted, alpha=0.35, label="0")
    axes.set_yticks(places, [printable(name.removeprefix("body."), 40) for name in layers])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    dress(axes, theme, grid=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    label(axes, theme, x="weights")
    heading(axes, f"{sum(zero) / max(1, sum(zero) + sum(left)):.1%} of these weights are 0".replace("%", " %"), theme)
    legend(axes, theme)
    return figure
