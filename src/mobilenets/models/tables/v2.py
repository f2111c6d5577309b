"""MobileNetV2 (arXiv 1801.04381)."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenets.errors import InputError
from mobilenets.models.rows import Conv, Inverted, PooledHead, Row, stage
from mobilenets.models.tables.table import Table

# Table 2.
V2_SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


MOST = 10_000  # of each number of a row, so that a typing mistake takes no memory


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
        if max(t, c, n, s) > MOST:
            raise InputError(f"table: row {position} is {list(row)!r}; its numbers may be up to {MOST}")
        blocks += stage(Inverted(c, stride=s, expand=t), n)
    if not blocks:
        raise InputError("table: it has no rows; give at least one row of t c n s")
    return Table(
        body=(Conv(32, stride=2), *blocks, Conv(1280, kernel=1, widen_only=True)),
        head=PooledHead(dropout=0.2),
    )


V2 = v2_table()
