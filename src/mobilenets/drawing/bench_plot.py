"""The picture of a benchmark: latency of each way to run a model, and its throughput by batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from mobilenets.drawing.style import LIGHT, Theme, dress, heading, new_figure, printable, save

Row = dict[str, Any]
BAR = 0.56


def draw_benchmark(rows: Sequence[Row], path: Path) -> None:
    """Write the picture as PNG or SVG; see ``benchmark_figure``."""
    save(benchmark_figure(rows), path)


def benchmark_figure(rows: Sequence[Row], theme: Theme = LIGHT) -> Figure:
    """Latency at the smallest batch as bars, p95 as a mark; beside it pictures a second by batch, where there are more.

    ``rows`` are those of ``benchmark``. Each runtime has one colour in both.
    """
    batches = sorted({row["batch"] for row in rows})
    first = [row for row in rows if row["batch"] == batches[0]]
    names = _names(first)
    shades = (theme.blue, theme.orange, theme.green, theme.purple, theme.sky)
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    colors = {name: shades[number % len(shades)] for number, name in enumerate(runtimes)}

    height = 1.3 + 0.42 * max(len(first), 3)
    figure = new_figure(12.5 if len(batches) > 1 else 7.5, height, theme, layout="constrained")
    parts = figure.add_gridspec(1, 2 if len(batches) > 1 else 1, wspace=0.08)
    axes = figure.add_subplot(parts[0])
    places = range(len(first))
    axes.barh(places, [row["p50_ms"] for row in first], BAR, color=[colors[row["runtime"]] for row in first])
    most = max(row["p95_ms"] for row in first)
    for place, row in zip(places, first, strict=True):
        axes.plot([row["p95_ms"]] * 2, [place - BAR / 2, place + BAR / 2], color=theme.ink, linewidth=1.6)
        words = f"{_figure(row['p50_ms'])} (p95 {_figure(row['p95_ms'])})"
        axes.text(row["p95_ms"] + 0.015 * most, place, words, fontsize=9, color=theme.ink, va="center")
    axes.set_xlim(0, 1.45 * most)
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    dress(axes, theme, grid=False)
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    axes.set_xlabel("milliseconds a run", fontsize=9, color=theme.muted)
    heading(axes, f"Latency at batch {batches[0]}: median and p95", theme)

    if len(batches) > 1:
        right = figure.add_subplot(parts[1])
        for row, name in zip(first, names, strict=True):
            own = [other for other in rows if _key(other) == _key(row)]
            own.sort(key=lambda one: int(one["batch"]))
            # Models and numbers of threads in one runtime are told apart by their marks.
            number = [_key(one) for one in first if one["runtime"] == row["runtime"]].index(_key(row))
            right.plot(
                [one["batch"] for one in own],
                [one["images_per_second"] for one in own],
                color=colors[row["runtime"]],
                marker="os^DvPX*"[number % 8],
                linestyle=("-", "--", ":", "-.")[number % 4],
                linewidth=1.7,
                label=name.replace("\n", " "),
            )
        right.set_xscale("log")
        right.set_xticks(batches, [str(batch) for batch in batches])
        right.xaxis.set_minor_formatter(NullFormatter())
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        right.set_ylim(0, 1.1 * max(row["images_per_second"] for row in rows))
        dress(right, theme)
        right.set_xlabel("batch size (pictures)", fontsize=9, color=theme.muted)
        heading(right, "Pictures per second by batch size", theme)
        right.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, labelcolor=theme.ink, handlelength=3
        )
    machine = rows[0]["machine"]
    words = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    figure.supxlabel(printable(words, 110), fontsize=8, color=theme.muted)
    return figure


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
