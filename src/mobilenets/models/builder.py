"""What a row of a table writes its operations into. No torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mobilenets.models import operations as ops
from mobilenets.models.padding import layer_padding, shrunk

if TYPE_CHECKING:
    from mobilenets.models.style import Style


class Builder:
    """Collects the operations of one block, in forward order.

    Names are relative to ``scope``: ``"expand"`` in ``body.inverted3`` is ``body.inverted3.expand``, and ``""`` is the
    block's own name, for what the block as a whole gives. Each method returns what the operation gives.
    """

    def __init__(self, scope: str, style: Style) -> None:
        self.scope = scope
        self.style = style
        self.operations: list[ops.Operation] = []

    def conv(
        self,
        name: str,
        x: ops.Value,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: str | None = None,
        norm: bool = True,
        bias: bool = False,
    ) -> ops.Value:
        """Write a convolution to ``channels`` maps with its bias, BatchNorm and activation, by default the table's."""
        activation = self.style.activation if activation is None else activation
        if activation not in ops.ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not one of {', '.join(ops.ACTIVATIONS)}")
        # At stride 1 all ways of padding are one.
        padding = layer_padding(self.style.padding, groups > 1) if stride > 1 else "symmetric"
        side = shrunk(x.side, kernel, stride, padding)
        return self._written(
            ops.Conv(
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
        self, name: str, x: ops.Value, kernel: int = 3, stride: int = 1, *, activation: str | None = None
    ) -> ops.Value:
        """Write a convolution that filters each channel alone, with BatchNorm and activation."""
        return self.conv(name, x, x.channels, kernel, stride, groups=x.channels, activation=activation)

    def activation(self, x: ops.Value, activation: str | None = None, name: str = "") -> ops.Value:
        """Write an activation by itself."""
        activation = self.style.activation if activation is None else activation
        return self._written(ops.Activation(**self._names(name, x), output_shape=x.shape, activation=activation))

    def add(self, x: ops.Value, y: ops.Value, name: str = "") -> ops.Value:
        """Write the sum of two maps of one shape."""
        if x.shape != y.shape:
            raise ValueError(f"{self.scope}: {x.shape} and {y.shape} cannot be added")
        return self._written(ops.Add(**self._names(name, x, y), output_shape=x.shape))

    def closed(self, x: ops.Value, y: ops.Value, stride: int, wanted: bool | None) -> ops.Value:
        """Write the residual of a block, where stride is 1 and the shapes agree, unless ``wanted`` is false."""
        return self.add(x, y) if wanted is not False and stride == 1 and x.shape == y.shape else y

    def scale(self, x: ops.Value, gate: ops.Value, name: str) -> ops.Value:
        """Write a map times a gate of one value a channel (C×1×1)."""
        if gate.shape != (x.channels, 1, 1):
            raise ValueError(f"{self.scope}: a gate of {gate.shape} for {x.shape}")
        return self._written(ops.Scale(**self._names(name, x, gate), output_shape=x.shape))

    def max_pool(self, x: ops.Value, kernel: int = 2, stride: int | None = None, name: str = "") -> ops.Value:
        """Write max pooling over ``kernel``×``kernel`` pixels, by default without overlap."""
        stride = stride or kernel
        side = math.ceil(x.side / stride) if stride == kernel else shrunk(x.side, kernel, stride, "symmetric")
        names, shape = self._names(name, x), (x.channels, side, side)
        pool = ops.MaxPool(**names, output_shape=shape, kernel=kernel, stride=stride, padding="symmetric")
        return self._written(pool)

    def mean_pool(self, x: ops.Value, name: str = "") -> ops.Value:
        """Write the mean over all places: C×1×1."""
        return self._written(ops.MeanPool(**self._names(name, x), output_shape=(x.channels, 1, 1)))

    def flatten(self, x: ops.Value, name: str = "") -> ops.Value:
        """Write a map as one vector."""
        return self._written(ops.Flatten(**self._names(name, x), output_shape=(math.prod(x.shape),)))

    def linear(self, x: ops.Value, features: int, name: str = "") -> ops.Value:
        """Write a linear layer with bias, from a vector."""
        return self._written(ops.Linear(**self._names(name, x), output_shape=(features,)))

    def _names(self, name: str, *values: ops.Value) -> dict[str, Any]:
        return {
            "name": f"{self.scope}.{name}" if name else self.scope,
            "inputs": tuple(value.name for value in values),
            "input_shape": values[0].shape,
        }

    def _written(self, operation: ops.Operation) -> ops.Value:
        if any(operation.name == other.name for other in self.operations):
            raise ValueError(f"two operations are called {operation.name}")
        self.operations.append(operation)
        return ops.Value(operation.name, operation.output_shape)
