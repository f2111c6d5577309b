"""ONNX's operators, each as the operations that all readers of graphs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mobilenets.errors import InputError
from mobilenets.models.padding import padded
from mobilenets.weights import operations as ops
from mobilenets.weights.onnx.constants import axes_of, measure
from mobilenets.weights.onnx.file import Array, Node
from mobilenets.weights.onnx.translation import HALF_AVERAGED, State, Taker, Translation, Value
from mobilenets.weights.simplify import hard_sigmoid

_MAX_PADDING = 16
_FUNCTIONS = {
    "HardSwish": "hard_swish",
    "Sigmoid": "sigmoid",
    "Swish": "swish",
    "LeakyRelu": "leaky ReLU",
    "PRelu": "parametric ReLU",
    "Elu": "ELU",
    "Selu": "SELU",
    "Gelu": "GELU",
    "Mish": "Mish",
    "Tanh": "tanh",
    "Softplus": "softplus",
}
_ENDS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "ArgMax": "argmax", "TopK": "argmax"}

Take = Callable[[Translation, Node, Value, Sequence[State]], Value | None]


def _first(take: Take) -> Taker:
    """Make a taker of one for nodes whose first input is the picture, the others what is known beside it."""

    def taker(run: Translation, node: Node, given: Sequence[State]) -> Value | None:
        value = given[0]
        return take(run, node, value, given[1:]) if isinstance(value, Value) else run.unknown(node, given)

    return taker


# Arithmetic


def _arithmetic(run: Translation, node: Node, given: Sequence[State]) -> Value | None:
    left, right = given if len(given) == 2 else (None, None)
    if isinstance(left, Value) and isinstance(right, Value):
        if node.op not in ("Add", "Mul", "Sum") or left.axes != right.axes:
            return run.unknown(node, given)
        kind = ops.Multiply if node.op == "Mul" else ops.Add
        return run.add(kind(node.name, (left.place, right.place)), left.axes)
    value, array = (left, right) if isinstance(left, Value) else (right, left)
    vector = _vector(array, value.axes) if isinstance(value, Value) else None
    if not isinstance(value, Value) or vector is None or (node.op == "Div" and value is right):
        return run.unknown(node, given)
    scale, shift = np.ones(1), np.zeros(1)
    if node.op in ("Mul", "Div"):
        scale = vector if node.op == "Mul" else 1 / vector
    elif node.op == "Sub":
        scale, shift = (scale, -vector) if value is left else (-scale, vector)
    else:
        shift = vector
    return run.add(ops.Affine(node.name, (value.place,), scale, shift), value.axes)


def _same(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value:
    return value


def _function(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value:
    return run.add(ops.Activation(node.name, (value.place,), _FUNCTIONS[node.op]), value.axes)


def _relu(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value:
    return run.add(ops.Clip(node.name, (value.place,), 0.0, math.inf), value.axes)


def _clip(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    bounds = [-math.inf, math.inf]
    for place, name in enumerate(("min", "max")):
        told = place < len(given) and node.inputs[place + 1]
        bound = _single(given[place]) if told else node.given(name, bounds[place])
        if bound is None:
            return run.unknown(node, [value], "has bounds that are not in the file")
        bounds[place] = bound
    return run.add(ops.Clip(node.name, (value.place,), *bounds), value.axes)


def _bound(run: Translation, node: Node, given: Sequence[State]) -> Value | None:
    """Take the larger or smaller of the picture and a number, in either order."""
    value = next((state for state in given if isinstance(state, Value)), None)
    bound = next((number for state in given if (number := _single(state)) is not None), None)
    if value is None or bound is None or len(given) != 2:
        return run.unknown(node, given)
    bounds = (-math.inf, bound) if node.op == "Min" else (bound, math.inf)
    return run.add(ops.Clip(node.name, (value.place,), *bounds), value.axes)


def _hard_sigmoid(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    if node.given("beta", 0.5) != 0.5:
        return run.unknown(node, [value])
    return run.add(ops.Activation(node.name, (value.place,), hard_sigmoid(node.given("alpha", 0.2))), value.axes)


def _answer(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    usual = -1 if run.graph.opset >= 13 or node.op == "TopK" else 1
    axis = node.given("axis", 0 if node.op == "ArgMax" else usual)
    if not -len(value.axes) <= axis < len(value.axes) or value.axes[axis] != "C":
        return run.unknown(node, [value], "is not over the classes")
    return run.add(ops.Activation(node.name, (value.place,), _ENDS[node.op]), value.axes)


# Layers


def _layer(run: Translation, node: Node) -> str:
    """Name a layer as its weights are called, where they have a name of their own."""
    weights = node.inputs[1]
    made = weights not in run.graph.constants and weights not in run.named
    if made or weights.startswith(("onnx::", "const", "/")):
        return node.name or node.outputs[0]
    return weights.removesuffix(".weight").removesuffix("_weights")


def _conv(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    weight, bias = (*given, None)[:2]
    if not isinstance(weight, np.ndarray) or not isinstance(bias, np.ndarray | None):
        return run.unknown(node, [value, *given], "has weights that are not in the file")
    if value.axes != "NCHW" or weight.ndim != 4 or weight.dtype.kind != "f" or 0 in weight.shape:
        return run.unknown(node, [value], "is not over pictures")
    if set(node.given("dilations", [1])) != {1}:
        return run.unknown(node, [value], "is dilated, in no MobileNet here")
    stride, padding = _window(run, node, value, (weight.shape[2], weight.shape[3]))
    if stride is None:
        return run.unknown(node, [value], "is padded as in no MobileNet")
    conv = ops.Conv(_layer(run, node), (value.place,), weight, bias, stride, padding, node.given("group", 1))
    return run.add(conv, value.axes)


def _window(run: Translation, node: Node, value: Value, kernel: ops.Pair) -> tuple[ops.Pair | None, ops.Padding | None]:
    """Read strides and zeros: rows, then columns; no stride where they are not understood."""
    stride = _pair(node, node.given("strides", [1, 1]))
    way = node.given("auto_pad", "NOTSET")
    if way == "SAME_UPPER":
        return stride, None
    if way == "SAME_LOWER":  # the same, where the zeros before are as many as those after
        side = run.sides[value.place] or (1, 1) * (stride == (1, 1))
        windows = zip(side, kernel, stride, strict=False)
        zeros = [sum(padded(pixels, width, step, "same")) for pixels, width, step in windows]
        return (None if not zeros or any(total % 2 for total in zeros) else stride), None
    top, left, bottom, right = pads if len(pads := node.given("pads", [0] * 4)) == 4 else (-1,) * 4
    if way == "VALID":
        top = left = bottom = right = 0
    known = all(0 <= side < _MAX_PADDING for side in (top, left, bottom, right))
    return (stride, ((top, bottom), (left, right))) if known else (None, None)


def _norm(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    arrays = [state for state in given if isinstance(state, np.ndarray)]
    if len(arrays) != 4 or value.axes[1:2] != "C":
        return run.unknown(node, [value, *given], "has statistics that are not in the file")
    if any(array.shape != arrays[2].shape or array.ndim != 1 for array in arrays):
        raise InputError(f"{node} has arrays of several shapes; export the model again")
    scale, shift, mean, variance = arrays
    # float32's 0.001 as the decimal that it was written as.
    epsilon = float(f"{node.given('epsilon', 1e-5):.6g}")
    numbers = ops.BatchNorm(_layer(run, node), scale, shift, mean, variance, epsilon)
    return run.add(ops.Norm(node.name, (value.place,), numbers), value.axes)


def _product(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    weight, bias = (*given, None)[:2]
    if not isinstance(weight, np.ndarray) or weight.ndim != 2 or weight.dtype.kind != "f" or 0 in weight.shape:
        return run.unknown(node, [value, *given])
    name, inputs = _layer(run, node), (value.place,)
    if node.op == "MatMul" and value.axes == "NHWC":  # each pixel by itself
        return run.add(ops.Conv(name, inputs, weight.T[:, :, None, None]), value.axes)
    if value.axes != "NC":
        return run.unknown(node, [value])
    if node.op == "MatMul":
        return run.add(ops.Linear(name, inputs, weight.T), value.axes)
    matrix = weight if node.given("transB", 0) else weight.T
    matrix = matrix if (factor := node.given("alpha", 1.0)) == 1 else matrix * factor
    vector = None if bias is None else _vector(bias, "NC")
    if node.given("transA", 0) or (bias is not None and (vector is None or vector.size not in (1, len(matrix)))):
        return run.unknown(node, [value, *given])
    if vector is not None:
        vector = np.broadcast_to(vector, len(matrix)) * node.given("beta", 1.0)
    return run.add(ops.Linear(name, inputs, matrix, vector), value.axes)


# Maps


def _pool(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    if value.axes != "NCHW":
        return run.unknown(node, [value])
    if node.op == "GlobalAveragePool":
        return run.add(ops.MeanPool(node.name, (value.place,)), value.axes)
    kernel, side = _pair(node, node.given("kernel_shape", [0, 0])), run.sides[value.place]
    stride, padding = _window(run, node, value, kernel)
    if node.given("dilations", [1, 1]) != [1, 1] or stride is None or padding is None:
        return run.unknown(node, [value])
    if node.op == "MaxPool":
        ceil = bool(node.given("ceil_mode", 0))
        return run.add(ops.MaxPool(node.name, (value.place,), kernel, stride, padding, ceil), value.axes)
    if kernel != side or padding != ((0, 0), (0, 0)):
        size = f"of {side[0]} × {side[1]}" if side else "of unknown size; export it with a fixed input size"
        return run.unknown(node, [value], f"averages {kernel[0]} × {kernel[1]} pixels of a map {size}")
    return run.add(ops.MeanPool(node.name, (value.place,)), value.axes)


def _mean(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    axes = axes_of(node, given) or []
    letters = {value.axes[axis] for axis in axes if -len(value.axes) <= axis < len(value.axes)}
    kept = bool(node.given("keepdims", 1))
    if letters in ({"H"}, {"W"}) and len(value.axes) == 4:
        return Value(value.place, _first_mean(value.axes, letters.pop(), kept))
    rest = letters == {HALF_AVERAGED} and kept == ("1" in value.axes)
    if letters not in ({"H", "W"}, {"P"}) and not rest:
        return run.unknown(node, [value], "does not average over the map")
    layout = "NHWC" if value.axes.endswith("C") else "NCHW"
    mean = run.add(ops.MeanPool(node.name, (value.place,)), layout)
    if kept and letters != {"P"}:
        return mean
    return run.add(ops.Flatten(node.name, (mean.place,)), "NC")


def _first_mean(axes: str, averaged: str, kept: bool) -> str:
    """Give the letters of a map whose rows or columns are averaged before the others: ``x.mean(3).mean(2)``."""
    (other,) = {"H", "W"} - {averaged}
    return axes.replace(averaged, "1" if kept else "").replace(other, HALF_AVERAGED)


def _pad(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    told = given[0] if given else np.array(node.given("pads", [0]))
    filled = given[1] if len(given) > 1 else np.array(node.given("value", 0.0))
    zero = filled is None or (isinstance(filled, np.ndarray) and not filled.any())
    fits = isinstance(told, np.ndarray) and told.size == 2 * len(value.axes) and axes_of(node, given[2:]) is None
    if not isinstance(told, np.ndarray) or not fits or not zero or node.given("mode", "constant") != "constant":
        return run.unknown(node, [value])
    sides = told.reshape(2, -1).astype(np.int64)
    by = {letter: (int(before), int(after)) for letter, before, after in zip(value.axes, *sides, strict=True)}
    rows, columns = by.pop("H", (0, 0)), by.pop("W", (0, 0))
    if any(map(any, by.values())) or not all(0 <= zeros < _MAX_PADDING for zeros in (*rows, *columns)):
        return run.unknown(node, [value])
    return run.add(ops.Pad(node.name, (value.place,), (rows, columns)), value.axes) if any((*rows, *columns)) else value


def _transpose(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value:
    order = node.given("perm", list(range(len(value.axes)))[::-1])
    if sorted(order) != list(range(len(value.axes))):
        raise InputError(f"{node} has a malformed attribute 'perm'; export the model again")
    return Value(value.place, "".join(value.axes[axis] for axis in order))


def _squeeze(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    rank, axes = len(value.axes), axes_of(node, given)
    if axes is None:
        axes = [axis for axis, letter in enumerate(value.axes) if letter in "HW"]
    left = "".join(letter for axis, letter in enumerate(value.axes) if axis not in axes and axis - rank not in axes)
    if "C" not in left or len(left) + len(axes) != rank:
        return run.unknown(node, [value])
    return run.add(ops.Flatten(node.name, (value.place,)), left) if left == "NC" else Value(value.place, left)


def _unsqueeze(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    missing = [letter for letter in "NHW" if letter not in value.axes]
    letters, axes = list(value.axes), axes_of(node, given) or []
    if len(axes) > len(missing):
        return run.unknown(node, [value])
    for axis in sorted(axis % (len(value.axes) + len(axes)) for axis in axes):
        letters.insert(axis, missing.pop(0))
    return Value(value.place, "".join(letters))


def _reshape(run: Translation, node: Node, value: Value, given: Sequence[State]) -> Value | None:
    if node.op == "Flatten":
        target: tuple[int | None, ...] = (None, None) if node.given("axis", 1) == 1 else (None,)
    else:
        told = measure(Node("", "Identity", (), ("",), {}), given) if given else None
        if told is None:
            return run.unknown(node, [value])
        target = told.values
    channels, pixel = run.channels(value.place), run.sides[value.place] in ((1, 1), None)
    if len(target) == 2 and len(value.axes) == 4:
        return run.add(ops.Flatten(node.name, (value.place,), channels_last=value.axes.endswith("C")), "NC")
    if len(target) <= 2 and value.axes == "NC":
        return value
    if len(target) == 3 and value.axes == "NCHW" and target[1] in (0, None, channels):
        return Value(value.place, "NCP")
    if len(target) == 4 and pixel and (value.axes == "NC" or "H" in value.axes):
        places = [axis for axis in (1, 3) if target[axis] not in (1, None) and target[axis] in (-1, channels)]
        if len(places) == 1:
            return Value(value.place, "NCHW" if places == [1] else "NHWC")
    return run.unknown(node, [value], "puts the map's numbers in another order")


TAKERS: Mapping[str, Taker] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum"), _arithmetic),
    **dict.fromkeys(("Max", "Min"), _bound),
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _first(_same)),
    **dict.fromkeys(_FUNCTIONS, _first(_function)),
    **dict.fromkeys(_ENDS, _first(_answer)),
    **dict.fromkeys(("Gemm", "MatMul"), _first(_product)),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "MaxPool"), _first(_pool)),
    **dict.fromkeys(("Reshape", "Flatten"), _first(_reshape)),
    "Relu": _first(_relu),
    "Clip": _first(_clip),
    "HardSigmoid": _first(_hard_sigmoid),
    "Conv": _first(_conv),
    "BatchNormalization": _first(_norm),
    "ReduceMean": _first(_mean),
    "Pad": _first(_pad),
    "Transpose": _first(_transpose),
    "Squeeze": _first(_squeeze),
    "Unsqueeze": _first(_unsqueeze),
}


def _single(state: State) -> float | None:
    return float(state.flat[0]) if isinstance(state, np.ndarray) and state.size == 1 else None


def _pair(node: Node, values: list[int]) -> ops.Pair:
    if len(values) != 2 or not all(0 < value < 1 << 12 for value in values):
        raise InputError(f"{node} has windows of a size that no MobileNet has")
    return values[0], values[1]


def _vector(array: State, axes: str) -> Array | None:
    """Take a constant as one number, or one a channel, of a value with these axes; None where it is neither."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.size or array.ndim > len(axes):
        return None
    sides = dict(zip(reversed(axes), reversed(array.shape), strict=False))
    if array.size > 1 and sides.get("C") != array.size:
        return None
    return array.reshape(-1).astype(np.float64)
