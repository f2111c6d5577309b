"""A graph's operations as the units that networks here are made of: convolution, BatchNorm and activation in one.

Frameworks write one network in many ways: hard-swish as four operations, a bias as an addition, padding apart. What
remains after this is what a plan of ours lists, or is none of our networks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights import operations as ops
from mobilenets.weights.head import MAX_WORK, Choose, Folded, Scores, Value, factor, fold, pooled
from mobilenets.weights.sides import sides_of

# Halves of hard-swish where it is written out.
_GATE, _SWISH = "relu6(x + 3)", "x * relu6(x + 3)"
_TIMES_X = {"hard_sigmoid": "hard_swish", _GATE: _SWISH, "sigmoid": "swish"}
_BY_SIX = {_GATE: "hard_sigmoid", _SWISH: "hard_swish"}
# 1/6 of float16 differs by 2.4e-4, and 0.1667, which some write, by 2e-4.
_NEAR_A_SIXTH = 3e-4


@dataclass(frozen=True)
class Simplified:
    """Units in forward order, of which the last gives the output.

    ``sides`` has rows and columns of what each gives, where that is a map of a known size; ``folded`` how they end.
    """

    operations: tuple[ops.Operation, ...]
    sides: tuple[ops.Pair | None, ...]
    folded: Folded


def simplify(operations: Sequence[ops.Operation], outputs: Sequence[int], choose: Choose | None = None) -> Simplified:
    """Make units of what the outputs need, with one linear layer at their end: see ``head.fold``."""
    whole, places = _whole(operations, outputs)
    sides = sides_of(whole)

    def chosen(values: Mapping[int, Value]) -> Scores | None:
        assert choose is not None
        return choose({place: values[made] for place, made in places.items() if made in values})

    folded = fold(whole, sides, [places[output] for output in outputs], chosen if choose else None)
    joined = _Join(folded.operations, [folded.output])
    made = _pointwise(ops.needed(joined.made, joined.outputs)[0])
    return Simplified(tuple(made), tuple(sides_of(made)), folded)


def units(operations: Sequence[ops.Operation], outputs: Sequence[int]) -> tuple[list[ops.Operation], list[int]]:
    """Make units of what several outputs need, which keep what they end in; gives these and the outputs' places."""
    whole, places = _whole(operations, outputs)
    joined = _Join(whole, [places[output] for output in outputs])
    return joined.made, joined.outputs


def _whole(operations: Sequence[ops.Operation], outputs: Sequence[int]) -> tuple[list[ops.Operation], dict[int, int]]:
    """Keep what the outputs need, with whole activations; gives the operations and their places by the former ones."""
    kept = ops.needed_places(operations, outputs)
    uses = Counter([*outputs, *(source for place in kept for source in operations[place].inputs)])
    whole: list[ops.Operation] = []
    places: dict[int, int] = {}
    for place in kept:
        operation = operations[place]
        alone = len(operation.inputs) == 1 and uses[operation.inputs[0]] == 1
        # A rectifier of what is pooled, and rectified already, changes nothing.
        again = isinstance(operation, ops.Clip) and _is_rectified(operation, whole, places[operation.inputs[0]])
        places[place] = places[operation.inputs[0]] if again else len(whole)
        if not again:
            whole.append(_activation(ops.renumbered(operation, places), whole, alone))
    return whole, places


def _is_rectified(clip: ops.Clip, made: Sequence[ops.Operation], place: int) -> bool:
    if clip.low != 0 or not isinstance(made[place], ops.MeanPool | ops.AveragePool | ops.Flatten):
        return False
    while isinstance(before := made[place], ops.MeanPool | ops.AveragePool | ops.Flatten):
        (place,) = before.inputs
    return isinstance(before, ops.Clip) and before.low == 0 and before.high <= clip.high


def _activation(operation: ops.Operation, made: Sequence[ops.Operation], alone: bool) -> ops.Operation:
    """Put activations that are written in several operations together, each with the ones before it.

    ``alone``: whether nothing else takes what the operation takes.
    """
    before = made[operation.inputs[0]] if operation.inputs else None
    if isinstance(operation, ops.Clip):
        return _clipped(operation, before)
    if alone and isinstance(operation, ops.Affine) and isinstance(before, ops.Affine):
        sizes = {array.size for part in (before, operation) for array in (part.scale, part.shift)}
        if len(sizes - {1}) < 2:
            scale, shift = operation.scale.astype(np.float64), operation.shift
            return replace(
                operation, inputs=before.inputs, scale=before.scale * scale, shift=before.shift * scale + shift
            )
    sixth = isinstance(operation, ops.Affine) and _is_sixth(operation)
    if sixth and isinstance(before, ops.Activation) and before.function in _BY_SIX:
        return replace(before, name=operation.name, function=_BY_SIX[before.function])
    if isinstance(operation, ops.Multiply):
        for gate, other in (operation.inputs, operation.inputs[::-1]):
            function = made[gate]
            if not isinstance(function, ops.Activation) or function.function not in _TIMES_X:
                continue
            if function.inputs == (other,):
                return ops.Activation(operation.name, (other,), _TIMES_X[function.function])
            part = made[other]
            sixth = isinstance(part, ops.Affine) and _is_sixth(part) and part.inputs == function.inputs
            if sixth and function.function == _GATE:
                return ops.Activation(operation.name, part.inputs, "hard_swish")
    return operation


def _clipped(operation: ops.Clip, before: ops.Operation | None) -> ops.Operation:
    if isinstance(before, ops.Clip):
        low, high = (min(max(bound, operation.low), operation.high) for bound in (before.low, before.high))
        return replace(operation, inputs=before.inputs, low=low, high=high)
    if not isinstance(before, ops.Affine):
        return operation
    slope = float(before.scale.flat[0])
    if (operation.low, operation.high) == (0, 6) and _is(before, 1, 3):
        return ops.Activation(operation.name, before.inputs, _GATE)
    if (operation.low, operation.high) == (0, 1) and _is(before, slope, 0.5):
        return ops.Activation(operation.name, before.inputs, hard_sigmoid(slope))
    return operation


def hard_sigmoid(slope: float) -> str:
    """Name the function ``min(max(slope * x + 0.5, 0), 1)``."""
    return "hard_sigmoid" if math.isclose(slope, 1 / 6, rel_tol=_NEAR_A_SIXTH) else f"hard sigmoid of slope {slope:g}"


def _is(operation: ops.Affine, scale: float, shift: float, rtol: float = 1e-5) -> bool:
    values = ((operation.scale, scale), (operation.shift, shift))
    return all(array.size == 1 and np.allclose(array, value, rtol=rtol, atol=1e-7) for array, value in values)


def _is_sixth(operation: ops.Affine) -> bool:
    return _is(operation, 1 / 6, 0, _NEAR_A_SIXTH)


def _function(operation: ops.Operation) -> str:
    """Name an activation; an empty text for any other operation."""
    if isinstance(operation, ops.Activation):
        return operation.function
    if not isinstance(operation, ops.Clip):
        return ""
    known = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}
    return known.get((operation.low, operation.high), f"clip to {operation.low:g} … {operation.high:g}")


class _Join:
    """Goes along the operations once and joins each to the convolution or linear layer that it belongs to."""

    def __init__(self, operations: Sequence[ops.Operation], outputs: Sequence[int]) -> None:
        self.work = MAX_WORK
        operations, outputs = ops.needed(operations, outputs)
        uses = Counter([*outputs, *(place for operation in operations for place in operation.inputs)])
        self.made: list[ops.Operation] = []
        places: dict[int, int] = {}
        for place, operation in enumerate(operations):
            alone = len(operation.inputs) == 1 and uses[operation.inputs[0]] == 1
            places[place] = self._take(ops.renumbered(operation, places), alone)
        self.outputs = [places[output] for output in outputs]

    def _take(self, operation: ops.Operation, alone: bool) -> int:
        before = self.made[operation.inputs[0]] if operation.inputs else None
        if alone and isinstance(before, ops.Conv | ops.Linear):
            self._spend(before.weight.size if isinstance(operation, ops.Affine | ops.Norm) else 1)
            joined = _absorb(before, operation)
            if joined is not None:
                self.made[operation.inputs[0]] = joined
                return operation.inputs[0]
        if isinstance(operation, ops.Clip):
            operation = ops.Activation(operation.name, operation.inputs, _function(operation))
        if isinstance(operation, ops.Conv) and isinstance(before, ops.Pad):
            operation = _padded(operation, before)
        self.made.append(operation)
        return len(self.made) - 1

    def _spend(self, work: int) -> None:
        """Count multiplications, of which a hostile file could ask for years."""
        self.work -= work
        if self.work < 0:
            raise InputError("its layers take more arithmetic to be joined than any MobileNet's")


def _absorb(unit: ops.Unit, operation: ops.Operation) -> ops.Unit | None:
    """Give the unit with what follows it, or None where that is not part of a unit."""
    if unit.activation == "relu6" and isinstance(operation, ops.Affine) and _is_sixth(operation):
        # relu6(x + 3) / 6, the 3 of which went into the bias
        lower = ops.Affine(operation.name, operation.inputs, np.ones(1), np.full(1, -3.0))
        lowered = _absorb(replace(unit, activation=""), lower)
        return None if lowered is None else replace(lowered, activation="hard_sigmoid")
    if unit.activation:
        return None
    if isinstance(operation, ops.Clip) and (operation.low, operation.high) == (0, 1):
        # hard-sigmoid, whose x / 6 + 1/2 went into the weights
        wider = _absorb(unit, ops.Affine(operation.name, operation.inputs, np.full(1, 6.0), np.full(1, -3.0)))
        return None if wider is None else replace(wider, activation="hard_sigmoid")
    if function := _function(operation):
        return replace(unit, activation=function)
    outputs = len(unit.weight)
    if isinstance(operation, ops.Norm) and isinstance(unit, ops.Linear):
        operation = ops.Affine(operation.name, operation.inputs, *factor(operation.numbers))
    if isinstance(operation, ops.Norm) and isinstance(unit, ops.Conv):
        fits = operation.numbers.mean.size == outputs
        return replace(unit, norm=operation.numbers) if unit.norm is None and fits else None
    if not isinstance(operation, ops.Affine) or not {operation.scale.size, operation.shift.size} <= {1, outputs}:
        return None
    scale, shift = (np.broadcast_to(a.reshape(-1), outputs) for a in (operation.scale, operation.shift))
    if isinstance(unit, ops.Conv) and unit.norm is not None:
        numbers = unit.norm
        return replace(unit, norm=replace(numbers, scale=numbers.scale * scale, shift=numbers.shift * scale + shift))
    bias = shift if unit.bias is None else unit.bias * scale + shift
    if (scale == 1).all():
        return replace(unit, bias=bias)
    return replace(unit, weight=unit.weight * scale.reshape(-1, *[1] * (unit.weight.ndim - 1)), bias=bias)


def _padded(unit: ops.Conv, pad: ops.Pad) -> ops.Operation:
    """Give the convolution with the zeros that were put around its map before."""
    if unit.padding is None:
        return ops.Unknown(unit.name, pad.inputs, f"its {unit} pads what is padded, in no MobileNet")
    (top, bottom), (left, right) = (
        (own[0] + more[0], own[1] + more[1]) for own, more in zip(unit.padding, pad.padding, strict=True)
    )
    return replace(unit, inputs=pad.inputs, padding=((top, bottom), (left, right)))


def _pointwise(operations: Sequence[ops.Operation]) -> list[ops.Operation]:
    """Write what works on one pixel in one way: a linear layer for the scores, 1×1 convolutions before it."""
    made: list[ops.Operation] = []
    places: dict[int, int] = {}
    last = len(operations) - 1
    if isinstance(operations[last], ops.Flatten):
        (last,) = operations[last].inputs
    for place, operation in enumerate(operations[: last + 1]):
        unit = ops.renumbered(operation, places)
        (before,) = unit.inputs if isinstance(unit, ops.Linear | ops.Conv) else (0,)
        flat = made[before] if made else unit
        if isinstance(unit, ops.Linear) and place != last:
            before = flat.inputs[0] if isinstance(flat, ops.Flatten) else before
            if pooled(made, before):
                weight = unit.weight[:, :, None, None]
                unit = ops.Conv(unit.name, (before,), weight, unit.bias, activation=unit.activation)
        elif isinstance(unit, ops.Conv) and place == last and pooled(made, before):
            unit = _linear(unit)
        if isinstance(unit, ops.Linear) and not isinstance(made[unit.inputs[0]], ops.Flatten):
            made.append(ops.Flatten(unit.name, unit.inputs))
            unit = replace(unit, inputs=(len(made) - 1,))
        places[place] = len(made)
        made.append(unit)
    if last < len(operations) - 1 and not isinstance(made[-1], ops.Linear):
        made.append(ops.renumbered(operations[-1], places))
    return ops.needed(made, [len(made) - 1])[0]


def _linear(unit: ops.Conv) -> ops.Unit:
    """Give a 1×1 convolution without an activation as the linear layer that it is on one pixel."""
    if unit.weight.shape[2:] != (1, 1) or unit.groups > 1 or unit.activation:
        return unit
    scores = ops.Linear(unit.name, unit.inputs, unit.weight[:, :, 0, 0], unit.bias)
    return scores if unit.norm is None else _absorb(scores, ops.Norm(unit.norm.name, (), unit.norm)) or unit
