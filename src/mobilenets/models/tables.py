"""The papers' tables, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mobilenets.errors import InputError
from mobilenets.models.rows import (
    Conv,
    FlatHead,
    Head,
    Inverted,
    MaxPool,
    PooledHead,
    Row,
    Separable,
    stage,
    without_first_strides,
)


@dataclass(frozen=True)
class Table:
    """A network as its paper prints it, with the habits of its reference code.

    ``rounding`` names how channels are rounded at other widths (``mobilenets.models.style.ROUNDING``), ``padding``
    where zeros go at stride 2 (``mobilenets.models.padding.PADDINGS``), ``activation`` what follows a convolution that
    its row does not give another one (``mobilenets.models.operations.ACTIVATIONS``). Weights trained with one padding,
    ``norm_epsilon`` or activation compute something else with another.
    """

    body: tuple[Row, ...]
    head: Head
    rounding: str = "divisible"
    norm_epsilon: float = 1e-3
    padding: str = "symmetric"
    activation: str = "relu6"


# arXiv 1704.04861, table 1. The table prints stride 2 for the last depthwise layer, but its own sizes (7 × 7 in
# and out) and the reference code have stride 1.
V1 = Table(
    body=(
        Conv(32, stride=2),
        Separable(64),
        Separable(128, stride=2),
        Separable(128),
        Separable(256, stride=2),
        Separable(256),
        Separable(512, stride=2),
        *stage(Separable(512), 5),
        Separable(1024, stride=2),
        Separable(1024),
    ),
    head=PooledHead(dropout=0.001),
    rounding="floor",
)

# arXiv 1801.04381, table 2.
V2_SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def v2_table(settings: Sequence[Sequence[int]] = V2_SETTINGS) -> Table:
    """Build a V2 from rows of ``(t, c, n, s)``: expansion factor, output channels, repeats, first stride."""
    blocks: list[Row] = []
    for position, row in enumerate(settings, start=1):
        if len(row) != 4 or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in row):
            raise InputError(
                f"table: row {position} is {list(row)!r}; give four whole numbers of at least 1, t c n s "
                "(expansion factor, channels, repeats, stride)"
            )
        t, c, n, s = row
        blocks += stage(Inverted(c, stride=s, expand=t), n)
    if not blocks:
        raise InputError("table: it has no rows; give at least one row of t c n s")
    return Table(
        body=(Conv(32, stride=2), *blocks, Conv(1280, kernel=1, widen_only=True)),
        head=PooledHead(dropout=0.2),
    )


V2 = v2_table()

# The light V1 of a well-known CIFAR-10 tutorial; its dropout share is our choice.
V1_CIFAR = Table(
    body=(
        Conv(32, stride=2),
        Separable(64),
        Separable(128, stride=2),
        Separable(128),
        Separable(256, stride=2),
        MaxPool(2),
    ),
    head=FlatHead(dropout=0.2, l2=0.004),
    rounding="floor",
)


def small_pictures(table: Table) -> Table:
    """Give the variant for pictures of 32 to 64 pixels: the first two strides are taken out.

    The output stride falls from 32 to 8, so that a picture of 32 pixels ends in a map of 4 × 4 and not 1 × 1.
    No parameter is added or removed, so weights move between the variants.
    """
    return replace(table, body=without_first_strides(table.body, 2))
