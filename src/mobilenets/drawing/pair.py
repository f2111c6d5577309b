"""The picture of two models on the same pictures: by how much the second differs, and who has which right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mobilenets.drawing.style import LIGHT, dress, legend, new_figure, printable, signed

LETTERS = 11


def pair_figure(result: Mapping[str, Any]) -> Figure:
    """Draw the object of ``compare --json`` of two models.

    Above the difference of their top-1 with its 95 % interval, and as a band what so many pictures cannot tell; below
    how many pictures both, only the one, only the other and neither have right.
    """
    figure = new_figure(7.6, 4.2, LIGHT, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1.5, 1.0))
    # The ends of long paths tell them apart.
    names = [printable(_short(one["model"]), 28) for one in result["models"]]
    _change(upper, result, names)
    _counts(lower, result, names)
    return figure


def _change(axes: Axes, result: Mapping[str, Any], names: list[str]) -> None:
    change, (low, high) = 100 * result["change"], (100 * end for end in result["change_interval"])
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    least = result["smallest_difference"]
    if least is not None:
        axes.axvspan(-100 * least, 100 * least, color=LIGHT.grid, zorder=0)
    axes.axvline(0, color=LIGHT.muted, linewidth=1)
    color = {"second": LIGHT.green, "first": LIGHT.orange, None: LIGHT.blue}[result["better"]]
    axes.errorbar(
        [change],
        [0],
        xerr=[[change - low], [high - change]],
        fmt="o",
        markersize=9,
        color=color,
        capsize=7,
        linewidth=2,
    )
    axes.annotate(
        f"{signed(change)}   ({signed(low)} to {signed(high)})",
        (change, 0),
        (0, 14),
        textcoords="offset points",
        ha="center",
        fontsize=LETTERS,
        color=LIGHT.ink,
    )
    reach = 1.25 * max(abs(low), abs(high), 0.5, 0 if least is None else 100 * least)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, 6))
    told = f"in grey: what {result['images']} pictures cannot tell (80 % power)" if least is not None else ""
    under = f"points of top-1: left {names[0]} is better, right {names[1]}\n{told}".rstrip()
    dress(axes, LIGHT, _title(result, names), under, grid=False)


def _title(result: Mapping[str, Any], names: list[str]) -> str:
    sure = f"p = {result['p_value']:.2g}, {result['images']} pictures"
    if result["better"] is None:
        return f"No difference can be told ({sure})"
    return f"{names[1] if result['better'] == 'second' else names[0]} is better ({sure})"


def _counts(axes: Axes, result: Mapping[str, Any], names: list[str]) -> None:
    parts = (
        ("both", result["both_right"], LIGHT.sky),
        (f"only {names[0]}", result["only_first_right"], LIGHT.orange),
        (f"only {names[1]}", result["only_second_right"], LIGHT.green),
        ("neither", result["neither_right"], LIGHT.input),
    )
    dress(axes, LIGHT, "Right answers, pictures", grid=False)
    left = 0
    for name, number, color in parts:
        axes.barh([0], [number], 0.6, left=left, color=color, label=f"{number} {name}")
        left += number
    axes.set_xlim(0, left)
    axes.set_xticks([])
    axes.set_yticks([])
    legend(axes, LIGHT, fontsize=LETTERS - 1, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4)


def _short(model: str) -> str:
    parts = Path(model).parts
    return "/".join(parts[-2:]) if len(parts) > 1 and len("/".join(parts[-2:])) <= 28 else Path(model).name
