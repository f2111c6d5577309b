"""The picture of a benchmark: latency of each way to run a model, and its throughput by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from mobilenets.drawing.style import LIGHT, dress, legend, new_figure, printable

Row = dict[str, Any]
BAR = 0.56


def benchmark_figure(rows: Sequence[Row]) -> Figure:
    """Latency at the smallest batch as bars, p95 as a mark; beside it pictures a second by batch, where there are more.

    ``rows`` are those of ``benchmark``. Each runtime has one colour in both.
    """
    batches = sorted({row["batch"] for row in rows})
    first = [row for row in rows if row["batch"] == batches[0]]
    shades = (LIGHT.blue, LIGHT.orange, LIGHT.green, LIGHT.purple, LIGHT.sky)
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    colors = {name: shades[number % len(shades)] for number, name in enumerate(runtimes)}
    height = 1.3 + 0.42 * max(len(first), 3)
    several = len(batches) > 1
    figure = new_figure(12.5 if several else 7.5, height, LIGHT, layout="constrained")
    parts = figure.add_gridspec(1, 2 if several else 1, wspace=0.08)
    _draw_latency(figure.add_subplot(parts[0]), first, colors)
    if several:
        _draw_throughput(figure.add_subplot(parts[1]), rows, first, colors)
    machine = rows[0]["machine"]
    words = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    figure.supxlabel(printable(words, 110), fontsize=8, color=LIGHT.muted)
    return figure


def _draw_latency(axes: Axes, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    places = range(len(rows))
    axes.barh(places, [row["p50_ms"] for row in rows], BAR, color=[colors[row["runtime"]] for row in rows])
    most = max(row["p95_ms"] for row in rows)
    for place, row in zip(places, rows, strict=True):
        axes.plot([row["p95_ms"]] * 2, [place - BAR / 2, place + BAR / 2], color=LIGHT.ink, linewidth=1.6)
        words = f"{_figure(row['p50_ms'])} (p95 {_figure(row['p95_ms'])})"
        axes.text(row["p95_ms"] + 0.015 * most, place, words, fontsize=9, color=LIGHT.ink, va="center")
    axes.set_xlim(0, 1.45 * most)
    axes.set_yticks(list(places), _names(rows))
    axes.invert_yaxis()
    title = f"Latency at batch {rows[0]['batch']}: median and p95"
    dress(axes, LIGHT, title, "milliseconds a run", grid=False)
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)


def _draw_throughput(axes: Axes, rows: Sequence[Row], first: Sequence[Row], colors: Mapping[str, str]) -> None:
    for row, name in zip(first, _names(first), strict=True):
        own = sorted((other for other in rows if _key(other) == _key(row)), key=lambda one: int(one["batch"]))
        # Models and numbers of threads in one runtime are told apart by their marks.
        number = [_key(one) for one in first if one["runtime"] == row["runtime"]].index(_key(row))
        axes.plot(
            [one["batch"] for one in own],
            [one["images_per_second"] for one in own],
            color=colors[row["runtime"]],
            marker="os^DvPX*"[number % 8],
            linestyle=("-", "--", ":", "-.")[number % 4],
            linewidth=1.7,
            label=name.replace("\n", " "),
        )
    batches = sorted({row["batch"] for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(0, 1.1 * max(row["images_per_second"] for row in rows))
    dress(axes, LIGHT, "Pictures per second by batch size", "batch size (pictures)")
    legend(axes, LIGHT, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, handlelength=3)


def _key(row: Row) -> tuple[Any, ...]:
    return row["model"], row["runtime"], row["threads"]


def _names(rows: Sequence[Row]) -> list[str]:
    """Name each way by what differs: the model where there are several, runtime, precision and threads."""
    several = len({row["model"] for row in rows}) > 1
    threads = len({row["threads"] for row in rows}) > 1
    names = []
    for row in rows:
        name = f"{row['runtime']} {row['precision'] or ''}".strip()
        if threads:
            name += f", {row['threads']} thread{'s' * (row['threads'] > 1)}"
        model = Path(row["model"]).resolve()
        names.append(f"{printable(model.name, 28)}\n{name}" if several else name)
    return names


def _figure(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"
