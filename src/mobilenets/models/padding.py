"""Where the zeros go around a map, the one place that knows."""

from __future__ import annotations

import math

PADDINGS = ("symmetric", "same", "keras")
"""What a table may say. ``keras`` is ``after`` for strided depthwise layers and ``same`` for all else:
``keras.applications`` has it in MobileNetV1, and in V2 and V3 where these are built without an input size."""


def padded(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Give the zeros before and after a side of that many pixels.

    - ``symmetric``: ``kernel // 2`` at both ends, as PyTorch's code and MindSpore's have it
    - ``same``: TensorFlow's SAME; where stride 2 meets an even side, only the end is padded
    - ``after``: what SAME gives for even sides, for odd ones too (``ZeroPadding2D(((0, 1), (0, 1)))``)

    >>> padded(224, 3, 2, "symmetric"), padded(224, 3, 2, "same"), padded(225, 3, 2, "after")
    ((1, 1), (0, 1), (0, 1))
    """
    if padding == "symmetric" or (padding == "after" and stride == 1):
        return kernel // 2, kernel // 2
    if padding == "after":
        return max(kernel // 2 - 1, 0), kernel // 2
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def shrunk(side: int, kernel: int, stride: int, padding: str) -> int:
    """Give the side of the map that a convolution makes of one of ``side`` pixels."""
    return (side + sum(padded(side, kernel, stride, padding)) - kernel) // stride + 1


def layer_padding(padding: str, depthwise: bool) -> str:
    """Give what a table's padding is for one layer: ``symmetric``, ``same`` or ``after``."""
    if padding == "keras":
        return "after" if depthwise else "same"
    return padding
