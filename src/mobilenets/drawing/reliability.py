"""The reliability diagram: is a model right as often as it says?"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mobilenets.drawing.style import LIGHT, Theme, dress, legend, new_figure, side_note
from mobilenets.measure.metrics import Evaluation


def reliability_diagram(evaluation: Evaluation, theme: Theme = LIGHT, title: str = "Reliability") -> Figure:
    """Accuracy against confidence in 15 bins, above the number of pictures (Guo et al. 2017, figure 1)."""
    figure = new_figure(5.2, 5.4, theme, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    bins = [one for one in evaluation.reliability if one.images]
    above.plot((0, 1), (0, 1), color=theme.muted, linewidth=1.1, linestyle=(0, (4, 2)), label="perfectly calibrated")
    left, heights = [one.lower for one in bins], [one.accuracy or 0.0 for one in bins]
    edges = {"width": 1 / len(evaluation.reliability), "align": "edge", "edgecolor": theme.paper, "linewidth": 1.2}
    above.bar(left, heights, color=theme.blue, label="accuracy", **edges)
    places = [one.confidence or 0.0 for one in bins]
    above.vlines(places, heights, places, color=theme.orange, linewidth=2.2, label="gap to accuracy", zorder=3)
    above.plot(places, heights, linestyle="none", marker="o", markersize=5, color=theme.orange, clip_on=False)
    below.bar(left, [one.images for one in bins], color=theme.muted, **edges)
    dress(above, theme, title, y="accuracy")
    dress(below, theme, x="confidence", y="pictures")
    below.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    below.xaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    below.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    side_note(above, f"expected calibration error {100 * evaluation.ece:.1f} %", theme.muted)
    legend(above, theme, loc="upper left")
    return figure
