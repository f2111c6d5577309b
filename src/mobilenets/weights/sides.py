"""Rows and columns of what a foreign graph's operations give."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenets.models.padding import padded
from mobilenets.weights import operations as ops


def sides_of(operations: Sequence[ops.Operation]) -> list[ops.Pair | None]:
    """Give rows and columns of what each operation gives; None where it is no map of a known size."""
    sides: list[ops.Pair | None] = []
    for operation in operations:
        sides.append(side_after(operation, sides))
    return sides


def zeros(unit: ops.Conv | ops.MaxPool, side: ops.Pair | None) -> ops.Padding | None:
    """Give the zeros before and after rows and columns; None where SAME meets a map of unknown size."""
    if unit.padding is not None:
        return unit.padding
    if side is None or not isinstance(unit, ops.Conv):
        return None
    windows = zip(side, unit.weight.shape[2:], unit.stride, strict=True)
    rows, columns = (padded(pixels, kernel, stride, "same") for pixels, kernel, stride in windows)
    return rows, columns


def side_after(operation: ops.Operation, sides: Sequence[ops.Pair | None]) -> ops.Pair | None:
    """Give rows and columns of what an operation gives, by those of what came before; None where it is no map."""
    if isinstance(operation, ops.Picture):
        return operation.side
    taken = [sides[place] for place in operation.inputs]
    side = taken[0] if taken else None
    if isinstance(operation, ops.Multiply):
        return next((given for given in taken if given != (1, 1)), side)
    if isinstance(operation, ops.MeanPool):
        return (1, 1)
    if isinstance(operation, ops.Flatten | ops.Linear | ops.Unknown) or side is None:
        return None
    if isinstance(operation, ops.Pad):
        return _shrunk(side, operation.padding, (1, 1), (1, 1))
    if isinstance(operation, ops.AveragePool):
        window, stride = (operation.window,) * 2, (operation.stride,) * 2
        return _shrunk(side, ops.NO_PADDING, window, stride) if operation.window else None
    if isinstance(operation, ops.Conv):
        rows, columns = operation.weight.shape[2:]
        return _shrunk(side, zeros(operation, side) or ops.NO_PADDING, (rows, columns), operation.stride)
    if isinstance(operation, ops.MaxPool):
        return _shrunk(side, operation.padding, operation.kernel, operation.stride, operation.ceil)
    return side


def _shrunk(side: ops.Pair, padding: ops.Padding, kernel: ops.Pair, stride: ops.Pair, ceil: bool = False) -> ops.Pair:
    rows, columns = (
        ((pixels + sum(added) - width + (step - 1) * ceil) // step + 1)
        for pixels, added, width, step in zip(side, padding, kernel, stride, strict=True)
    )
    return rows, columns
