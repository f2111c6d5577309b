"""The chart of a comparison: accuracy against latency where it is known, else latency against multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from mobilenets.drawing.style import LIGHT, dress, heading, label, legend, new_figure, printable
from mobilenets.models.catalog import CATALOG

Row = dict[str, Any]
LETTERS = 10.5  # points
WIDE = 12  # from the fastest to the slowest, the ratio above which a logarithmic axis is easier to read
TITLES: dict[str, str] = {name: entry.title for name, entry in CATALOG.items()} | {
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "plain": "plain 3×3",
}


def comparison(result: Row) -> Figure:
    """Draw the object of ``compare --json``: a point a network and runtime, its name beside it."""
    rows = result["networks"]
    known = [row for row in rows if row["top1"] is not None]
    shown = known or rows
    figure = new_figure(9, 5.6, LIGHT, layout="constrained")
    axes = figure.add_subplot()
    points = []
    for key, name, color in (("latency_ms", "PyTorch", LIGHT.orange), ("onnxruntime_ms", "ONNX Runtime", LIGHT.blue)):
        own = [row for row in shown if row[key] is not None]
        if not own:
            continue
        if known:
            xs, ys = [row[key] for row in own], [100 * row["top1"] for row in own]
            spread = [[100 * abs(row["top1"] - row["top1_interval"][side]) for row in own] for side in (0, 1)]
            axes.errorbar(xs, ys, spread, fmt="none", ecolor=color, elinewidth=1.1, capsize=3, alpha=0.7)
        else:
            xs, ys = [row["macs"] for row in own], [row[key] for row in own]
        axes.scatter(xs, ys, 60, color=color, edgecolor=LIGHT.paper, linewidth=1.0, label=name, zorder=3)
        points += [(x, y, row) for x, y, row in zip(xs, ys, own, strict=True)]
    dress(axes, LIGHT)
    axes.tick_params(labelsize=LETTERS)
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    across = [point[0] for point in points]
    log_scale = not known or max(across) > WIDE * min(across)
    axes.margins(x=0.14, y=0.12)
    if known:
        label(axes, LIGHT, "milliseconds per picture", "top-1, with its 95 % interval", LETTERS)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_formatter("{x:.0f} %")
        heading(axes, "Accuracy and speed", LIGHT)
    else:
        axes.set_yscale("log")
        label(axes, LIGHT, "multiply-accumulates per picture", "milliseconds per picture", LETTERS)
        _plain_ticks(axes.yaxis, lambda value, _: f"{value:g}")
        heading(axes, "Speed and computation", LIGHT)
    if log_scale:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis, _counted if not known else lambda value, _: f"{value:g}")
    else:
        axes.set_xlim(0, 1.25 * max(across))
    machine = result["machine"]
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    words = f"{machine['processor']}, {threads}, one picture at a time"
    figure.supxlabel(printable(words, 110), fontsize=9, color=LIGHT.muted)
    legend(axes, LIGHT, fontsize=LETTERS, loc="best" if known else "lower right")
    figure.draw_without_rendering()  # sets the places of the axes
    _name_points(axes, points)
    return figure


def _counted(value: float, _: int) -> str:
    return f"{value / 1e9:g} billion" if value >= 1e9 else f"{value / 1e6:g} million"


def _plain_ticks(axis: Any, words: Any) -> None:
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(words))
    axis.set_minor_formatter(NullFormatter())


def title(row: Row) -> str:
    """Name a network: that of a run by its folder."""
    if row["run"] is not None:
        return printable(Path(row["run"]).resolve().name, 28)
    name = TITLES[row["name"]]
    return f"{name} {row['width']}" if row["name"].startswith("mobilenet") else name


def _name_points(axes: Axes, points: Sequence[tuple[float, float, Row]]) -> None:
    """Write names beside points, each at the first of a few places where nothing else stands."""
    taken = [
        Bbox.from_extents(x - 9, y - 9, x + 9, y + 9)
        for x, y in (axes.transData.transform((point[0], point[1])) for point in points)
    ]
    # The lines of the intervals, so that no name stands on one.
    for x, _, row in points:
        if row["top1"] is not None:
            ends = [axes.transData.transform((x, 100 * end)) for end in row["top1_interval"]]
            taken.append(Bbox.from_extents(ends[0][0] - 4, ends[0][1], ends[0][0] + 4, ends[1][1]))
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    frame = axes.get_window_extent()
    places = [
        (x, y, side)
        for far in (0, 14, 28, 42, 56)
        for x, y, side in ((9, far, "left"), (-9, far, "right"), (9, -far, "left"), (-9, -far, "right"))
    ]
    # From the highest down, so that what is in the way is known.
    for x, y, row in sorted(points, key=lambda point: -point[1]):
        for right, up, side in places:
            text = axes.annotate(
                title(row),
                (x, y),
                (right, up),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=LETTERS - 0.5,
                color=LIGHT.ink,
                arrowprops={"arrowstyle": "-", "color": LIGHT.muted, "linewidth": 0.6} if up else None,
            )
            text.get_window_extent()  # sets its place
            # Of the words alone, without the line to the point.
            box = Text.get_window_extent(text)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 + 60 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            last = (right, up, side) == places[-1]
            if last or (inside and not any(box.overlaps(other) for other in taken)):
                taken.append(box)
                break
            text.remove()
