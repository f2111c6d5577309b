"""What all readers of graphs make of their units: layers in forward order, padding, strides, epsilon, input, head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.models.operations import ACTIVATIONS
from mobilenets.models.padding import PADDINGS, layer_padding, padded
from mobilenets.weights.layers import Layer, check_room
from mobilenets.weights.operations import (
    NO_PADDING,
    Activation,
    Affine,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    MeanPool,
    Multiply,
    Operation,
    Pair,
    Picture,
    Unknown,
    layers_of,
)
from mobilenets.weights.simplify import Simplified, zeros
from mobilenets.weights.wiring import Wiring

_EPSILON = 1e-3


@dataclass(frozen=True)
class Traced:
    """What a graph tells, mostly as the fields of ``Foreign``.

    ``preprocessing`` has what the graph itself does to its pictures. ``scores`` is how many its classifier gives, 0
    without one.
    """

    layers: tuple[Layer, ...]
    padding: str
    epsilon: float
    strides: tuple[int, ...]
    size: int | None
    preprocessing: Mapping[str, Any]
    activation: str
    scores: int
    wiring: Wiring
    notes: tuple[str, ...] = ()
    headless: str = ""


def trace(simplified: Simplified, tensorflow: bool = False) -> Traced:
    """Read the units of a graph; raises InputError for what stands in no network here.

    Parameters
    ----------
    simplified:
        The units.
    tensorflow:
        Whether its habits are TensorFlow's, for a file in which several ways of padding come to the same.

    """
    operations, sides = simplified.operations, simplified.sides
    pictures = [operation for operation in operations if isinstance(operation, Picture)]
    if len(pictures) != 1:
        raise InputError("its output is not made of one picture; give a network that classifies pictures")
    start = head_start(operations)
    _check_body(operations[:start])
    reason, scores = _head(simplified, start)
    units = [
        unit
        for place, unit in enumerate(operations)
        if isinstance(unit, Conv | Linear) and not (reason and place >= start)
    ]
    check_room("it", 6 * len(units), sum(4 * unit.weight.size for unit in units))
    norms = [unit.norm for unit in units if isinstance(unit, Conv) and unit.norm is not None]
    # The smallest, so that no variance falls below 0 where the epsilons of a file differ.
    epsilon = min((norm.epsilon for norm in norms), default=_EPSILON)
    side = pictures[0].side
    square = side is not None and side[0] == side[1]
    notes: tuple[str, ...] = ()
    if side is not None and not square:
        notes = (
            f"it was made for pictures of {side[1]} × {side[0]}, which are not square; here they are, so its answers "
            "are others than there (--size chooses the side)",
        )
    convs = [(unit, sides[unit.inputs[0]]) for unit in operations[:start] if isinstance(unit, Conv)]
    functions = {unit.activation for unit, _ in convs} - {""}
    padding = padding_of(convs, ("same", "keras", "symmetric") if tensorflow else PADDINGS)
    return Traced(
        layers=tuple(layer for unit in units for layer in layers_of(unit, epsilon)),
        padding=padding,
        epsilon=epsilon,
        strides=tuple(unit.stride[0] for i, (unit, _) in enumerate(convs) if i == 0 or unit.depthwise),
        size=side[0] if side is not None and square else None,
        preprocessing=_preprocessing(operations, pictures[0]),
        activation=functions.pop() if len(functions) == 1 else "",
        scores=scores,
        notes=notes,
        headless=reason,
        wiring=Wiring(operations, start),
    )


def gates(operations: Sequence[Operation]) -> set[int]:
    """Give the places of all that makes the gates of squeeze-and-excite, from their pooling on."""
    found: set[int] = set()
    for operation in operations:
        for place in operation.inputs if isinstance(operation, Multiply) else ():
            chain: list[int] = []
            while operations[place].inputs and not isinstance(operations[place], MeanPool | Multiply):
                chain.append(place)
                place = operations[place].inputs[0]
            if isinstance(operations[place], MeanPool):
                found.update((*chain, place))
    return found


def head_start(operations: Sequence[Operation]) -> int:
    """Give the place where the map becomes a vector for good: of the last pooling that makes no gate."""
    inside = gates(operations)
    pools = [
        place
        for place, operation in enumerate(operations)
        if isinstance(operation, MeanPool | Flatten) and place not in inside
    ]
    return next((place for place in pools if isinstance(operations[place], MeanPool)), (*pools, len(operations))[0])


def _check_body(operations: Sequence[Operation]) -> None:
    """Refuse what no table here can have, with all such differences in one line."""
    faults: dict[str, list[str]] = {}
    for operation in operations:
        if isinstance(operation, Unknown):
            raise InputError(operation.what)
        for fault in _faults(operation):
            faults.setdefault(fault, []).append(" ".join(operation.name[:100].split()))
    if faults:
        told = (f"{what} ({names[0]!r}{', …' * (len(names) > 1)})" for what, names in faults.items())
        raise InputError(f"it has {'; '.join(told)}: no network here has that")


def _faults(operation: Operation) -> Iterator[str]:
    function = operation.activation if isinstance(operation, Conv) else ""
    if isinstance(operation, Activation):
        function = operation.function
    if function and function not in ACTIVATIONS:
        yield f"a {function}"
    if isinstance(operation, MaxPool) and (operation.padding != NO_PADDING or operation.kernel != operation.stride):
        yield "max pooling with windows that overlap"
    if not isinstance(operation, Conv):
        return
    rows, columns = operation.weight.shape[2:]
    if operation.stride[0] != operation.stride[1]:
        yield f"strides of {operation.stride[0]} × {operation.stride[1]}"
    if rows != columns:
        yield f"kernels of {rows} × {columns}"
    if operation.groups > 1 and (not operation.depthwise or len(operation.weight) != operation.groups):
        yield "convolutions in groups"


def _head(simplified: Simplified, start: int) -> tuple[str, int]:
    """Say why what stands behind the body is no classifier, or how many scores it gives."""
    operations, ends = simplified.operations, simplified.ends
    head = operations[start:]
    if not head:
        return ("it gives a map, and no scores" if ends else ""), 0
    for operation in head:
        if isinstance(operation, Unknown):
            return operation.what, 0
        if (
            isinstance(operation, Flatten)
            and operation.channels_last
            and simplified.sides[operation.inputs[0]] != (1, 1)
        ):
            return f"its {operation.name!r} takes all pixels of the map, in the order of TensorFlow", 0
        if not isinstance(operation, Conv | Linear | Activation | MeanPool | Flatten):
            return f"its {operation.name!r} ({type(operation).__name__}) stands behind the pooling", 0
    last = head[-1]
    if not isinstance(last, Linear):
        return ("its scores are no linear layer" if ends else ""), 0
    scores = len(last.weight)
    if last.activation and last.activation != "sigmoid":
        return f"{last.activation} follows its scores", 0
    sigmoids = ends.count("sigmoid") + (last.activation == "sigmoid")
    if len([end for end in ends if end != "argmax"]) + (last.activation != "") > 1:
        return "several functions follow its scores", 0
    if scores > 1 and sigmoids:
        return (
            f"its {scores} scores end in sigmoid, each class separately, so that several may be right at once, but "
            "answers here are always one of the classes"
        ), 0
    if scores == 1 and ends and not sigmoids:
        return "it has one score and softmax, which always gives 1", 0
    return "", scores


def padding_of(convs: Sequence[tuple[Conv, Pair | None]], order: Sequence[str]) -> str:
    """Name the way of padding that all convolutions share, a value of ``Foreign.padding``. Raises InputError.

    ``convs`` have rows and columns of the map that each takes, where the file tells them.
    """
    for unit, _ in convs:
        half = unit.weight.shape[2] // 2
        if unit.stride == (1, 1) and unit.padding not in (None, ((half, half), (half, half))):
            raise InputError(f"{unit.name!r} does not keep the size of its map, as a MobileNet does at stride 1")
    strided = [(unit, side) for unit, side in convs if unit.stride != (1, 1)]
    for padding in order:
        if all(_agrees(unit, side, padding) for unit, side in strided):
            return padding
    pads = sorted({str(unit.padding or "SAME") for unit, _ in strided})
    raise InputError(f"its convolutions of stride 2 are padded by {' and '.join(pads)}, in no MobileNet")


def _agrees(unit: Conv, side: Pair | None, padding: str) -> bool:
    """Whether a strided convolution is padded so: at the size of its map, or at every size where that is open."""
    kernel, stride = unit.weight.shape[2], unit.stride[0]
    way = layer_padding(padding, unit.depthwise)
    if side is not None:
        given = zeros(unit, side) or ()
        return all(padded(pixels, kernel, stride, way) == own for pixels, own in zip(side, given, strict=False))
    if unit.padding is None or padding == "same":
        return unit.padding is None and way == "same"
    # Zeros for every size, which SAME are not; Keras has its first convolution so where it is built without a size.
    way = "after" if way == "same" else way
    return set(unit.padding) == {padded(0, kernel, stride, way)}


def _preprocessing(operations: Sequence[Operation], picture: Picture) -> Mapping[str, Any]:
    """Put what a graph does to its pictures into ``Preprocessing``'s fields; none for nothing. Raises InputError."""
    takers = [operation for operation in operations if 0 in operation.inputs]
    steps = [operation for operation in takers if isinstance(operation, Affine)]
    if not steps and not picture.pixels:
        return {}
    factor, offset = np.ones(3), np.zeros(3)
    if steps:
        if len(takers) > 1 or not {steps[0].scale.size, steps[0].shift.size} <= {1, 3}:
            raise InputError(f"its {steps[0].name!r} prepares pictures in a way that is not known here")
        factor, offset = factor * steps[0].scale, offset + steps[0].shift
    # The graph takes pixels of 0 to 255 or of 0 to 1: the ones that give a network numbers of moderate size.
    most = 255 if picture.pixels or factor.max() < 0.1 or np.abs(offset).max() > 10 else 1
    if not (np.isfinite(factor).all() and np.isfinite(offset).all() and 1e-6 < factor.min() <= factor.max() < 1e6):
        raise InputError("it prepares pictures with numbers that no network is trained with")
    mean, std = -offset / factor / most, 1 / factor / most
    return {"scale": 1 / 255, "mean": _rounded(mean), "std": _rounded(std)}


def _rounded(values: Any) -> tuple[float, ...]:
    """Round to what float32 tells apart, so that 0.49999999 is 0.5."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in values)
