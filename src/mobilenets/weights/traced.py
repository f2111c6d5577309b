"""What all readers of graphs make of their units: layers in forward order, padding, strides, epsilon, input, head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.models.operations import ACTIVATIONS
from mobilenets.models.padding import PADDINGS, padded
from mobilenets.weights import operations as ops
from mobilenets.weights.layers import Foreign, check_room
from mobilenets.weights.simplify import Simplified
from mobilenets.weights.wiring import Wiring

_EPSILON = 1e-3


@dataclass(frozen=True)
class Traced:
    """What the units of a graph tell.

    ``foreign`` is that, with what the graph itself does to its pictures as ``preprocessing``; its reader knows the
    rest. ``activation`` is as in ``Foreign``, and ``scores`` how many its classifier gives, 0 without one.
    """

    foreign: Foreign
    activation: str
    scores: int


def trace(simplified: Simplified, form: str, tensorflow: bool = False) -> Traced:
    """Read the units of a graph in a file whose format is ``form``, in words.

    ``tensorflow``: whether its habits are TensorFlow's, for a file in which several ways of padding come to the same.
    Raises InputError for what stands in no network here.
    """
    operations, sides = simplified.operations, simplified.sides
    start = head_start(operations)
    _check_body(operations[:start])
    pictures = [operation for operation in operations if isinstance(operation, ops.Picture)]
    if len(pictures) != 1:
        raise InputError("its output is not made of one picture; give a network that classifies pictures")
    reason, scores = _head(simplified, start)
    units = [
        unit
        for place, unit in enumerate(operations)
        if isinstance(unit, ops.Conv | ops.Linear) and not (reason and place >= start)
    ]
    check_room("it", 6 * len(units), sum(4 * unit.weight.size for unit in units))
    norms = [unit.norm for unit in units if isinstance(unit, ops.Conv) and unit.norm is not None]
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
    convs = [(unit, sides[unit.inputs[0]]) for unit in operations[:start] if isinstance(unit, ops.Conv)]
    functions = {unit.activation for unit, _ in convs} - {""}
    padding = padding_of(convs, _order(convs) if tensorflow else PADDINGS)
    first = convs[0] if convs else None
    if padding == "keras" and first and first[0].padding is not None and first[1] is None:
        notes += ("its first convolution is padded only at the end; here, at odd sizes, at both ends",)
    foreign = Foreign(
        form,
        layers=tuple(layer for unit in units for layer in ops.layers_of(unit, epsilon)),
        padding=padding,
        epsilon=epsilon,
        strides=tuple(unit.stride[0] for i, (unit, _) in enumerate(convs) if i == 0 or unit.depthwise),
        size=side[0] if side is not None and square else None,
        preprocessing=preprocessing_of(operations),
        notes=notes,
        headless=reason,
        check=Wiring(operations, start).check,
    )
    return Traced(foreign, functions.pop() if len(functions) == 1 else "", scores)


def gates(operations: Sequence[ops.Operation]) -> set[int]:
    """Give the places of all that makes the gates of squeeze-and-excite, from their pooling on."""
    found: set[int] = set()
    for operation in operations:
        for place in operation.inputs if isinstance(operation, ops.Multiply) else ():
            chain: list[int] = []
            while operations[place].inputs and not isinstance(operations[place], ops.MeanPool | ops.Multiply):
                chain.append(place)
                place = operations[place].inputs[0]
            if isinstance(operations[place], ops.MeanPool):
                found.update((*chain, place))
    return found


def head_start(operations: Sequence[ops.Operation]) -> int:
    """Give the place where the map becomes a vector for good: of the last pooling that makes no gate.

    What is unknown behind the last convolution of a network with depthwise ones belongs to the head, too.
    """
    inside = gates(operations)
    layers = [isinstance(part, ops.Conv) or (isinstance(part, ops.Unknown) and part.layer) for part in operations]
    last = max((place for place, layer in enumerate(layers) if layer), default=0)
    deep = any(isinstance(part, ops.Conv) and part.depthwise for part in operations)
    ends = [
        place
        for place, part in enumerate(operations)
        if (isinstance(part, ops.MeanPool | ops.Flatten) and place not in inside)
        or (isinstance(part, ops.Unknown) and deep and place > last)
    ]
    return min(ends, default=len(operations))


def _check_body(operations: Sequence[ops.Operation]) -> None:
    """Refuse what no table here can have, with all such differences in one line."""
    faults: dict[str, list[str]] = {}
    for operation in operations:
        if isinstance(operation, ops.Unknown):
            raise InputError(operation.what)
        for fault in _faults(operation):
            faults.setdefault(fault, []).append(str(operation))
    if faults:
        told = (f"{what} ({names[0]}{', …' * (len(names) > 1)})" for what, names in faults.items())
        raise InputError(f"it has {'; '.join(told)}: no network here has that")


def _faults(operation: ops.Operation) -> Iterator[str]:
    function = operation.activation if isinstance(operation, ops.Conv) else ""
    if isinstance(operation, ops.Activation):
        function = operation.function
    if function and function not in ACTIVATIONS:
        yield f"a {function}"
    if isinstance(operation, ops.MaxPool) and (
        operation.padding != ops.NO_PADDING or operation.kernel != operation.stride
    ):
        yield "max pooling with windows that overlap"
    if not isinstance(operation, ops.Conv):
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
    head, folded = simplified.operations[start:], simplified.folded
    if folded.reason or not head:
        return folded.reason, 0
    for operation in head:
        if isinstance(operation, ops.Unknown):
            return operation.what, 0
        if not isinstance(operation, ops.Conv | ops.Linear | ops.Activation | ops.MeanPool | ops.Flatten):
            return f"its {operation} ({type(operation).__name__}) stands behind the pooling", 0
    last = head[-1]
    return "", len(last.weight) if isinstance(last, ops.Linear) and not last.activation else 0


def _order(convs: Sequence[tuple[ops.Conv, ops.Pair | None]]) -> tuple[str, ...]:
    """Give the ways of padding of TensorFlow and Keras, the likelier first."""
    strided = [(unit, side) for unit, side in convs if unit.stride != (1, 1)]
    if all(unit.padding is None for unit, _ in strided):
        return ("same",)
    if any(side is None for _, side in strided):
        # keras.applications' V2 has (0, 1) at every size when it is built without one, as "keras" does.
        return ("keras", "same", "symmetric")
    depthwises = sum(unit.depthwise for unit, _ in convs)
    return (habitual_padding(len(convs) - depthwises, depthwises), "same", "symmetric", "keras")


def habitual_padding(convs: int, depthwises: int) -> str:
    """The padding of keras.applications: V1 has about as many convolutions as depthwise layers, V2 twice as many."""
    return "keras" if convs <= depthwises + 2 else "same"


def padding_of(convs: Sequence[tuple[ops.Conv, ops.Pair | None]], order: Sequence[str]) -> str:
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


def _agrees(unit: ops.Conv, side: ops.Pair | None, padding: str) -> bool:
    """Whether a strided convolution is padded so: at the size of its map, or at every size where that is open."""
    kernel, stride = unit.weight.shape[2], unit.stride[0]
    after = {padded(0, kernel, stride, "after")}
    same = after if side is None else {padded(pixels, kernel, stride, "same") for pixels in side}
    given = same if unit.padding is None else set(unit.padding)
    if padding == "keras" and unit.depthwise:
        return unit.padding is not None and given == after
    if padding == "keras":  # the first is SAME at every size, or padded as the others are
        return unit.padding is None or given == after == same
    if padding == "same":
        return given == same and (side is not None or unit.padding is None)
    return given == {padded(0, kernel, stride, "symmetric")}


def preprocessing_of(operations: Sequence[ops.Operation]) -> Mapping[str, Any]:
    """Put what a graph does to its pictures into ``Preprocessing``'s fields; none for nothing. Raises InputError."""
    picture = operations[0]
    assert isinstance(picture, ops.Picture)
    takers = [operation for operation in operations if 0 in operation.inputs]
    steps = [operation for operation in takers if isinstance(operation, ops.Affine)]
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
