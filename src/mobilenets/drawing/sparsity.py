"""The picture of sparse weights: how many each layer keeps, and how many are 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mobilenets.drawing.style import LIGHT, count, dress, legend, new_figure, printable


def sparsity_figure(layers: Mapping[str, Sequence[int]]) -> Figure:
    """Draw a bar a layer, from the input down: ``layers`` has the weights of each, and how many of them are 0."""
    figure = new_figure(8, 1.6 + 0.2 * len(layers), LIGHT, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(layers))
    left = [weights - zeros for weights, zeros in layers.values()]
    zero = [zeros for _, zeros in layers.values()]
    axes.barh(places, left, color=LIGHT.blue, label="learned")
    axes.barh(places, zero, left=left, color=LIGHT.muted, alpha=0.35, label="0")
    axes.set_yticks(places, [printable(name.removeprefix("body."), 40) for name in layers])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    share = f"{sum(zero) / max(1, sum(zero) + sum(left)):.1%}".replace("%", " %")
    dress(axes, LIGHT, f"{share} of these weights are 0", "weights", grid=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    legend(axes, LIGHT)
    return figure
