"""The blocks that networks are built of, side by side: a box a layer, as wide as it has channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mobilenets.drawing.style import LIGHT, count, new_figure
from mobilenets.models import rows
from mobilenets.models.baselines import Basic, Bottleneck
from mobilenets.models.operations import Activation, Conv, Value
from mobilenets.models.plan import Block, plan_block
from mobilenets.models.rows import Row
from mobilenets.models.style import Style

TIMES = "\N{MULTIPLICATION SIGN}"
SIDE = 28  # all of these blocks work on maps of 28 × 28, at 224 pixels

# In inches.
COLUMN = 2.55
BOX = 0.58
STEP = 1.02


@dataclass(frozen=True)
class Example:
    """A block of a network: ``source`` is the network, ``block`` the block as planned."""

    title: str
    source: str
    block: Block

    @property
    def layers(self) -> tuple[Conv, ...]:
        """Its convolutions in order."""
        return tuple(part for part in self.block.operations if isinstance(part, Conv))

    def after(self, layer: Conv) -> str:
        """Name what follows a convolution; nothing where the sum is activated."""
        return "" if layer.activation == "none" and self.last else WORDS[layer.activation]

    @property
    def last(self) -> str:
        """Name the activation of the sum, if it has one."""
        part = self.block.operations[-1]
        return WORDS[part.activation] if isinstance(part, Activation) else ""


def _example(title: str, source: str, row: Row, channels: int, activation: str = "relu6") -> Example:
    style = Style(1.0, "exact", 1e-3, "symmetric", activation)
    return Example(title, source, plan_block("block", row, Value("map", (channels, SIDE, SIDE)), style))


WORDS = {"relu6": "ReLU6", "relu": "ReLU", "hard_swish": "hard-swish", "hard_sigmoid": "hard-sigmoid", "none": "linear"}
EXAMPLES = (
    _example("Plain 3×3", "VGG-like", rows.Conv(256), 256),
    _example("Depthwise separable", "MobileNetV1", rows.Separable(256), 256),
    _example("Inverted residual", "MobileNetV2", rows.Inverted(32), 32),
    _example("Basic block", "ResNet-18", Basic(128), 128, "relu"),
    _example("Bottleneck", "ResNet-50", Bottleneck(128), 512, "relu"),
)


def blocks_figure() -> Figure:
    """Draw the blocks in a row, from the input above to the output below, each with its costs."""
    deepest = max(len(example.layers) for example in EXAMPLES)
    height = STEP * (deepest + 1) + 2.9
    width = COLUMN * len(EXAMPLES)
    figure = new_figure(width, height, LIGHT)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    axes.plot((0.1, width - 0.1), (0.95, 0.95), color=LIGHT.grid, linewidth=1.2)
    for number, example in enumerate(EXAMPLES):
        _draw(axes, example, COLUMN * (number + 0.5), height)
    axes.text(
        0.1,
        0.12,
        f"On a {SIDE} {TIMES} {SIDE} map with stride 1, as each network has at 224 pixels. Box widths grow with the "
        "square root of the channels. BatchNorm follows every convolution.",
        fontsize=9,
        color=LIGHT.muted,
    )
    return figure


def _draw(axes: Axes, example: Example, middle: float, height: float) -> None:
    axes.text(middle, height - 0.3, example.title, fontsize=13, fontweight="bold", color=LIGHT.ink, ha="center")
    axes.text(middle, height - 0.55, example.source, fontsize=10, color=LIGHT.muted, ha="center")
    y = height - 1.0
    start = y
    _words(axes, middle, y, f"{example.block.input.channels} channels")
    for layer in example.layers:
        lower = y - STEP
        _arrow(axes, (middle, y - 0.13), (middle, lower + BOX / 2))
        _layer(axes, layer, middle, lower)
        y = lower - BOX / 2 + 0.13
        if example.after(layer):
            axes.text(middle + 0.08, y - 0.31, example.after(layer), fontsize=8.5, color=LIGHT.muted, va="center")
    end = y - 0.55
    _arrow(axes, (middle, y - 0.13), (middle, end + (0.15 if example.block.residual else 0.13)))
    if example.block.residual:
        _around(axes, middle, start - 0.24, end, example)
        axes.text(middle, end, "+", fontsize=13, color=LIGHT.ink, ha="center", va="center", fontweight="bold")
        _arrow(axes, (middle, end - 0.13), (middle, end - 0.45))
        if example.last:
            axes.text(middle + 0.08, end - 0.27, example.last, fontsize=8.5, color=LIGHT.muted, va="center")
        end -= 0.58
    _words(axes, middle, end, f"{example.block.output.channels} channels")
    axes.text(middle, 0.68, f"{count(example.block.parameters)} parameters", fontsize=10, color=LIGHT.ink, ha="center")
    axes.text(middle, 0.45, f"{count(example.block.macs)} MACs", fontsize=10, color=LIGHT.ink, ha="center")


def _layer(axes: Axes, layer: Conv, middle: float, y: float) -> None:
    wide = _width(layer.output_shape[0])
    color = LIGHT.orange if layer.depthwise else LIGHT.green if layer.kernel == 1 else LIGHT.blue
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
    for words, up in ((f"{kind}{layer.kernel}{TIMES}{layer.kernel}", 0.12), (str(layer.output_shape[0]), -0.12)):
        axes.text(middle, y + up, words, fontsize=9.5, color=LIGHT.paper, ha="center", va="center", fontweight="bold")


def _width(channels: int) -> float:
    return max(0.85, 0.0885 * math.sqrt(channels))


def _words(axes: Axes, x: float, y: float, words: str) -> None:
    axes.text(x, y, words, fontsize=9.5, color=LIGHT.ink, ha="center", va="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = "-|>,head_length=3.2,head_width=1.8"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, color=LIGHT.ink, linewidth=1.1, shrinkA=0, shrinkB=0))


def _around(axes: Axes, middle: float, top: float, bottom: float, example: Example) -> None:
    """The way of the input past the layers."""
    left = middle - max(_width(layer.output_shape[0]) for layer in example.layers) / 2 - 0.1
    axes.plot((middle, left, left), (top, top, bottom), color=LIGHT.ink, linewidth=1.1)
    _arrow(axes, (left, bottom), (middle - 0.13, bottom))
