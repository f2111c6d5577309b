"""Networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from mobilenets.base.files import read_json
from mobilenets.errors import InputError
from mobilenets.models import tables
from mobilenets.models.architecture import Architecture, table_from_json
from mobilenets.models.tables import Table, small_pictures, v2_table

# A table of one's own: built, as rows of t c n s, as JSON has it, or the file of that.
TableLike: TypeAlias = Table | Sequence[Sequence[int]] | Mapping[str, Any] | str | Path

SMALL_UP_TO = 64
IMAGENET_CLASSES = 1000
TABLE_HINT = "write rows of t, c, n, s, such as [[1, 16, 1, 1], [6, 24, 2, 2]]"


@dataclass(frozen=True)
class Entry:
    """A named network: its table, the one for small pictures if any, its usual input size and its name in words."""

    table: Table
    small: Table | None
    size: int
    title: str = ""


def _entry(title: str, table: Table, size: int = 224) -> Entry:
    return Entry(table, small_pictures(table), size, title)


CATALOG: dict[str, Entry] = {
    "mobilenet_v1": _entry("MobileNetV1", tables.V1),
    "mobilenet_v2": _entry("MobileNetV2", tables.V2),
    "mobilenet_v3_large": _entry("V3 large", tables.V3_LARGE),
    "mobilenet_v3_small": _entry("V3 small", tables.V3_SMALL),
    "mobilenet_v3_large_minimalistic": _entry("V3 large minimalistic", tables.V3_LARGE_MINIMALISTIC),
    "mobilenet_v3_small_minimalistic": _entry("V3 small minimalistic", tables.V3_SMALL_MINIMALISTIC),
    "mobilenet_v4_conv_small": _entry("V4 conv small", tables.V4_CONV_SMALL),
    "mobilenet_v4_conv_medium": _entry("V4 conv medium", tables.V4_CONV_MEDIUM, 256),
    "mobilenet_v4_conv_large": _entry("V4 conv large", tables.V4_CONV_LARGE, 384),
    "mobilenet_v1_cifar": Entry(tables.V1_CIFAR, None, 32, "V1 for CIFAR"),
}
NAMES = ", ".join(CATALOG)
"""All names, for help and messages."""


def find(name: str) -> Entry:
    """Look a network up; raises ``InputError`` with the names there are."""
    if name in CATALOG:
        return CATALOG[name]
    close = difflib.get_close_matches(name, CATALOG, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(f"unknown model {name!r}: {hint}choose {NAMES}")


def describe(
    name: str,
    width: float = 1.0,
    size: int | None = None,
    *,
    variant: str = "auto",
    dropout: float | None = None,
    table: TableLike | None = None,
) -> Architecture:
    """Describe a network without building it.

    - ``name``: a name of ``CATALOG``.
    - ``width``: width multiplier, above 0.
    - ``size``: input size in pixels per side; by default the network's usual one.
    - ``variant``: ``auto`` takes the table for small pictures up to 64 pixels where there is one; ``standard`` and
      ``small`` insist.
    - ``dropout``: share of the features dropped before the classifier, instead of the table's own.
    - ``table``: a table to use instead of the named one's: a ``Table``, rows of V2's ``(t, c, n, s)``, or what
      ``load_table`` reads.
    """
    entry = find(name)
    size = entry.size if size is None else size
    if variant not in ("auto", "standard", "small"):
        raise InputError(f"variant {variant!r}: choose auto, standard or small")
    if table is not None:
        chosen, variant = table if isinstance(table, Table) else load_table(table), "custom"
    elif variant == "small" and entry.small is None:
        raise InputError(f"{name} has no variant for small pictures; choose standard")
    elif entry.small is not None and (variant == "small" or (variant == "auto" and size <= SMALL_UP_TO)):
        chosen, variant = entry.small, "small"
    else:
        chosen, variant = entry.table, "standard"
    if dropout is not None:
        if not 0 <= dropout < 1:
            raise InputError(f"dropout {dropout}: give a share of at least 0 and below 1")
        chosen = replace(chosen, head=replace(chosen.head, dropout=dropout))
    return Architecture(name, float(width), size, variant, chosen)


def load_table(value: str | Path | Sequence[Any] | Mapping[str, Any]) -> Table:
    """Read a table of one's own: rows of ``t, c, n, s``, a whole table as ``model.json`` has it, or a JSON file."""
    if isinstance(value, (str, Path)):
        value = read_json(Path(value), TABLE_HINT)
    if isinstance(value, (list, tuple)):
        if not all(isinstance(row, (list, tuple)) for row in value):
            raise InputError(f"table: {TABLE_HINT}")
        return v2_table(value)
    return table_from_json(value)
