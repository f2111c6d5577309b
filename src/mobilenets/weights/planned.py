"""The network of the catalogue whose plan has the layers of a file: for those that shapes alone do not tell apart.

Rows of V1 and V2 can be read off any chain of convolutions (``recognise``). Those of V3 and V4 cannot: which blocks
have squeeze-and-excitation, and which activation, is the table's, so that a file must have exactly its shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG
from mobilenets.models.operations import Conv
from mobilenets.models.plan import Plan
from mobilenets.models.rows import Fused, HiddenHead, PooledHead, Universal
from mobilenets.models.tables import Table
from mobilenets.weights.layers import Foreign, Layer, of_kind

# Several widths may round to one network (0.5 and 0.51): the one that people use is tried first.
USUAL_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)
WIDTHS = (*USUAL_WIDTHS, *(n / 20 for n in range(1, 61)), *(n / 100 for n in range(1, 301)))


def planned(foreign: Foreign, size: int | None, variant: str | None) -> Architecture | None:
    """Find the network of V3's or V4's kind that has a file's layers; None where there is none.

    Without the layer between pooling and classifier it is a network of the same body, variant ``custom``.
    """
    found = [_shapes(of_kind(foreign.layers, kind)) for kind in ("conv", "depthwise")]
    for name, table, reading, usual in _candidates(foreign, variant):
        side = next(one for one in (size, foreign.size, usual) if one is not None)
        table = replace(table, padding=foreign.padding, norm_epsilon=foreign.epsilon)
        architectures = (Architecture(name, width, side, reading, table) for width in WIDTHS)
        # What no width changes, first: this is asked for every file.
        if not _alike(next(architectures).plan(), found):
            continue
        for architecture in (Architecture(name, 1.0, side, reading, table), *architectures):
            plan = architecture.plan()
            if not _told(plan, foreign) or not _strided(plan, foreign):
                continue
            if _fits(plan.convolutions, found):
                return architecture
            body = [part for block in plan.blocks for part in block.operations if isinstance(part, Conv)]
            if len(found[0]) == sum(not part.depthwise for part in body) and _fits(body, found):
                head = PooledHead(dropout=table.head.dropout)
                return replace(architecture, variant="custom", table=replace(table, head=head))
    return None


def _candidates(foreign: Foreign, variant: str | None) -> Iterator[tuple[str, Table, str, int]]:
    """Give name, table, variant and usual size of each network that is meant here."""
    for name, entry in CATALOG.items():
        special = isinstance(entry.table.head, HiddenHead) or any(
            isinstance(row, Fused | Universal) for row in entry.table.body
        )
        readings = {"standard": entry.table, "small": entry.small}
        wanted = [variant] if variant else list(readings) if foreign.strides else ["standard"]
        for reading in wanted if special else ():
            table = readings[reading]
            if table is not None:
                yield name, table, reading, entry.size


def _shapes(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    return [layer.arrays["weight"].shape for layer in layers]


def _alike(plan: Plan, found: Sequence[Sequence[tuple[int, ...]]]) -> bool:
    """Say whether the numbers of layers and their kernels are those of a plan, but for the head's layers."""
    body = [part for block in plan.blocks for part in block.operations if isinstance(part, Conv)]
    kernels = [[part.kernel for part in body if part.depthwise == deep] for deep in (False, True)]
    theirs = [[shape[2] for shape in shapes] for shapes in found]
    return theirs[1] == kernels[1] and theirs[0][: len(kernels[0])] == kernels[0]


def _fits(convolutions: Sequence[Conv], found: Sequence[Sequence[tuple[int, ...]]]) -> bool:
    """Say whether convolutions have the shapes of a file's; a classifier may be behind them."""
    ours = [[part.weight_shape for part in convolutions if part.depthwise == deep] for deep in (False, True)]
    return list(found[0][: len(ours[0])]) == ours[0] and list(found[1]) == ours[1]


def _told(plan: Plan, foreign: Foreign) -> bool:
    """Say whether a plan activates as the file tells, layer by layer or as its source's networks do."""
    ours = {part.activation for block in plan.blocks for part in block.operations if isinstance(part, Conv)}
    if foreign.activations and set(foreign.activations) != ours - {"none", "hard_sigmoid"}:
        return False
    for kind, deep in (("conv", False), ("depthwise", True)):
        expected = [part.activation for part in plan.convolutions if part.depthwise == deep]
        told = [layer.activation for layer in of_kind(foreign.layers, kind)]
        if any(theirs not in (None, mine) for mine, theirs in zip(expected, told, strict=False)):
            return False
    return True


def _strided(plan: Plan, foreign: Foreign) -> bool:
    """Say whether the strides are those that the file tells."""
    convolutions = plan.convolutions
    ours = (convolutions[0].stride, *(part.stride for part in convolutions if part.depthwise))
    return foreign.strides in (None, ours)
