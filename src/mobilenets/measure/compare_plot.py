"""The chart of a comparison: accuracy against latency where it is known, else latency against multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from mobilenets.measure.style import LIGHT, Theme, dress, heading, new_figure, printable, save

Row = dict[str, Any]
TITLES: dict[str, str] = {
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v1_cifar": "V1 for CIFAR",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "plain": "plain 3×3",
}


def draw_comparison(result: Row, path: Path) -> None:
    """Write the chart as PNG or SVG; see ``comparison``."""
    save(comparison(result), path)


def comparison(result: Row, theme: Theme = LIGHT) -> Figure:
    """Draw the object of ``compare --json``: a point a network and runtime, its name beside it."""
    rows = result["networks"]
    known = [row for row in rows if row["top1"] is not None]
    shown = known or rows
    figure = new_figure(9, 5.6, theme, layout="constrained")
    axes = figure.add_subplot()
    points = []
    for key, name, color in (("latency_ms", "PyTorch", theme.orange), ("onnxruntime_ms", "ONNX Runtime", theme.blue)):
        own = [row for row in shown if row[key] is not None]
        if not own:
            continue
        if known:
            xs, ys = [row[key] for row in own], [row["top1"] for row in own]
            spread = [[abs(row["top1"] - row["top1_interval"][side]) for row in own] for side in (0, 1)]
            axes.errorbar(xs, ys, spread, fmt="none", ecolor=color, elinewidth=1.1, capsize=3, alpha=0.7)
        else:
            xs, ys = [row["macs"] for row in own], [row[key] for row in own]
        axes.scatter(xs, ys, 60, color=color, edgecolor=theme.paper, linewidth=1.0, label=name, zorder=3)
        points += [(x, y, row) for x, y, row in zip(xs, ys, own, strict=True)]
    axes.set_xscale("log")
    dress(axes, theme)
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    if known:
        axes.set_xlabel("milliseconds a picture", color=theme.muted, fontsize=9)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        _plain_ticks(axes.xaxis, lambda value, _: f"{value:g}")
        heading(axes, "Top-1 with its 95 % interval, against latency", theme)
    else:
        axes.set_yscale("log")
        axes.set_xlabel("multiply-accumulates a picture", color=theme.muted, fontsize=9)
        axes.set_ylabel("milliseconds a picture", color=theme.muted, fontsize=9)
        _plain_ticks(axes.xaxis, lambda value, _: f"{value / 1e9:g} G" if value >= 1e9 else f"{value / 1e6:g} M")
        _plain_ticks(axes.yaxis, lambda value, _: f"{value:g}")
        heading(axes, "Latency against multiply-accumulates", theme)
    axes.margins(x=0.14, y=0.12)
    machine = result["machine"]
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    words = f"{machine['processor']}, {threads}, one picture a run"
    figure.supxlabel(printable(words, 110), fontsize=8, color=theme.muted)
    axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc="lower right" if not known else "best")
    figure.draw_without_rendering()  # sets the places of the axes
    _name_points(axes, points, theme)
    return figure


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


def _name_points(axes: Axes, points: Sequence[tuple[float, float, Row]], theme: Theme) -> None:
    """Write names beside points, each at the first of a few places where nothing else stands."""
    taken = [
        Bbox.from_extents(x - 9, y - 9, x + 9, y + 9)
        for x, y in (axes.transData.transform((point[0], point[1])) for point in points)
    ]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    frame = axes.get_window_extent()
    places = [
        (x, y, side)
        for far in (0, 14, 28, 42)
        for x, y, side in ((9, far, "left"), (-9, far, "right"), (9, -far, "left"), (-9, -far, "right"))
    ]
    for x, y, row in points:
        for right, up, side in places:
            text = axes.annotate(
                title(row),
                (x, y),
                (right, up),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8.5,
                color=theme.ink,
                arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6} if up else None,
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
