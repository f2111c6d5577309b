"""The picture of ``shrink``: accuracy against time, with intervals, and the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from mobilenets.drawing.style import LIGHT, dress, legend, new_figure, printable

Row = Mapping[str, Any]
# How a point came to be, as words, with its mark.
KINDS = {
    "run": ("the run, and it at smaller sizes", "o"),
    "cut": ("the run, cut", "s"),
    "pruned": ("the run, pruned by time", "D"),
    "anew": ("another network, or width, trained anew", "^"),
    "taught": ("taught by the run", "P"),
}
NAMED = 8


def front_figure(result: Mapping[str, Any]) -> Figure:
    """Draw accuracy with its 95 % intervals against milliseconds, of the ``points`` of ``shrink``.

    int8 is hollow. The line goes through the ``front``; the ``control`` and what was ``chosen`` are ringed.
    """
    figure = new_figure(9.5, 6.0, LIGHT, layout="constrained")
    axes = figure.add_subplot()
    points = result["points"]
    colors = dict(zip(KINDS, (LIGHT.blue, LIGHT.green, LIGHT.purple, LIGHT.orange, LIGHT.sky), strict=True))
    seen = set[str]()
    for point in points:
        _draw_point(axes, point, colors, seen)
    _draw_line(axes, points, result["front"])
    _ring(axes, points, result)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:.2g}") if _narrow(points) else NullFormatter()
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    where = "on the device, in part estimated" if result.get("device") else "measured here in ONNX Runtime"
    threads = result["threads"]
    title = f"Top-1 on {result['images']} pictures that nothing was chosen on, with 95 % intervals"
    dress(axes, LIGHT, title, f"milliseconds a picture, {where}, {threads} thread{'s' * (threads > 1)}")
    legend(axes, LIGHT, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, fontsize=8)
    return figure


def kind_of(point: Row) -> str:
    """Say which of ``KINDS`` a point is."""
    candidate = point["candidate"]
    return "taught" if candidate["taught"] else str(candidate["how"])


def _draw_point(axes: Axes, point: Row, colors: Mapping[str, str], seen: set[str]) -> None:
    kind, hollow = kind_of(point), point["precision"] != "float32"
    words, mark = KINDS[kind]
    low, high = point["top1_interval"]
    axes.plot([point["ms"]] * 2, [low, high], color=colors[kind], linewidth=0.9, alpha=0.45)
    axes.plot(
        point["ms"],
        point["top1"],
        mark,
        markersize=6,
        color=colors[kind],
        markerfacecolor=LIGHT.paper if hollow else colors[kind],
        linestyle="none",
        label=None if kind in seen or hollow else words,
    )
    if not hollow:
        seen.add(kind)


def _draw_line(axes: Axes, points: Sequence[Row], names: Sequence[str]) -> None:
    on_it = sorted((point for point in points if point["name"] in names), key=lambda one: float(one["ms"]))
    axes.plot(
        [point["ms"] for point in on_it],
        [point["top1"] for point in on_it],
        drawstyle="steps-post",
        color=LIGHT.muted,
        linewidth=1.2,
        zorder=0,
        label="the front; hollow: int8",
    )
    for point in on_it[-NAMED:]:
        axes.annotate(
            printable(point["name"]),
            (point["ms"], point["top1"]),
            xytext=(4, 6),
            textcoords="offset points",
            fontsize=7,
            color=LIGHT.ink,
        )


def _ring(axes: Axes, points: Sequence[Row], result: Mapping[str, Any]) -> None:
    chosen = None if result.get("chosen") is None else result["chosen"]["name"]
    named = {"chosen": (chosen, LIGHT.ink), "the plain narrower network": (result.get("control"), LIGHT.orange)}
    for words, (name, color) in named.items():
        for point in points:
            if point["name"] == name:
                axes.plot(
                    point["ms"],
                    point["top1"],
                    "o",
                    markersize=13,
                    markerfacecolor="none",
                    color=color,
                    linestyle="none",
                    label=words,
                )


def _narrow(points: Sequence[Row]) -> bool:
    """Whether all times lie within a factor of 10, so that the powers of 10 alone would say little."""
    times = [point["ms"] for point in points]
    return bool(max(times) < 10 * min(times))
