"""MobileNetV4 (arXiv 2404.10518): the three without attention, tables of the paper's appendix."""

from __future__ import annotations

from mobilenets.models.rows import Conv, Fused, HiddenHead, Row, Universal, stage
from mobilenets.models.tables.table import Table


def v4_table(stem: int, *blocks: Row) -> Table:
    """Build a V4 from the channels of its first convolution and its blocks; the last convolution and head are added."""
    return Table(
        body=(Conv(stem, stride=2, widen_only=True), *blocks, Conv(960, kernel=1)),
        head=HiddenHead(dropout=0.2, channels=1280, norm=True),
        activation="relu",
        initial="fan_out",
    )


# Universal rows: channels, first kernel, second kernel, stride, expansion.
V4_CONV_SMALL = v4_table(
    32,
    Conv(32, stride=2),
    Conv(32, kernel=1),
    Conv(96, stride=2),
    Conv(64, kernel=1),
    Universal(96, 5, 5, 2, 3),
    *stage(Universal(96, None, 3, 1, 2), 4),
    Universal(96, 3, None, 1, 4),
    Universal(128, 3, 3, 2, 6),
    Universal(128, 5, 5, 1, 4),
    Universal(128, None, 5, 1, 4),
    Universal(128, None, 5, 1, 3),
    *stage(Universal(128, None, 3, 1, 4), 2),
)

V4_CONV_MEDIUM = v4_table(
    32,
    Fused(48, stride=2),
    Universal(80, 3, 5, 2, 4),
    Universal(80, 3, 3, 1, 2),
    Universal(160, 3, 5, 2, 6),
    *stage(Universal(160, 3, 3, 1, 4), 2),
    Universal(160, 3, 5, 1, 4),
    Universal(160, 3, 3, 1, 4),
    Universal(160, 3, None, 1, 4),
    Universal(160, None, None, 1, 2),
    Universal(160, 3, None, 1, 4),
    Universal(256, 5, 5, 2, 6),
    Universal(256, 5, 5, 1, 4),
    *stage(Universal(256, 3, 5, 1, 4), 2),
    Universal(256, None, None, 1, 4),
    Universal(256, 3, None, 1, 4),
    Universal(256, 3, 5, 1, 2),
    Universal(256, 5, 5, 1, 4),
    *stage(Universal(256, None, None, 1, 4), 2),
    Universal(256, 5, None, 1, 2),
)

V4_CONV_LARGE = v4_table(
    24,
    Fused(48, stride=2),
    Universal(96, 3, 5, 2, 4),
    Universal(96, 3, 3, 1, 4),
    Universal(192, 3, 5, 2, 4),
    *stage(Universal(192, 3, 3, 1, 4), 3),
    Universal(192, 3, 5, 1, 4),
    *stage(Universal(192, 5, 3, 1, 4), 5),
    Universal(192, 3, None, 1, 4),
    *stage(Universal(512, 5, 5, 2, 4), 4),
    Universal(512, 5, None, 1, 4),
    Universal(512, 5, 3, 1, 4),
    *stage(Universal(512, 5, None, 1, 4), 2),
    Universal(512, 5, 3, 1, 4),
    Universal(512, 5, 5, 1, 4),
    *stage(Universal(512, 5, None, 1, 4), 3),
)
