"""The papers' tables at width 1, as the peers' own networks read them.

V1: output channels and stride of each separable convolution (arXiv 1704.04861, table 1).
V2: expansion, output channels, repeats, first stride (arXiv 1801.04381, table 2).
V3 large: kernel, channels inside, output channels, squeeze-and-excitation, hard-swish, stride (arXiv 1905.02244,
table 1).
"""

from __future__ import annotations

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
V3 = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
DROPOUT = {"v1": 0.001, "v2": 0.2, "v3": 0.2}
EPSILON = 1e-3


def divisible(channels: float) -> int:
    """Round to a multiple of 8, not below 0.9 of the wish, as the squeezing layers of V3 are."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
