"""What all layers of one network share: width, rounding, BatchNorm's epsilon, padding and activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def floor_channels(channels: float) -> int:
    """Cut to a whole number, at least 8: ``depth`` in the reference code of V1 (slim ``mobilenet_v1.py``)."""
    return max(int(channels), 8)


def divisible_channels(channels: float) -> int:
    """Round to a multiple of 8 that is at least 8 and at least 0.9 of the wish.

    ``_make_divisible`` in the reference code of V2 (slim ``mobilenet/conv_blocks.py``).

    >>> divisible_channels(32 * 0.35), divisible_channels(24 * 1.4)
    (16, 32)
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
    activation: str = "relu6"

    def channels(self, channels: int, *, widen_only: bool = False) -> int:
        """Give the paper's channel count at this width, rounded as the paper's reference code does.

        ``widen_only``: width multipliers below 1 leave it as it is.
        """
        return self.rounded(channels * (max(1.0, self.width) if widen_only else self.width))

    def rounded(self, channels: float) -> int:
        """Round a channel count that is at this network's width already."""
        return ROUNDING[self.rounding](channels)

    def inside(self, channels: int, factor: float, expanded: int | None = None) -> int:
        """Give the channels inside a block that expands ``channels``: those named, or ``factor`` times as many.

        Whole factors are taken as they are, and else the product is rounded.
        """
        if expanded:
            return self.channels(expanded)
        return channels * factor if isinstance(factor, int) else self.rounded(channels * factor)
