"""The plan of a network: what it computes, operation by operation, with names and shapes. No torch.

Each kind of row of a table writes its operations into a ``Builder``, once::

    def write(self, plan: Builder, x: Value) -> Value:
        y = plan.conv("expand", x, 6 * x.channels)
        y = plan.depthwise("filter", y, kernel=3, stride=1)
        y = plan.conv("project", y, x.channels, activation="none")
        return plan.add(x, y)

The network itself (``mobilenets.models.blocks``), its cost, its diagram, exports, folding, int8, explanations, the
audit and the import of weights all read that list, and none of them asks what kind of row something is. So a new kind
of row needs nothing but ``write``. ``architecture.plan(classes)`` and ``network.plan`` give a ``Plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mobilenets.errors import InputError
from mobilenets.models.builder import Builder
from mobilenets.models.operations import Add, Conv, Linear, Operation, Value, Window

if TYPE_CHECKING:
    from mobilenets.models.rows import Head, Row
    from mobilenets.models.style import Style

IMAGES = "images"


@dataclass(frozen=True)
class Block:
    """A row of the table as planned: what it takes and gives, and its operations in forward order."""

    name: str
    row: Row
    input: Value
    output: Value
    operations: tuple[Operation, ...]

    @property
    def title(self) -> str:
        """What kind of block it is, for people: ``inverted residual``."""
        return self.row.title

    @property
    def kernel(self) -> int:
        """Side of the largest window in pixels."""
        return max((part.kernel for part in self.operations if isinstance(part, Window)), default=1)

    @property
    def stride(self) -> int:
        """Pixels of the input map from one cell of the output map to the next."""
        return _cells(self.operations, self.input.name)[self.output.name][1]

    @property
    def expansion(self) -> float | None:
        """How many times as many channels as at the input there are inside; None where the kind does not expand."""
        if not self.row.expands:
            return None
        widest = max(part.output_shape[0] for part in self.operations[:-1] if isinstance(part, Conv))
        return widest / self.input.channels

    @property
    def parameters(self) -> int:
        """Learned values."""
        return sum(part.parameters for part in self.operations)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return sum(part.macs for part in self.operations)

    @property
    def residual(self) -> bool:
        """Whether the input is added to what comes out."""
        return any(isinstance(part, Add) and self.input.name in part.inputs for part in self.operations)


@dataclass(frozen=True)
class Plan:
    """A whole network: pictures go through ``blocks``, ``pool``, ``head`` and the ``classifier``.

    ``pool`` makes of the last map what is kept where all blocks are frozen, without weights. ``head`` holds the
    layers between that and the classifier, mostly none. ``classifier`` is None for a network without classes.
    """

    images: Value
    blocks: tuple[Block, ...]
    pool: tuple[Operation, ...]
    head: tuple[Operation, ...]
    classifier: Linear | None

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All operations in forward order."""
        body = [part for block in self.blocks for part in block.operations]
        return (*body, *self.pool, *self.head, *([self.classifier] if self.classifier else []))

    @property
    def convolutions(self) -> tuple[Conv, ...]:
        """All convolutions in forward order, the head's among them."""
        return tuple(part for part in self.operations if isinstance(part, Conv))

    @property
    def maps(self) -> Value:
        """What the last block gives."""
        return self.blocks[-1].output if self.blocks else self.images

    @property
    def pooled(self) -> Value:
        """What ``pool`` gives."""
        return Value(self.pool[-1].name, self.pool[-1].output_shape)

    def kept(self, blocks: int) -> Value:
        """What the first ``blocks`` blocks give, pooled after all of them: what is kept where these are frozen."""
        if blocks == len(self.blocks):
            return self.pooled
        return self.blocks[blocks - 1].output if blocks else self.images

    @property
    def features(self) -> Value:
        """The vector before the classifier."""
        return Value(self.head[-1].name, self.head[-1].output_shape) if self.head else self.pooled

    @property
    def parameters(self) -> int:
        """Learned values."""
        return sum(part.parameters for part in self.operations)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return sum(part.macs for part in self.operations)

    def readers(self, name: str) -> tuple[Operation, ...]:
        """Give the operations that take what ``name`` gives."""
        return tuple(part for part in self.operations if name in part.inputs)

    def cells(self) -> tuple[float, int]:
        """Give the pixel in the middle of what the first cell of the last map sees, and the pixels to the next one."""
        return _cells([part for block in self.blocks for part in block.operations], self.images.name)[self.maps.name]


def plan_network(rows: Sequence[Row], head: Head, style: Style, size: int, classes: int) -> Plan:
    """Plan the network of a table for pictures of ``size`` pixels per side; ``classes=0`` has no classifier.

    Raises ``InputError`` where the pictures are too small for it.
    """
    x = images = Value(IMAGES, (3, size, size))
    blocks = []
    for index, row in enumerate(rows):
        blocks.append(plan_block(f"body.{row.kind}{index}", row, x, style))
        x = blocks[-1].output
        if x.side < 1:
            raise InputError(f"size {size}: too small for this network; give a larger --size")
    pool, layers = Builder("pool", style), Builder("head", style)
    x = head.layers(layers, head.pool(pool, x))
    last = Builder("classifier", style)
    if classes:
        last.linear(x, classes)
    classifier = next((part for part in last.operations if isinstance(part, Linear)), None)
    return Plan(images, tuple(blocks), tuple(pool.operations), tuple(layers.operations), classifier)


def plan_block(name: str, row: Row, x: Value, style: Style) -> Block:
    """Plan one row on the map ``x``."""
    builder = Builder(name, style)
    output = row.write(builder, x)
    return Block(name, row, x, output, tuple(builder.operations))


def _cells(operations: Sequence[Operation], entry: str) -> dict[str, tuple[float, int]]:
    """Give, by name, the middle of what the first cell of each map sees and the step to the next, in ``entry``'s cells.

    Where an operation takes several maps, these lie alike, or are gates, and the first one tells.
    """
    found = {entry: (0.0, 1)}
    for part in operations:
        first, step = found[part.inputs[0]]
        if isinstance(part, Window):
            first, step = first + step * ((part.kernel - 1) / 2 - part.pads[0]), step * part.stride
        found[part.name] = first, step
    return found
