"""Structured pruning: whole channels out of a network, which becomes a narrower one of an ordinary table.

The channels inside a block are made by one convolution, filtered each alone, perhaps scaled by a gate, and read by the
next ordinary layer; so are those between layers that no residual passes. Nothing else sees them: what is left computes
what the network computes with those channels held at 0. The plan knows these groups, so no graph is traced. Channels
that a residual is added to stay, as every block of a stage reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.cut import Cut, Flags, reached
from mobilenets.models.int8 import float_part
from mobilenets.models.network import Network
from mobilenets.models.operations import Add, Conv, Join, Linear
from mobilenets.models.plan import Plan
from mobilenets.models.rows import Head, Row

HEAD = -1


@dataclass(frozen=True)
class Group:
    """Channels that go together, named after the convolution that makes them: ``body.inverted3.expand``.

    ``filters`` are the convolutions that filter each of them alone, ``readers`` the layers that take all of them, both
    in forward order. ``field`` of row ``row`` of the table, or of the head, counts them.
    """

    name: str
    channels: int
    filters: tuple[str, ...]
    readers: tuple[str, ...]
    row: int
    field: str

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that make, filter and read them."""
        return (self.name, *self.filters, *self.readers)

    @property
    def last(self) -> str:
        """The convolution that gives them as they are read, but for a gate."""
        return self.filters[-1] if self.filters else self.name


def groups(architecture: Architecture, plan: Plan) -> tuple[Group, ...]:
    """Give what can be pruned of a network, in forward order: the channels that no residual is added to."""
    counted = {name: (row, field) for row, field, name in _counted(architecture, plan) if field != "squeezed"}
    found = []
    for part in plan.convolutions:
        ways = tuple(reached(plan, part.name))
        if part.name not in counted or any(isinstance(way, Add | Join) for way in ways):
            continue
        filters = tuple(way.name for way in ways if isinstance(way, Conv) and way.depthwise)
        readers = tuple(way.name for way in ways if isinstance(way, Conv | Linear) and way.name not in filters)
        if readers:
            found.append(Group(part.name, part.output_shape[0], filters, readers, *counted[part.name]))
    return tuple(found)


def as_it_is(architecture: Architecture, classes: int = 0) -> Architecture:
    """Describe the same network by a table that holds its channels as they are, at width 1.

    The names of its layers stay, so its weights fit.
    """
    plan = architecture.plan(classes)
    rows: list[Row | Head] = [*architecture.table.body, architecture.table.head]
    made = {part.name: part.output_shape[0] for part in plan.convolutions}
    for row, field, name in _counted(architecture, plan):
        if name in made:
            rows[row] = _with(rows[row], field, made[name])
        elif field == "expanded":  # no layer expands here: what comes is filtered as it is
            rows[row] = _with(_with(rows[row], "expanded", None), "expand", 1)
    for place, block in enumerate(plan.blocks):
        if _has(block.row, "residual") and not block.residual:  # none comes where channels come to agree
            rows[place] = _with(rows[place], "residual", False)
    return _of_rows(replace(architecture, width=1.0, variant="custom"), rows)


def narrowed(architecture: Architecture, plan: Plan, channels: Mapping[str, int]) -> Architecture:
    """Describe a network as ``as_it_is`` does, but with so many ``channels`` in the groups that are named.

    Raises ``InputError`` for a group that there is not, or with no channel left.
    """
    known = {group.name: group for group in groups(architecture, plan)}
    exact = as_it_is(architecture, plan.classifier.output_shape[0] if plan.classifier else 0)
    rows: list[Row | Head] = [*exact.table.body, exact.table.head]
    for name, count in channels.items():
        if name not in known:
            raise InputError(f"{name}: not a group of channels that can be pruned; there are {', '.join(known)}")
        group = known[name]
        if not 1 <= count <= group.channels:
            raise InputError(f"{name}: {count} channels; give 1 to {group.channels}")
        rows[group.row] = _with(rows[group.row], group.field, count)
    return _of_rows(exact, rows)


def prune(network: Network, gone: Mapping[str, Flags]) -> Network:
    """Return a network without the channels that ``gone`` flags, by group, with copies of the weights that are left.

    It computes what ``network`` computes in evaluation mode where the outputs of each group's layers are 0 in those
    channels. Raises ``InputError`` for a group that there is not, or with no channel left.
    """
    plan = network.plan
    counts = {name: int((~flags).sum()) for name, flags in gone.items()}
    architecture = narrowed(network.architecture, plan, counts)
    cut = Cut(plan)
    for name, flags in gone.items():
        cut.remove(name, flags)
    with torch.device("meta"):
        pruned = Network(architecture, network.classes)
    state = float_part(network.state_dict())
    for part in plan.operations:
        if not isinstance(part, Conv | Linear):
            continue
        outputs, inputs = cut.outputs.get(part.name), cut.inputs.get(part.name)
        for name in [name for name in state if name.startswith(f"{part.name}.")]:
            tensor = state[name]
            if tensor.ndim and outputs is not None:
                tensor = tensor[_kept(outputs)]
            if tensor.ndim > 1 and inputs is not None:
                tensor = tensor[:, _kept(inputs)]
            state[name] = tensor.clone()
    pruned.load_state_dict(state, assign=True)
    return pruned.train(network.training)


def _kept(gone: Flags) -> Tensor:
    return torch.from_numpy(np.flatnonzero(~gone))


def _counted(architecture: Architecture, plan: Plan) -> Iterator[tuple[int, str, str]]:
    """Give each field that counts channels: its row, its name and the layer that has them."""
    scopes: list[tuple[int, str, Row | Head]] = [(at, block.name, block.row) for at, block in enumerate(plan.blocks)]
    for place, scope, row in [*scopes, (HEAD, "head", architecture.table.head)]:
        for field, layer in row.counts.items():
            yield place, field, f"{scope}.{layer}" if layer else scope


def _with(row: Any, field: str, value: int | None) -> Any:
    """Set a field; a block with a count of its own for what is inside has a layer that expands to it."""
    changed: dict[str, Any] = {field: value}
    if field == "expanded" and _has(row, "always_expand"):
        changed["always_expand"] = value is not None
    return replace(row, **changed)


def _has(row: Row | Head, field: str) -> bool:
    return any(known.name == field for known in fields(row))


def _of_rows(architecture: Architecture, rows: list[Any]) -> Architecture:
    table = replace(architecture.table, body=tuple(rows[:-1]), head=rows[-1], rounding="exact")
    return replace(architecture, table=table)
