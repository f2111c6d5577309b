"""The blocks that networks are built of, side by side: a box a layer, as wide as it has channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mobilenets.drawing.style import LIGHT, Theme, count, new_figure, save

TIMES = "\N{MULTIPLICATION SIGN}"
SIDE = 28  # all of these blocks work on maps of 28 × 28, at 224 pixels

# In inches.
COLUMN = 2.55
BOX = 0.58
STEP = 1.02


@dataclass(frozen=True)
class Layer:
    """A convolution with its BatchNorm: ``after`` is its activation, ``depthwise`` filters each channel alone."""

    kernel: int
    inputs: int
    channels: int
    after: str
    depthwise: bool = False

    @property
    def weights(self) -> int:
        """Weights of the convolution."""
        return self.kernel**2 * self.channels * (1 if self.depthwise else self.inputs)


@dataclass(frozen=True)
class Block:
    """A block: its layers in order, and whether its input is added to what they give."""

    title: str
    source: str
    layers: tuple[Layer, ...]
    residual: bool
    after: str = ""

    @property
    def parameters(self) -> int:
        """Learned values, BatchNorm's among them."""
        return sum(layer.weights + 2 * layer.channels for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates on a map of ``SIDE`` × ``SIDE``."""
        return sum(layer.weights for layer in self.layers) * SIDE**2


BLOCKS = (
    Block("Plain 3×3", "VGG-like", (Layer(3, 256, 256, "ReLU6"),), False),
    Block(
        "Depthwise separable",
        "MobileNetV1",
        (Layer(3, 256, 256, "ReLU6", depthwise=True), Layer(1, 256, 256, "ReLU6")),
        False,
    ),
    Block(
        "Inverted residual",
        "MobileNetV2",
        (Layer(1, 32, 192, "ReLU6"), Layer(3, 192, 192, "ReLU6", depthwise=True), Layer(1, 192, 32, "linear")),
        True,
    ),
    Block("Basic block", "ResNet-18", (Layer(3, 128, 128, "ReLU"), Layer(3, 128, 128, "")), True, "ReLU"),
    Block(
        "Bottleneck",
        "ResNet-50",
        (Layer(1, 512, 128, "ReLU"), Layer(3, 128, 128, "ReLU"), Layer(1, 128, 512, "")),
        True,
        "ReLU",
    ),
)


def draw_blocks(path: Path) -> None:
    """Write the picture as PNG or SVG; see ``blocks_figure``."""
    save(blocks_figure(), path)


def blocks_figure(theme: Theme = LIGHT) -> Figure:
    """Draw the blocks in a row, from the input above to the output below, each with its costs."""
    deepest = max(len(block.layers) for block in BLOCKS)
    height = STEP * (deepest + 1) + 2.9
    width = COLUMN * len(BLOCKS)
    figure = new_figure(width, height, theme)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    axes.plot((0.1, width - 0.1), (0.95, 0.95), color=theme.grid, linewidth=1.2)
    for number, block in enumerate(BLOCKS):
        _draw(axes, block, COLUMN * (number + 0.5), height, theme)
    axes.text(
        0.1,
        0.12,
        f"On a {SIDE} {TIMES} {SIDE} map with stride 1, as each network has at 224 pixels. Box widths grow with the "
        "square root of the channels. BatchNorm follows every convolution.",
        fontsize=9,
        color=theme.muted,
    )
    return figure


def _draw(axes: Axes, block: Block, middle: float, height: float, theme: Theme) -> None:
    axes.text(middle, height - 0.3, block.title, fontsize=13, fontweight="bold", color=theme.ink, ha="center")
    axes.text(middle, height - 0.55, block.source, fontsize=10, color=theme.muted, ha="center")
    y = height - 1.0
    start = y
    _words(axes, middle, y, f"{block.layers[0].inputs} channels", theme)
    for layer in block.layers:
        lower = y - STEP
        _arrow(axes, (middle, y - 0.13), (middle, lower + BOX / 2), theme)
        _layer(axes, layer, middle, lower, theme)
        y = lower - BOX / 2 + 0.13
        if layer.after:
            axes.text(middle + 0.08, y - 0.31, layer.after, fontsize=8.5, color=theme.muted, va="center")
    end = y - 0.55
    _arrow(axes, (middle, y - 0.13), (middle, end + (0.15 if block.residual else 0.13)), theme)
    if block.residual:
        _around(axes, middle, start - 0.24, end, block, theme)
        axes.text(middle, end, "+", fontsize=13, color=theme.ink, ha="center", va="center", fontweight="bold")
        _arrow(axes, (middle, end - 0.13), (middle, end - 0.45), theme)
        if block.after:
            axes.text(middle + 0.08, end - 0.27, block.after, fontsize=8.5, color=theme.muted, va="center")
        end -= 0.58
    _words(axes, middle, end, f"{block.layers[-1].channels} channels", theme)
    axes.text(middle, 0.68, f"{count(block.parameters)} parameters", fontsize=10, color=theme.ink, ha="center")
    axes.text(middle, 0.45, f"{count(block.macs)} MACs", fontsize=10, color=theme.ink, ha="center")


def _layer(axes: Axes, layer: Layer, middle: float, y: float, theme: Theme) -> None:
    wide = _width(layer.channels)
    color = theme.orange if layer.depthwise else theme.green if layer.kernel == 1 else theme.blue
    axes.add_patch(
        FancyBboxPatch(
            (middle - wide / 2, y - BOX / 2),
            wide,
            BOX,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=color,
            edgecolor="none",
        )
    )
    kind = "depthwise " if layer.depthwise else ""
    for words, up in ((f"{kind}{layer.kernel}{TIMES}{layer.kernel}", 0.12), (str(layer.channels), -0.12)):
        axes.text(middle, y + up, words, fontsize=9.5, color=theme.paper, ha="center", va="center", fontweight="bold")


def _width(channels: int) -> float:
    return max(0.85, 0.0885 * math.sqrt(channels))


def _words(axes: Axes, x: float, y: float, words: str, theme: Theme) -> None:
    axes.text(x, y, words, fontsize=9.5, color=theme.ink, ha="center", va="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], theme: Theme) -> None:
    style = "-|>,head_length=3.2,head_width=1.8"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, color=theme.ink, linewidth=1.1, shrinkA=0, shrinkB=0))


def _around(axes: Axes, middle: float, top: float, bottom: float, block: Block, theme: Theme) -> None:
    """The way of the input past the layers."""
    left = middle - max(_width(layer.channels) for layer in block.layers) / 2 - 0.1
    axes.plot((middle, left, left), (top, top, bottom), color=theme.ink, linewidth=1.1)
    _arrow(axes, (left, bottom), (middle - 0.13, bottom), theme)
