"""The description of one network, complete enough to build it again from ``model.json`` alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mobilenets.errors import InputError
from mobilenets.models.operations import ACTIVATIONS
from mobilenets.models.padding import PADDINGS
from mobilenets.models.plan import Plan, plan_network
from mobilenets.models.rows import HEADS, ROWS, Head, Row
from mobilenets.models.style import ROUNDING, Style
from mobilenets.models.tables.table import INITIAL, Table

MAX_SIZE = 4096
MAX_WIDTH = 16.0
MAX_ROWS = 1000
MAX_CHANNELS = 1 << 16
MAX_FACTOR = 64
MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class Architecture:
    """A table at one width and one input size (pixels per side).

    ``variant`` says which reading of the named table this is: ``standard``, ``small`` (for pictures of 32 to 64
    pixels) or ``custom`` (the user's own table).
    """

    name: str
    width: float
    size: int
    variant: str
    table: Table

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not (isinstance(self.width, (int, float)) and math.isfinite(self.width) and 0 < self.width <= MAX_WIDTH):
            raise InputError(f"width {self.width}: give a width multiplier above 0 and up to {MAX_WIDTH:g}")
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= MAX_SIZE:
            raise InputError(f"size {self.size}: give an input size from 1 to {MAX_SIZE} pixels")

    @property
    def style(self) -> Style:
        """What every block of this network shares."""
        table = self.table
        return Style(self.width, table.rounding, table.norm_epsilon, table.padding, table.activation)

    def plan(self, classes: int = 0) -> Plan:
        """Plan the network: its operations with names and shapes; ``classes=0`` leaves the classifier off.

        Raises ``InputError`` where ``size`` is too small for it, and for a number of classes that cannot be.
        """
        if isinstance(classes, bool) or not isinstance(classes, int) or not 0 <= classes <= MAX_CLASSES:
            raise InputError(f"classes {classes}: give a whole number of at least 1, or 0 for no classifier")
        return plan_network(self.table.body, self.table.head, self.style, self.size, classes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the rows written out, so that no catalogue is needed to read them."""
        return vars(self) | {"table": table_to_json(self.table)}

    @classmethod
    def from_json(cls, value: object) -> Architecture:
        """Read what ``to_json`` gave; raises ``InputError`` for anything else."""
        entries = _mapping(value, "architecture")
        names = {field.name for field in fields(cls)}
        if set(entries) != names:
            raise InputError(f"architecture: expected the keys {sorted(names)}, found {sorted(map(str, entries))}")
        for key in ("name", "variant"):
            if not isinstance(entries[key], str):
                raise InputError(f"architecture: {key} is not a text")
        if isinstance(entries["width"], bool) or not isinstance(entries["width"], (int, float)):
            raise InputError("architecture: width is not a number")
        return cls(**{**entries, "width": float(entries["width"]), "table": table_from_json(entries["table"])})


def table_to_json(table: Table) -> dict[str, Any]:
    """Return a table as plain values."""
    return vars(table) | {"body": [_written(row) for row in table.body], "head": _written(table.head)}


def table_from_json(value: object) -> Table:
    """Read a table: what ``table_to_json`` gave; raises ``InputError`` naming the row that is wrong."""
    entries = _mapping(value, "table")
    known = [field.name for field in fields(Table)]
    for key in entries:
        if key not in known:
            raise InputError(f"table: there is no {key!r}; a table has {', '.join(known)}")
    body = entries.get("body")
    if not isinstance(body, list) or not 1 <= len(body) <= MAX_ROWS:
        raise InputError(f"table: body must be a list of 1 to {MAX_ROWS} rows")
    epsilon = entries.get("norm_epsilon", 1e-3)
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < 1:
        raise InputError("table: norm_epsilon must be between 0 and 1")
    return Table(
        body=tuple(_read(row, ROWS, f"table: row {i}") for i, row in enumerate(body, start=1)),
        head=_read(entries.get("head", {"kind": "pooled"}), HEADS, "table: head"),
        rounding=_choice(entries, "rounding", "divisible", ROUNDING),
        norm_epsilon=float(epsilon),
        # Models written before these had a name are symmetric, and have ReLU6.
        padding=_choice(entries, "padding", "symmetric", PADDINGS),
        activation=_choice(entries, "activation", "relu6", ACTIVATIONS),
        initial=_choice(entries, "initial", "truncated", INITIAL),
    )


def _choice(entries: Mapping[str, Any], key: str, default: str, choices: Iterable[str]) -> str:
    value = entries.get(key, default)
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"table: {key} {value!r} is not one of {', '.join(choices)}")
    return value


def _written(part: Row | Head) -> dict[str, Any]:
    """Give a row or head as plain values; what is None is left out, as it was never asked for."""
    return {"kind": part.kind} | {key: value for key, value in asdict(part).items() if value is not None}


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what}: expected an object of named values")
    return value


def _read(value: object, kinds: Mapping[str, type[Any]], what: str) -> Any:
    """Build the dataclass that ``kind`` names from plain values, each checked against its field's type."""
    entries = dict(_mapping(value, what))
    kind = entries.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"{what}: kind {kind!r} is not one of {', '.join(kinds)}")
    # Annotations are texts where a module has postponed them, and types elsewhere.
    types = {field.name: field.type for field in fields(kinds[kind])}
    known = {name: one.__name__ if isinstance(one, type) else str(one) for name, one in types.items()}
    for name, given in entries.items():
        if name not in known:
            raise InputError(f"{what}: {kind} has no {name!r}; it has {', '.join(known)}")
        if not _fits(given, known[name]):
            raise InputError(f"{what}: {name} {given!r} is not usable; give {_wanted(known[name])}")
    try:
        return kinds[kind](**entries)
    except TypeError as error:
        raise InputError(f"{what}: {kind} needs {', '.join(known)}") from error


def _fits(value: object, annotation: str) -> bool:
    """Say whether a value is what a field of a row or head may hold, by the name of the field's type."""
    kind, _, optional = annotation.partition(" | ")
    if value is None or isinstance(value, bool):
        return optional == "None" if value is None else kind == "bool"
    if kind in ("Activation", "str"):
        return isinstance(value, str) and value in ACTIVATIONS
    if kind in ("int", "Kernel"):
        return isinstance(value, int) and 1 <= value <= MAX_CHANNELS and (kind == "int" or value % 2 == 1)
    factor = (1e-3, MAX_FACTOR)
    least, most = {"Share": (0, math.nextafter(1, 0)), "Factor": factor, "float": factor}.get(kind, (0, -1))
    return isinstance(value, (int, float)) and least <= value <= most


def _wanted(annotation: str) -> str:
    """Say in words what ``_fits`` takes."""
    factor, activation = f"a number above 0 and up to {MAX_FACTOR}", " or ".join(ACTIVATIONS)
    words = {
        "bool": "true or false",
        "int": f"a whole number from 1 to {MAX_CHANNELS}",
        "Kernel": "an odd whole number",
        "Share": "a number from 0 to below 1",
        "Factor": factor,
        "float": factor,
        "Activation": activation,
        "str": activation,
    }
    return words.get(annotation.partition(" | ")[0], "a value of its kind")
