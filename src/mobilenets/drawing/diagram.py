"""A picture of a network: its blocks as boxes, as high as the map is large and as thick as it has channels.

Below them stands the network's table, a column a stage, and what each stage costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from mobilenets.drawing.style import LIGHT, Theme, count, new_figure, printable, save

if TYPE_CHECKING:
    from mobilenets.measure.cost import BlockCost, Cost

TIMES = "\N{MULTIPLICATION SIGN}"

# Everything is laid out in inches, from the bottom up.
GUTTER = 1.15  # the names of the table's rows
COLUMN = 0.84  # the least width of a stage
GAP = 0.09  # between the boxes of a stage
BAR = 0.95  # the highest bar
ROW = 0.27
BOX = 2.7  # the height of the input
DEPTH = (0.2, 0.13)  # how far a box's depth goes right and up, per height


@dataclass(frozen=True)
class Stage:
    """Equal blocks in a row: one column of the picture."""

    blocks: tuple[BlockCost, ...]

    @property
    def first(self) -> BlockCost:
        """The block that sets the stage's stride and channels."""
        return self.blocks[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all its blocks."""
        return sum(block.macs for block in self.blocks)

    @property
    def parameters(self) -> int:
        """Parameters of all its blocks."""
        return sum(block.parameters for block in self.blocks)


def stages(blocks: Sequence[BlockCost]) -> tuple[Stage, ...]:
    """Group neighbours of one kind, one width and one output size, as the papers' tables do."""

    def key(block: BlockCost) -> object:
        return block.kind, block.channels, block.out_size, block.kernel, block.expand

    return tuple(Stage(tuple(group)) for _, group in groupby(blocks, key))


def draw_network(cost: Cost, path: FilePath) -> None:
    """Draw the network to ``path``, PNG or SVG by the suffix."""
    save(network(cost), path)


def network(cost: Cost, theme: Theme = LIGHT) -> Figure:
    """The picture as a matplotlib figure, which grows with the number of stages."""
    parts = stages(cost.blocks)
    shades_of = colors(parts, theme)
    rows = _rows(parts)
    total = max(13.0, GUTTER + (len(parts) + 1) * 0.98)
    scale, widths = _columns(parts, cost.size, total - GUTTER)
    lefts = [GUTTER + sum(widths[:i]) for i in range(len(widths))]

    ground = 2 * (BAR + 0.45) + ROW * len(rows) + 0.25
    top = ground + BOX * (1 + DEPTH[1]) + 0.2
    figure = new_figure(total, top + 0.8, theme)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, total)
    axes.set_ylim(-0.05, top + 0.75)
    axes.axis("off")

    details = f"width {cost.width:g}  ·  {cost.size} {TIMES} {cost.size} pixels  ·  {cost.classes} classes"
    sums = f"{count(cost.parameters)} parameters  ·  {count(cost.macs)} MACs"
    axes.text(0, top + 0.55, printable(cost.name, 60), fontsize=19, fontweight="bold", color=theme.ink)
    axes.text(0, top + 0.24, details, fontsize=11, color=theme.muted)
    axes.text(total, top + 0.55, sums, fontsize=13, color=theme.ink, ha="right", fontweight="bold")
    _legend(axes, shades_of, any(block.residual for block in cost.blocks), total, top + 0.28, theme)

    axes.plot((GUTTER, total), (ground, ground), color=theme.grid, linewidth=1.2, zorder=0)
    [previous] = _box(axes, lefts[0], widths[0], ground, BOX, [scale(3)], theme.input, theme)
    for stage, left, width in zip(parts, lefts[1:], widths[1:], strict=True):
        height = _height(math.prod(stage.first.out_size) ** 0.5, cost.size)
        thick = [scale(block.channels) for block in stage.blocks]
        tops = _box(axes, left, width, ground, height, thick, shades_of[stage.first.kind], theme)
        for block, beside, own in zip(stage.blocks, (previous, *tops), tops, strict=False):
            if block.residual:
                _arc(axes, beside, own, theme)
        previous = tops[-1]

    middles = [left + width / 2 for left, width in zip(lefts, widths, strict=True)]
    start = {"channels": "3", "output": f"{cost.size}²", "blocks": "input"}
    for number, (name, values) in enumerate(rows):
        y = ground - 0.3 - ROW * number
        axes.text(0, y, name, fontsize=10, color=theme.muted, va="center")
        for middle, value in zip(middles, (start.get(name, ""), *values), strict=True):
            bold = "bold" if name == "channels" else "normal"
            axes.text(middle, y, value, fontsize=10, color=theme.ink, ha="center", va="center", fontweight=bold)

    shades = [shades_of[stage.first.kind] for stage in parts]
    base = BAR + 0.45
    _bars(axes, base, "MACs", [stage.macs for stage in parts], middles[1:], shades, theme)
    _bars(axes, 0.0, "parameters", [stage.parameters for stage in parts], middles[1:], shades, theme)
    return figure


def colors(parts: Sequence[Stage], theme: Theme) -> dict[str, str]:
    """A colour for each kind of block, in the order in which they come, by what it does."""
    head = {"pool": theme.muted, "classifier": theme.purple}
    chosen: dict[str, str] = {}
    for stage in parts:
        block = stage.first
        wish = theme.green if block.expand is not None else theme.orange if block.depthwise else theme.blue
        wishes = (head.get(block.kind, wish if block.macs else theme.sky), theme.orange, theme.green, theme.sky)
        free = (color for color in wishes if color not in chosen.values())
        chosen.setdefault(block.kind, next(free, theme.muted))
    return chosen


def _rows(parts: Sequence[Stage]) -> list[tuple[str, list[str]]]:
    """The table below the boxes; a row is there only if it says something."""

    def side(stage: Stage) -> str:
        height, width = stage.first.out_size
        return f"{height}²" if height == width else f"{height}{TIMES}{width}"

    def kernel(stage: Stage) -> str:
        side = stage.first.kernel
        return "" if stage.first.kind in ("pool", "classifier") else f"{side}{TIMES}{side}"

    rows: list[tuple[str, Callable[[Stage], str]]] = [
        ("channels", lambda stage: str(stage.first.channels)),
        ("output", side),
        ("blocks", lambda stage: f"{TIMES}{len(stage.blocks)}"),
        ("kernel", kernel),
        ("stride", lambda stage: str(stage.first.stride) if stage.first.stride > 1 else ""),
        ("expansion", lambda stage: f"{stage.first.expand:.3g}" if stage.first.expand is not None else ""),
    ]
    filled = [(name, [say(stage) for stage in parts]) for name, say in rows]
    return [(name, values) for name, values in filled if any(values)]


def _height(side: float, size: int) -> float:
    """The height of a map of ``side`` pixels: a power that lets 224 and 7 pixels both be seen."""
    return BOX * math.pow(side / size, 0.42)


def _columns(parts: Sequence[Stage], size: int, room: float) -> tuple[Callable[[int], float], list[float]]:
    """The thickness of a box by its channels, as large as ``room`` allows, and the columns' widths."""

    def widths(unit: float) -> list[float]:
        result = [max(COLUMN, unit * math.sqrt(3) + BOX * DEPTH[0] + 0.25)]
        for stage in parts:
            thick = sum(max(0.05, unit * math.sqrt(block.channels)) + GAP for block in stage.blocks)
            depth = DEPTH[0] * _height(math.prod(stage.first.out_size) ** 0.5, size)
            result.append(max(COLUMN, thick + depth + 0.2))
        return result

    low, high = 0.0, 0.05
    for _ in range(30):
        unit = (low + high) / 2
        low, high = (unit, high) if sum(widths(unit)) <= room else (low, unit)
    chosen = widths(low)
    spare = (room - sum(chosen)) / len(chosen)
    return (lambda channels: max(0.05, low * math.sqrt(channels))), [width + spare for width in chosen]


def _box(
    axes: Axes,
    left: float,
    width: float,
    ground: float,
    height: float,
    thick: Sequence[float],
    color: str,
    theme: Theme,
) -> list[tuple[float, float]]:
    """Draw a stage's boxes in the middle of its column; return the middle of each one's top."""
    right, up = DEPTH[0] * height, DEPTH[1] * height
    x = left + (width - sum(thick) - GAP * (len(thick) - 1) - right) / 2
    tops = []
    for depth in thick:
        end, over = x + depth, ground + height
        faces = (
            (((x, ground), (end, ground), (end, over), (x, over)), 0.0),
            (((x, over), (end, over), (end + right, over + up), (x + right, over + up)), 0.42),
            (((end, ground), (end + right, ground + up), (end + right, over + up), (end, over)), -0.22),
        )
        for corners, shade in faces:
            axes.add_patch(
                Polygon(corners, facecolor=_mix(color, shade), edgecolor=theme.paper, linewidth=0.7, zorder=2)
            )
        tops.append((x + (depth + right) / 2, over + up / 2))
        x = end + GAP
    return tops


def _mix(color: str, shade: float) -> tuple[float, ...]:
    """Towards white by a positive share, towards black by a negative one."""
    aim = 1.0 if shade > 0 else 0.0
    return tuple(part + (aim - part) * abs(shade) for part in to_rgb(color))


def _arc(axes: Axes, start: tuple[float, float], end: tuple[float, float], theme: Theme) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle="arc3,rad=-0.9",
            arrowstyle="-|>,head_length=2.6,head_width=1.6",
            color=theme.ink,
            linewidth=1.1,
            shrinkA=0,
            shrinkB=0,
            zorder=5,
        )
    )


def _legend(axes: Axes, colors: dict[str, str], residual: bool, right: float, y: float, theme: Theme) -> None:
    """The kinds of blocks in one line, flush right."""
    arc: list[tuple[str, str | None]] = [("residual connection", None)] if residual else []
    for name, color in [*arc, *reversed(colors.items())]:
        text = axes.text(right, y, printable(name), fontsize=10, color=theme.muted, ha="right", va="center")
        left = text.get_window_extent().x0 / axes.figure.dpi - 0.1
        if color is None:
            _arc(axes, (left - 0.26, y - 0.05), (left, y - 0.05), theme)
            right = left - 0.5
        else:
            axes.add_patch(Rectangle((left - 0.16, y - 0.08), 0.16, 0.16, color=color, linewidth=0))
            right = left - 0.4


def _bars(
    axes: Axes,
    base: float,
    name: str,
    values: Sequence[int],
    middles: Sequence[float],
    colors: Sequence[str],
    theme: Theme,
) -> None:
    """One strip of bars, a bar a stage, each with its value above."""
    axes.text(0, base + 0.08, name, fontsize=10, color=theme.muted, va="center")
    axes.plot((GUTTER, axes.get_xlim()[1]), (base, base), color=theme.grid, linewidth=1.2, zorder=0)
    most = max(*values, 1)
    for value, middle, color in zip(values, middles, colors, strict=True):
        if not value:
            continue
        height = BAR * value / most
        axes.add_patch(Rectangle((middle - 0.25, base), 0.5, height, color=color, linewidth=0))
        axes.text(middle, base + height + 0.06, count(value), fontsize=9, color=theme.ink, ha="center")
