"""Rows and columns of what a foreign graph's operations give."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenets.models.padding import padded
from mobilenets.weights.operations import (
    NO_PADDING,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    MeanPool,
    Multiply,
    Operation,
    Pad,
    Padding,
    Pair,
    Picture,
    Unknown,
)


def sides_of(operations: Sequence[Operation]) -> list[Pair | None]:
    """Give rows and columns of what each operation gives; None where it is no map of a known size."""
    sides: list[Pair | None] = []
    for operation in operations:
        sides.append(side_after(operation, sides))
    return sides


def zeros(unit: Conv | MaxPool, side: Pair | None) -> Padding | None:
    """Give the zeros before and after rows and columns; None where SAME meets a map of unknown size."""
    if unit.padding is not None:
        return unit.padding
    if side is None or not isinstance(unit, Conv):
        return None
    windows = zip(side, unit.weight.shape[2:], unit.stride, strict=True)
    rows, columns = (padded(pixels, kernel, stride, "same") for pixels, kernel, stride in windows)
    return rows, columns


def side_after(operation: Operation, sides: Sequence[Pair | None]) -> Pair | None:
    """Give rows and columns of what an operation gives, by those of what came before; None where it is no map."""
    if isinstance(operation, Picture):
        return operation.side
    taken = [sides[place] for place in operation.inputs]
    side = taken[0] if taken else None
    if isinstance(operation, Multiply):
        return next((given for given in taken if given != (1, 1)), side)
    if isinstance(operation, MeanPool):
        return (1, 1)
    if isinstance(operation, Flatten | Linear | Unknown) or side is None:
        return None
    if isinstance(operation, Pad):
        return _shrunk(side, operation.padding, (1, 1), (1, 1))
    if isinstance(operation, AveragePool):
        return _shrunk(side, NO_PADDING, (operation.window,) * 2, (operation.stride,) * 2) if operation.window else None
    if isinstance(operation, Conv):
        rows, columns = operation.weight.shape[2:]
        return _shrunk(side, zeros(operation, side) or NO_PADDING, (rows, columns), operation.stride)
    if isinstance(operation, MaxPool):
        return _shrunk(side, operation.padding, operation.kernel, operation.stride, operation.ceil)
    return side


def _shrunk(side: Pair, padding: Padding, kernel: Pair, stride: Pair, ceil: bool = False) -> Pair:
    rows, columns = (
        ((pixels + sum(added) - width + (step - 1) * ceil) // step + 1)
        for pixels, added, width, step in zip(side, padding, kernel, stride, strict=True)
    )
    return rows, columns
