"""MobileNetV3 (arXiv 1905.02244): large and small, tables 1 and 2, and the minimalistic ones of the authors' code."""

from __future__ import annotations

from dataclasses import replace

from mobilenets.models.rows import Conv, HiddenHead, Inverted, Row
from mobilenets.models.tables.table import Table

# Kernel, channels inside, channels, squeeze-and-excite, activation and stride of each block, as the paper prints them.
Settings = tuple[tuple[int, int, int, bool, str, int], ...]
HS, RE = "hard_swish", "relu"

LARGE_SETTINGS: Settings = (
    (3, 16, 16, False, RE, 1),
    (3, 64, 24, False, RE, 2),
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
)
SMALL_SETTINGS: Settings = (
    (3, 16, 16, True, RE, 2),
    (3, 72, 24, False, RE, 2),
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
)


def v3_table(settings: Settings, last: int, hidden: int) -> Table:
    """Build a V3 from its blocks, the channels of its last convolution and those of the one behind the pooling.

    The authors' code has factors where the paper prints the channels inside, which tells them apart at other widths:
    a block's channels are rounded first and then multiplied (slim ``mobilenet_v3.py``, ``expand_input_by_factor``).
    """
    stem = Conv(16, stride=2, widen_only=True)
    blocks: list[Row] = []
    inputs = stem.channels
    for kernel, expanded, channels, excited, activation, stride in settings:
        blocks.append(
            Inverted(
                channels,
                kernel,
                stride,
                expand=expanded / inputs if expanded % inputs else expanded // inputs,
                squeeze=0.25 if excited else 0.0,
                activation=activation,
            )
        )
        inputs = channels
    return Table(
        body=(stem, *blocks, Conv(last, kernel=1)),
        head=HiddenHead(dropout=0.2, channels=hidden),
        activation=HS,
    )


def minimalistic(table: Table) -> Table:
    """Give the table without 5×5 kernels, squeeze-and-excitation and hard-swish, as the authors' code has it."""
    body = (
        replace(row, kernel=3, squeeze=0.0, activation=None) if isinstance(row, Inverted) else row for row in table.body
    )
    return replace(table, body=tuple(body), activation=RE)


def reduced_tail(table: Table) -> Table:
    """Give the table with half the channels behind the last stride, as the paper has it for detection (section 6.3).

    Each block there expands its own input, so that the channels inside are halved with it; those of the last stride
    itself, C4, stay.
    """
    last = max(place for place, row in enumerate(table.body) if getattr(row, "stride", 1) > 1)
    body = [*table.body[:last]]
    for row in table.body[last:]:
        assert isinstance(row, (Inverted, Conv))
        body.append(replace(row, channels=row.channels // 2))
    return replace(table, body=tuple(body))


V3_LARGE = v3_table(LARGE_SETTINGS, 960, 1280)
V3_SMALL = v3_table(SMALL_SETTINGS, 576, 1024)
V3_LARGE_MINIMALISTIC = minimalistic(V3_LARGE)
V3_SMALL_MINIMALISTIC = minimalistic(V3_SMALL)
