"""What ONNX nodes do with constants and with the sizes of maps, before and beside the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.layers import MAX_BYTES
from mobilenets.weights.onnx.file import Array, Node
from mobilenets.weights.wire import Budget, WireError


@dataclass(frozen=True)
class Measured:
    """Numbers made of the size of a map; None where the file does not tell."""

    values: tuple[int | None, ...]


_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.true_divide,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Neg": np.negative,
}
_MOVED = (
    *("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast"),
    *("Concat", "Gather", "Slice", "ConstantOfShape"),
)
_MAX_MEASURED = 16


class Constants:
    """Computes nodes whose inputs are all constants, within a budget of bytes."""

    def __init__(self) -> None:
        self.budget = Budget(room=2 * MAX_BYTES)

    def fold(self, node: Node, inputs: Sequence[Array]) -> Array | None:
        """Compute a node; None where that is not known. Raises InputError."""
        try:
            if node.op in _ARITHMETIC:
                self.budget.take(8 * math.prod(np.broadcast_shapes(*(array.shape for array in inputs))))
                if node.op == "Div" and inputs[0].dtype.kind in "iu":
                    return np.asarray(inputs[0] // inputs[1])
                return np.asarray(_ARITHMETIC[node.op](*inputs))
            if node.op not in _MOVED or not inputs:
                return None
            self.budget.take(8 * sum(array.size for array in inputs))
            return self._moved(node, inputs)
        except WireError as error:
            raise InputError(f"{node} makes more of its constants than any MobileNet has") from error
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise InputError(f"{node} takes constants that do not fit it; export the model again") from error

    def _moved(self, node: Node, inputs: Sequence[Array]) -> Array | None:
        first = inputs[0]
        if node.op == "Identity":
            return first
        if node.op == "Cast":
            kinds = {1: np.float32, 10: np.float32, 11: np.float64, 16: np.float32, 6: np.int32, 7: np.int64}
            kind = kinds.get(node.given("to", 0))
            return None if kind is None else first.astype(kind)
        if node.op == "Reshape":
            return first.reshape([int(side) or first.shape[i] for i, side in enumerate(inputs[1].reshape(-1)[:8])])
        if node.op == "Transpose":
            return first.transpose(node.given("perm", list(range(first.ndim))[::-1]))
        if node.op == "Concat":
            return np.concatenate(inputs, node.given("axis", 0))
        if node.op == "Gather":
            axis = node.given("axis", 0)
            self.budget.take(8 * inputs[1].size * first.size // max(first.shape[axis], 1))
            return np.asarray(np.take(first, inputs[1], axis, mode="raise"))
        if node.op == "ConstantOfShape":
            shape = [int(side) for side in first.reshape(-1)[:8]]
            self.budget.take(8 * math.prod(shape))
            return np.full(shape, node.given("value", np.zeros(1, np.float32)).reshape(-1)[0])
        if node.op == "Slice":
            return _sliced(node, inputs)
        axes = axes_of(node, inputs[1:])
        if node.op == "Unsqueeze" and axes is not None:
            return np.expand_dims(first, tuple(axes))
        if node.op == "Squeeze":
            return first.squeeze(None if axes is None else tuple(axes))
        return None


def _sliced(node: Node, inputs: Sequence[Array]) -> Array:
    starts, ends = inputs[1], inputs[2]
    axes = inputs[3] if len(inputs) > 3 else np.arange(len(starts))
    steps = inputs[4] if len(inputs) > 4 else np.ones(len(starts), np.int64)
    parts = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # To an end before the first, which Python would count from the last.
        past = step < 0 and end < -inputs[0].shape[axis]
        parts[int(axis)] = slice(int(start), None if past else int(end), int(step))
    return inputs[0][tuple(parts)]


def axes_of(node: Node, inputs: Sequence[object]) -> list[int] | None:
    """Give the axes that a node names, as an attribute or, in newer files, as its last input; None for all."""
    if "axes" in node.attributes:
        return [int(axis) for axis in node.given("axes", [0])]
    axes = next((given for given in inputs if isinstance(given, np.ndarray)), None)
    return None if axes is None else [int(axis) for axis in axes.reshape(-1)[:8]]


def measure(node: Node, inputs: Sequence[object]) -> Measured | None:
    """Follow the sizes of a map through the nodes that pick them apart; None where that is not known."""
    rows = [_numbers(given) for given in inputs]
    if not rows or rows[0] is None:
        return None
    first = rows[0]
    if node.op in ("Cast", "Unsqueeze", "Squeeze", "Identity"):
        return Measured(first)
    if node.op == "Concat" and all(row is not None for row in rows):
        return Measured(tuple(value for row in rows if row is not None for value in row)[:_MAX_MEASURED])
    if node.op == "Gather" and len(rows) == 2 and rows[1] is not None:
        return Measured(tuple(first[i] if i is not None and -len(first) <= i < len(first) else None for i in rows[1]))
    if node.op == "Slice" and len(rows) > 2 and all(row and row[0] is not None for row in rows[1:3]):
        start, stop = (row[0] for row in rows[1:3] if row)
        return Measured(first[start:stop])
    return Measured((None,) * len(first))


def _numbers(given: object) -> tuple[int | None, ...] | None:
    if isinstance(given, Measured):
        return given.values
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu" and given.size <= _MAX_MEASURED:
        return tuple(int(value) for value in given.reshape(-1))
    return None
