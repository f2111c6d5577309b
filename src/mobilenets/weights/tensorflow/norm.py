"""BatchNorm that a TensorFlow graph holds as arithmetic, put together again.

``tf.nn.batch_normalization`` computes ``x * s + (beta - mean * s)`` with ``s = rsqrt(variance + epsilon) * gamma``; a
frozen graph has its operations one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mobilenets.weights.operations import BatchNorm
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.tensor import Array


def vector(node: Node, value: Array, channels: int) -> Array:
    """Take a constant as one number a channel. Raises GraphError."""
    if value.dtype.kind != "f" or value.size not in (1, channels) or max(value.shape, default=1) != value.size:
        raise GraphError(f"{node} has a constant of shape {value.shape} for {channels} channels")
    return np.broadcast_to(value.reshape(-1), channels)


def as_written(value: float) -> float:
    """Take a float32 as the short decimal that it was written as: 0.001 and not 0.0010000000474974513."""
    return float(f"{value:.6g}")


class Apart:
    """Finds the parts of BatchNorm behind the two constants that a frozen graph multiplies with and adds."""

    def __init__(self, nodes: Mapping[str, Node], constants: Mapping[str, Array]) -> None:
        self.nodes, self.constants = nodes, constants

    def find(self, times: Node, plus: Node, channels: int) -> BatchNorm | None:
        """Give the BatchNorm that ``plus(times(x))`` is, or None where the constants are not made in its way."""
        factor = self._constant_input(times)
        scaled = self._scale(factor)
        if times.op != "Mul" or scaled is None:
            return None
        variance, epsilon, gamma = scaled
        shift = self._constant_input(plus)
        beta, product = None, None
        if plus.op == "Sub":  # without beta: x * s - mean * s
            product = shift
        elif shift is not None and shift.op == "Neg":
            product = self._input(shift, 0)
        elif shift is not None and shift.op == "Sub":
            beta, product = self._value(shift, 0), self._input(shift, 1)
            if beta is None:
                return None
        mean = self._other(product, factor) if product is not None and product.op == "Mul" else None
        if mean is None:
            return None
        scale = np.ones(channels, np.float32) if gamma is None else vector(times, gamma, channels)
        beta = np.zeros(channels, np.float32) if beta is None else vector(plus, beta, channels)
        name = times.name.rpartition("/")[0] or times.name
        mean, variance = vector(plus, mean, channels), vector(times, variance, channels)
        return BatchNorm(name, scale, beta, mean, variance, as_written(float(epsilon.flat[0])))

    def _scale(self, node: Node | None) -> tuple[Array, Array, Array | None] | None:
        """Take ``rsqrt(variance + epsilon)``, times gamma or not, apart."""
        gamma = None
        if node is not None and node.op == "Mul" and len(node.inputs) == 2:
            first, second = self._input(node, 0), self._input(node, 1)
            root = next((part for part in (first, second) if part is not None and part.op == "Rsqrt"), None)
            gamma = self._other(node, root)
            node = root if gamma is not None else None
        if node is None or node.op != "Rsqrt":
            return None
        total = self._input(node, 0)
        if total is None or total.op not in ("Add", "AddV2"):
            return None
        parts = self._value(total, 0), self._value(total, 1)
        for variance, epsilon in (parts, parts[::-1]):
            if variance is not None and epsilon is not None and epsilon.size == 1 and 0 <= epsilon.flat[0] < 1:
                return variance, epsilon, gamma
        return None

    def _other(self, node: Node, factor: Node | None) -> Array | None:
        """Give the constant that a multiplication has beside ``factor``."""
        for place in (0, 1):
            found = self._input(node, place)
            if found is not None and found is factor:
                return self._value(node, 1 - place)
        return None

    def _constant_input(self, node: Node) -> Node | None:
        names = [name for name, port in node.inputs if port == 0 and name in self.constants]
        return self._follow(names[0]) if len(names) == 1 else None

    def _input(self, node: Node, place: int) -> Node | None:
        return self._follow(node.inputs[place][0]) if place < len(node.inputs) else None

    def _value(self, node: Node, place: int) -> Array | None:
        return self.constants.get(node.inputs[place][0]) if place < len(node.inputs) else None

    def _follow(self, name: str) -> Node:
        return self.nodes[name].behind(self.nodes, ("Identity", "StopGradient"))
