"""The rows of a paper's table: one frozen dataclass a kind of block, each able to build itself.

A row holds the figures as the paper prints them, for width multiplier 1; ``Style`` carries what holds for a whole
network (width, rounding, BatchNorm epsilon) into every block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from torch import nn

from mobilenets.models import layers


def floor_channels(channels: float) -> int:
    """Cut to a whole number, at least 8: ``depth`` in the reference code of V1 (slim ``mobilenet_v1.py``)."""
    return max(int(channels), 8)


def divisible_channels(channels: float) -> int:
    """Round to a multiple of 8 that is at least 8 and at least 0.9 of the wish.

    ``_make_divisible`` in the reference code of V2 (slim ``mobilenet/conv_blocks.py``).
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


# ``exact`` is for tables that hold the channels of one network as they are.
ROUNDING: dict[str, Callable[[float], int]] = {"floor": floor_channels, "divisible": divisible_channels, "exact": int}


@dataclass(frozen=True)
class Style:
    """What every block of one network shares."""

    width: float
    rounding: str
    norm_epsilon: float
    padding: str

    def channels(self, channels: int) -> int:
        """Give the paper's channel count at this width, rounded as the paper's reference code does."""
        return ROUNDING[self.rounding](channels * self.width)


@dataclass(frozen=True)
class Conv:
    """An ordinary convolution. ``widen_only``: width multipliers below 1 leave it as it is (V2's last layer)."""

    kind: ClassVar[str] = "conv"
    channels: int
    kernel: int = 3
    stride: int = 1
    widen_only: bool = False

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Return the module and the number of channels that it gives."""
        if self.widen_only:
            style = replace(style, width=max(1.0, style.width))
        outputs = style.channels(self.channels)
        return (
            layers.ConvNorm(
                inputs,
                outputs,
                self.kernel,
                self.stride,
                epsilon=style.norm_epsilon,
                padding=layers.of_conv(style.padding),
            ),
            outputs,
        )


@dataclass(frozen=True)
class Separable:
    """A depthwise separable convolution of V1."""

    kind: ClassVar[str] = "separable"
    channels: int
    kernel: int = 3
    stride: int = 1

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Return the module and the number of channels that it gives."""
        outputs = style.channels(self.channels)
        block = layers.Separable(
            inputs, outputs, self.kernel, self.stride, epsilon=style.norm_epsilon, padding=style.padding
        )
        return block, outputs


@dataclass(frozen=True)
class Inverted:
    """An inverted residual of V2; ``expand`` is the paper's *t*.

    ``always_expand`` keeps the expansion layer where *t* is 1, as some re-implementations do.
    """

    kind: ClassVar[str] = "inverted"
    channels: int
    kernel: int = 3
    stride: int = 1
    expand: int = 6
    always_expand: bool = False

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Return the module and the number of channels that it gives."""
        outputs = style.channels(self.channels)
        block = layers.InvertedResidual(
            inputs,
            inputs * self.expand,
            outputs,
            self.kernel,
            self.stride,
            epsilon=style.norm_epsilon,
            padding=style.padding,
            always_expand=self.always_expand,
        )
        return block, outputs


@dataclass(frozen=True)
class MaxPool:
    """Max pooling over ``kernel``×``kernel`` pixels, without overlap; a rest at the border is kept."""

    kind: ClassVar[str] = "maxpool"
    kernel: int = 2

    @property
    def stride(self) -> int:
        """Pixels from one window to the next."""
        return self.kernel

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Return the module and the number of channels that it gives."""
        return nn.MaxPool2d(self.kernel, ceil_mode=True), inputs


Row = Conv | Separable | Inverted | MaxPool
ROWS: dict[str, type[Row]] = {row.kind: row for row in (Conv, Separable, Inverted, MaxPool)}
AnyRow = TypeVar("AnyRow", bound=Conv | Separable | Inverted)


def stage(first: AnyRow, repeats: int) -> tuple[AnyRow, ...]:
    """Repeat a row; only the first keeps the stride (*n* and *s* of V2's table 2)."""
    return (first, *(replace(first, stride=1) for _ in range(repeats - 1)))


def shrink(size: int, row: Row, padding: str) -> int:
    """Give the side of the map that ``row`` makes of a map of side ``size``, with the table's ``padding``."""
    if isinstance(row, Separable | Inverted):
        return layers.shrunk(size, row.kernel, row.stride, layers.of_depthwise(padding))
    return math.ceil(size / row.stride)


def without_first_strides(rows: tuple[Row, ...], count: int) -> tuple[Row, ...]:
    """Set the first ``count`` strides above 1 to 1."""
    kept: list[Row] = []
    for row in rows:
        if count and not isinstance(row, MaxPool) and row.stride > 1:
            row, count = replace(row, stride=1), count - 1
        kept.append(row)
    return tuple(kept)


@dataclass(frozen=True)
class PooledHead:
    """Global average pooling, dropout, one linear layer: fits maps of any size."""

    kind: ClassVar[str] = "pooled"
    dropout: float = 0.0
    l2: float = 0.0

    def features(self, channels: int, size: int) -> int:
        """Give the length of the vector before the classifier."""
        return channels

    def build(self) -> nn.Module:
        """Return what turns N×C×H×W into N×features."""
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@dataclass(frozen=True)
class FlatHead:
    """The whole map as one vector, dropout, one linear layer: bound to one input size.

    ``l2`` is the weight of ``l2 / 2 · ‖w‖²`` of the linear layer alone in the loss.
    """

    kind: ClassVar[str] = "flat"
    dropout: float = 0.0
    l2: float = 0.0

    def features(self, channels: int, size: int) -> int:
        """Give the length of the vector before the classifier."""
        return channels * size * size

    def build(self) -> nn.Module:
        """Return what turns N×C×H×W into N×features."""
        return nn.Flatten()


Head = PooledHead | FlatHead
HEADS: dict[str, type[Head]] = {head.kind: head for head in (PooledHead, FlatHead)}
