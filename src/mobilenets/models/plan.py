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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mobilenets.errors import InputError
from mobilenets.models.operations import (
    ACTIVATIONS,
    Activation,
    Add,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    MeanPool,
    Operation,
    Scale,
    Value,
    Window,
)
from mobilenets.models.padding import layer_padding, shrunk

if TYPE_CHECKING:
    from mobilenets.models.rows import Head, Row
    from mobilenets.models.style import Style

IMAGES = "images"


class Builder:
    """Collects the operations of one block, in forward order.

    Names are relative to ``scope``: ``"expand"`` in ``body.inverted3`` is ``body.inverted3.expand``, and ``""`` is the
    block's own name, for what the block as a whole gives. Each method returns what the operation gives.
    """

    def __init__(self, scope: str, style: Style) -> None:
        self.scope = scope
        self.style = style
        self.operations: list[Operation] = []

    def conv(
        self,
        name: str,
        x: Value,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: str | None = None,
        norm: bool = True,
        bias: bool = False,
    ) -> Value:
        """Write a convolution to ``channels`` maps with its bias, BatchNorm and activation, by default the table's."""
        activation = self.style.activation if activation is None else activation
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        # At stride 1 all ways of padding are one.
        padding = layer_padding(self.style.padding, groups > 1) if stride > 1 else "symmetric"
        side = shrunk(x.side, kernel, stride, padding)
        return self._written(
            Conv(
                **self._names(name, x),
                output_shape=(channels, side, side),
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=groups,
                bias=bias,
                norm=norm,
                epsilon=self.style.norm_epsilon,
                activation=activation,
            )
        )

    def depthwise(
        self, name: str, x: Value, kernel: int = 3, stride: int = 1, *, activation: str | None = None
    ) -> Value:
        """Write a convolution that filters each channel alone, with BatchNorm and activation."""
        return self.conv(name, x, x.channels, kernel, stride, groups=x.channels, activation=activation)

    def activation(self, x: Value, activation: str | None = None, name: str = "") -> Value:
        """Write an activation by itself."""
        activation = self.style.activation if activation is None else activation
        return self._written(Activation(**self._names(name, x), output_shape=x.shape, activation=activation))

    def add(self, x: Value, y: Value, name: str = "") -> Value:
        """Write the sum of two maps of one shape."""
        if x.shape != y.shape:
            raise ValueError(f"{self.scope}: {x.shape} and {y.shape} cannot be added")
        return self._written(Add(**self._names(name, x, y), output_shape=x.shape))

    def scale(self, x: Value, gate: Value, name: str) -> Value:
        """Write a map times a gate of one value a channel (C×1×1)."""
        if gate.shape != (x.channels, 1, 1):
            raise ValueError(f"{self.scope}: a gate of {gate.shape} for {x.shape}")
        return self._written(Scale(**self._names(name, x, gate), output_shape=x.shape))

    def max_pool(self, x: Value, kernel: int = 2, stride: int | None = None, name: str = "") -> Value:
        """Write max pooling over ``kernel``×``kernel`` pixels, by default without overlap."""
        stride = stride or kernel
        side = math.ceil(x.side / stride) if stride == kernel else shrunk(x.side, kernel, stride, "symmetric")
        names, shape = self._names(name, x), (x.channels, side, side)
        return self._written(MaxPool(**names, output_shape=shape, kernel=kernel, stride=stride, padding="symmetric"))

    def mean_pool(self, x: Value, name: str = "") -> Value:
        """Write the mean over all places: C×1×1."""
        return self._written(MeanPool(**self._names(name, x), output_shape=(x.channels, 1, 1)))

    def flatten(self, x: Value, name: str = "") -> Value:
        """Write a map as one vector."""
        return self._written(Flatten(**self._names(name, x), output_shape=(math.prod(x.shape),)))

    def linear(self, x: Value, features: int, name: str = "") -> Value:
        """Write a linear layer with bias, from a vector."""
        return self._written(Linear(**self._names(name, x), output_shape=(features,)))

    def _names(self, name: str, *values: Value) -> dict[str, Any]:
        return {
            "name": f"{self.scope}.{name}" if name else self.scope,
            "inputs": tuple(value.name for value in values),
            "input_shape": values[0].shape,
        }

    def _written(self, operation: Operation) -> Value:
        if any(operation.name == other.name for other in self.operations):
            raise ValueError(f"two operations are called {operation.name}")
        self.operations.append(operation)
        return Value(operation.name, operation.output_shape)


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
