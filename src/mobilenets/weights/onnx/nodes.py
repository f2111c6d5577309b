"""ONNX's operators as the operations that all readers of graphs share, along the way of the picture.

A map's layout is followed by letters (``NCHW``, ``NHWC`` where TensorFlow's habit is kept), so that transpositions
vanish. What has no counterpart becomes ``Unknown``: whether that matters depends on where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.onnx.constants import Constants, Measured, axes_of, measure
from mobilenets.weights.onnx.file import Array, Fed, Graph, Node
from mobilenets.weights.operations import (
    Activation,
    Add,
    Affine,
    BatchNorm,
    Clip,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    MeanPool,
    Multiply,
    Norm,
    Operation,
    Pad,
    Padding,
    Pair,
    Picture,
    Unknown,
)
from mobilenets.weights.simplify import hard_sigmoid, side_after

_MAX_NODES = 10_000
_MAX_PADDING = 16
_SAME = ("Identity", "Dropout", "Cast")
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


@dataclass(frozen=True)
class Value:
    """What becomes of the picture: a place among the operations, and a letter for each axis.

    ``P`` is the axis of a map's pixels in one row; without letters it is what an unknown operation gave.
    """

    place: int
    axes: str


_State = Array | Value | Measured | None


class Translation:
    """The operations of a graph, and which of them gives each of its outputs.

    Raises InputError for a malformed graph, and for one without an input for pictures.
    """

    def __init__(self, graph: Graph) -> None:
        if len(graph.nodes) > _MAX_NODES:
            raise InputError(f"it has {len(graph.nodes)} operators, a MobileNet hundreds; give one network")
        self.graph = graph
        self.operations: list[Operation] = []
        self.sides: list[Pair | None] = []
        self.constants = Constants()
        self.states: dict[str, _State] = dict(graph.constants)
        for fed in graph.inputs:
            if fed.name not in graph.constants:
                self.states[fed.name] = self._picture(fed)
        for node in graph.nodes:
            self._run(node)

    def output(self, name: str) -> Value | None:
        """Give what an output is; None where it is not made of the picture."""
        state = self.states.get(name)
        return state if isinstance(state, Value) else None

    def _picture(self, fed: Fed) -> Value | None:
        shape = fed.shape or (None,) * 4
        if len(shape) not in (3, 4):
            return None
        channels, last = shape[-3], shape[-1]
        takers = [node for node in self.graph.nodes if fed.name in node.inputs]
        turned = any(node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2] for node in takers)
        behind = last in (1, 3) and channels not in (1, 3)
        axes = "HWC" if behind or (turned and channels != 3) else "CHW"
        rows, columns = shape[-3:-1] if axes == "HWC" else shape[-2:]
        side = None if rows is None or columns is None else (rows, columns)
        return self._add(Picture(fed.name, (), side, fed.pixels, axes == "HWC"), "N" * (len(shape) - 3) + axes)

    def _add(self, operation: Operation, axes: str) -> Value:
        self.operations.append(operation)
        self.sides.append(side_after(operation, self.sides))
        return Value(len(self.operations) - 1, axes)

    def _run(self, node: Node) -> None:
        given = [self.states.get(name) if name else None for name in node.inputs]
        while given and not node.inputs[len(given) - 1]:
            given.pop()
        made: _State
        if node.op == "Constant":
            made = _constant(node)
        elif any(isinstance(state, Value) for state in given):
            made = self._value(node, given)
        elif given and all(isinstance(state, np.ndarray) for state in given):
            made = self.constants.fold(node, [state for state in given if isinstance(state, np.ndarray)])
        else:
            made = measure(node, given)
        self.states[node.outputs[0]] = made
        # Of what gives several outputs only the first is known, but TopK's places of the highest scores.
        for name in node.outputs[1:]:
            if name:
                self.states[name] = made if node.op == "TopK" else self._unknown(node, given)

    def _unknown(self, node: Node, given: Sequence[_State], what: str = "") -> Value | None:
        """Note an operation that no network here has; ``what`` goes on from its name."""
        places = tuple(state.place for state in given if isinstance(state, Value))
        if not places:
            return None
        return self._add(Unknown(str(node), places, f"its {node} {what or 'is no operation of a MobileNet'}"), "")

    def _value(self, node: Node, given: Sequence[_State]) -> Value | Measured | None:
        """Take a picture through a node."""
        first = given[0]
        if node.op == "Shape" and isinstance(first, Value):
            return Measured(self._shape(first))
        if any(isinstance(state, Value) and not state.axes for state in given):
            return self._unknown(node, given)
        if node.op in ("Add", "Sub", "Mul", "Div", "Sum"):
            return self._arithmetic(node, given)
        if node.op in ("Max", "Min"):
            given = sorted(given, key=lambda state: not isinstance(state, Value))
            first = given[0]
        take = _TAKEN.get(node.op)
        if not isinstance(first, Value) or (take is None and node.op not in (*_SAME, *_FUNCTIONS)):
            return self._unknown(node, given)
        if node.op in _SAME:
            return first
        if take is None:
            return self._add(Activation(node.name, (first.place,), _FUNCTIONS[node.op]), first.axes)
        return take(self, node, first, given[1:])

    def _shape(self, value: Value) -> tuple[int | None, ...]:
        rows, columns = self.sides[value.place] or (None, None)
        known = {"H": rows, "W": columns, "C": self._channels(value.place)}
        return tuple(known.get(letter) for letter in value.axes)

    def _channels(self, place: int) -> int | None:
        while not isinstance(operation := self.operations[place], Conv | Linear):
            flat = isinstance(operation, Flatten) and self.sides[operation.inputs[0]] != (1, 1)
            if not operation.inputs or flat:
                return None
            place = operation.inputs[0]
        return len(operation.weight)

    # Arithmetic

    def _arithmetic(self, node: Node, given: Sequence[_State]) -> Value | None:
        left, right = given if len(given) == 2 else (None, None)
        if isinstance(left, Value) and isinstance(right, Value):
            if node.op not in ("Add", "Mul", "Sum") or left.axes != right.axes:
                return self._unknown(node, given)
            kind = Multiply if node.op == "Mul" else Add
            return self._add(kind(node.name, (left.place, right.place)), left.axes)
        value, array = (left, right) if isinstance(left, Value) else (right, left)
        if not isinstance(value, Value) or not isinstance(array, np.ndarray):
            return self._unknown(node, given)
        vector = _vector(array, value.axes)
        if vector is None or (node.op == "Div" and value is right):
            return self._unknown(node, given)
        one, zero = np.ones(1), np.zeros(1)
        if node.op in ("Mul", "Div"):
            scale, shift = (vector if node.op == "Mul" else 1 / vector), zero
        elif node.op == "Sub":
            scale, shift = (one, -vector) if value is left else (-one, vector)
        else:
            scale, shift = one, vector
        return self._add(Affine(node.name, (value.place,), scale, shift), value.axes)

    def _clip(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        bounds = [-math.inf, math.inf]
        if node.op == "Relu":
            bounds[0] = 0.0
        elif node.op == "Clip":
            for place, name in enumerate(("min", "max")):
                told = place < len(given) and node.inputs[place + 1]
                bound = _single(given[place]) if told else node.given(name, bounds[place])
                if bound is None:
                    return self._unknown(node, [value], "has bounds that are not in the file")
                bounds[place] = bound
        else:
            bound = _single(given[0]) if len(given) == 1 else None
            if bound is None:
                return self._unknown(node, [value, *given])
            bounds[node.op == "Min"] = bound
        return self._add(Clip(node.name, (value.place,), *bounds), value.axes)

    def _hard_sigmoid(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        slope, middle = node.given("alpha", 0.2), node.given("beta", 0.5)
        if middle != 0.5:
            return self._unknown(node, [value])
        return self._add(Activation(node.name, (value.place,), hard_sigmoid(slope)), value.axes)

    def _answer(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        softmax = node.op in ("Softmax", "LogSoftmax")
        before = 1 if self.graph.opset < 13 else -1
        axis = node.given("axis", before if softmax else 0 if node.op == "ArgMax" else -1)
        if not -len(value.axes) <= axis < len(value.axes) or value.axes[axis] != "C":
            return self._unknown(node, [value], "is not over the classes")
        function = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(node.op, "argmax")
        return self._add(Activation(node.name, (value.place,), function), value.axes)

    # Layers

    def _layer(self, node: Node) -> str:
        """Name a layer as its weights are called, where they have a name of their own."""
        name = node.inputs[1].removesuffix(".weight")
        own = name in self.graph.constants or f"{name}.weight" in self.graph.constants
        return name if own and not name.startswith("onnx::") else node.name or node.outputs[0]

    def _conv(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        weight, bias = (*given, None)[:2]
        if not isinstance(weight, np.ndarray) or not isinstance(bias, np.ndarray | None):
            return self._unknown(node, [value, *given], "has weights that are not in the file")
        if value.axes != "NCHW" or weight.ndim != 4 or weight.dtype.kind != "f" or 0 in weight.shape:
            return self._unknown(node, [value], "is not over pictures")
        if set(node.given("dilations", [1])) != {1}:
            return self._unknown(node, [value], "is dilated, which no MobileNet here is")
        groups = node.given("group", 1)
        stride, padding = self._window(node, value, (weight.shape[2], weight.shape[3]))
        if stride is None:
            return self._unknown(node, [value], "is padded in a way that no MobileNet is")
        inputs = (value.place,)
        return self._add(Conv(self._layer(node), inputs, weight, bias, stride, padding, groups), value.axes)

    def _window(self, node: Node, value: Value, kernel: Pair) -> tuple[Pair | None, Padding | None]:
        """Read strides and zeros: rows, then columns; no stride where they are not understood."""
        stride = _pair(node, node.given("strides", [1, 1]))
        top, left, bottom, right = pads if len(pads := node.given("pads", [0] * 4)) == 4 else (-1,) * 4
        way = node.given("auto_pad", "NOTSET")
        if way == "SAME_UPPER":
            return stride, None
        if way == "SAME_LOWER":
            side = self.sides[value.place]
            even = side is not None and all(
                not (max((math.ceil(s / step) - 1) * step + k - s, 0)) % 2
                for s, step, k in zip(side, stride, kernel, strict=True)
            )
            odd = stride == (1, 1) and kernel[0] % 2 and kernel[1] % 2
            return (stride, None) if even or odd else (None, None)
        if way == "VALID":
            return stride, ((0, 0), (0, 0))
        known = all(0 <= zeros < _MAX_PADDING for zeros in (top, left, bottom, right))
        return (stride, ((top, bottom), (left, right))) if known else (None, None)

    def _norm(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        arrays = [state for state in given if isinstance(state, np.ndarray)]
        if len(arrays) != 4 or value.axes[1:2] != "C" or node.given("training_mode", 0):
            return self._unknown(node, [value, *given], "has statistics that are not in the file")
        if any(array.shape != arrays[2].shape or array.ndim != 1 for array in arrays):
            raise InputError(f"{node} has arrays of several shapes; export the model again")
        scale, shift, mean, variance = arrays
        name = node.inputs[1].removesuffix(".weight")
        # float32's 0.001 as the decimal that it was written as.
        epsilon = float(f"{node.given('epsilon', 1e-5):.6g}")
        return self._add(
            Norm(node.name, (value.place,), BatchNorm(name, scale, shift, mean, variance, epsilon)), value.axes
        )

    def _product(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        weight, bias = (*given, None)[:2]
        if not isinstance(weight, np.ndarray) or weight.ndim != 2 or weight.dtype.kind != "f" or 0 in weight.shape:
            return self._unknown(node, [value, *given])
        if node.op == "Gemm" and (node.given("transA", 0) or value.axes != "NC"):
            return self._unknown(node, [value])
        matrix = weight if node.op == "Gemm" and node.given("transB", 0) else weight.T
        if node.op == "Gemm" and (factor := node.given("alpha", 1.0)) != 1:
            matrix = matrix * factor
        vector = None
        if node.op == "Gemm" and bias is not None:
            vector = _vector(bias, "NC") if isinstance(bias, np.ndarray) else None
            if vector is None or vector.size not in (1, len(matrix)):
                return self._unknown(node, [value, *given])
            vector = np.broadcast_to(vector, len(matrix)) * node.given("beta", 1.0)
        name, inputs = self._layer(node), (value.place,)
        if value.axes == "NC":
            return self._add(Linear(name, inputs, matrix, vector), "NC")
        if value.axes == "NHWC":  # each pixel by itself
            return self._add(Conv(name, inputs, matrix[:, :, None, None], vector), value.axes)
        return self._unknown(node, [value])

    # Maps

    def _pool(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        if value.axes != "NCHW":
            return self._unknown(node, [value])
        if node.op == "GlobalAveragePool":
            return self._add(MeanPool(node.name, (value.place,)), value.axes)
        kernel = _pair(node, node.given("kernel_shape", [0, 0]))
        stride, padding = self._window(node, value, kernel)
        plain = node.given("dilations", [1, 1]) == [1, 1] and padding is not None and stride is not None
        if not plain or stride is None or padding is None:
            return self._unknown(node, [value])
        ceil = bool(node.given("ceil_mode", 0))
        if node.op == "MaxPool":
            return self._add(MaxPool(node.name, (value.place,), kernel, stride, padding, ceil), value.axes)
        side = self.sides[value.place]
        if kernel != side or padding != ((0, 0), (0, 0)):
            size = f"of {side[0]} × {side[1]}" if side else "of unknown size; export it with a fixed input size"
            return self._unknown(node, [value], f"averages {kernel[0]} × {kernel[1]} pixels of a map {size}")
        return self._add(MeanPool(node.name, (value.place,)), value.axes)

    def _mean(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        axes = axes_of(node, given) or []
        letters = {value.axes[axis] for axis in axes if -len(value.axes) <= axis < len(value.axes)}
        if letters not in ({"H", "W"}, {"P"}):
            return self._unknown(node, [value], "does not average over the map")
        mean = self._add(MeanPool(node.name, (value.place,)), value.axes)
        if node.given("keepdims", 1) and letters != {"P"}:
            return mean
        return self._add(Flatten(node.name, (mean.place,)), "NC")

    def _pad(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        told = given[0] if given else np.array(node.given("pads", [0]))
        filled = given[1] if len(given) > 1 else np.array(node.given("value", 0.0))
        axes = axes_of(node, given[2:])
        fits = isinstance(told, np.ndarray) and told.size == 2 * len(value.axes) and axes is None
        zero = filled is None or (isinstance(filled, np.ndarray) and not filled.any())
        if not isinstance(told, np.ndarray) or not fits or not zero or node.given("mode", "constant") != "constant":
            return self._unknown(node, [value])
        sides = told.reshape(2, -1).astype(np.int64)
        if (sides < 0).any() or (sides >= _MAX_PADDING).any():
            return self._unknown(node, [value])
        by = {letter: (int(before), int(after)) for letter, before, after in zip(value.axes, *sides, strict=True)}
        rows, columns = by.pop("H", (0, 0)), by.pop("W", (0, 0))
        if any(map(any, by.values())):
            return self._unknown(node, [value])
        if not any((*rows, *columns)):
            return value
        return self._add(Pad(node.name, (value.place,), (rows, columns)), value.axes)

    def _transpose(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        order = node.given("perm", list(range(len(value.axes)))[::-1])
        if sorted(order) != list(range(len(value.axes))):
            raise InputError(f"{node} has a malformed attribute 'perm'; export the model again")
        return Value(value.place, "".join(value.axes[axis] for axis in order))

    def _squeeze(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        axes = axes_of(node, given)
        if axes is None:
            axes = [axis for axis, letter in enumerate(value.axes) if letter in "HW"]
        left = "".join(
            letter for i, letter in enumerate(value.axes) if i not in axes and i - len(value.axes) not in axes
        )
        if "C" not in left or len(left) + len(axes) != len(value.axes):
            return self._unknown(node, [value])
        if left != "NC":
            return Value(value.place, left)
        return self._add(Flatten(node.name, (value.place,)), left)

    def _unsqueeze(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        missing = [letter for letter in "NHW" if letter not in value.axes]
        letters = list(value.axes)
        axes = axes_of(node, given) or []
        rank = len(letters) + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            if not missing:
                return self._unknown(node, [value])
            letters.insert(axis, missing.pop(0))
        return Value(value.place, "".join(letters))

    def _reshape(self, node: Node, value: Value, given: Sequence[_State]) -> Value | None:
        if node.op == "Flatten":
            target: tuple[int | None, ...] = (None, None) if node.given("axis", 1) == 1 else (None,)
        else:
            told = measure(Node("", "Identity", (), ("",), {}), given) if given else None
            if told is None:
                return self._unknown(node, [value])
            target = told.values
        channels, pixel = self._channels(value.place), self.sides[value.place] in ((1, 1), None)
        if len(target) == 2 and len(value.axes) == 4:
            last = value.axes.endswith("C")
            return self._add(Flatten(node.name, (value.place,), channels_last=last), "NC")
        if len(target) <= 2 and value.axes == "NC":
            return value
        if len(target) == 3 and value.axes == "NCHW" and target[1] in (0, None, channels):
            return Value(value.place, "NCP")
        if len(target) == 4 and pixel and (value.axes == "NC" or "H" in value.axes):
            places = [i for i in (1, 3) if target[i] not in (1, None) and target[i] in (-1, channels)]
            if len(places) == 1:
                return Value(value.place, "NCHW" if places == [1] else "NHWC")
        return self._unknown(node, [value], "puts the map's numbers in another order")


_TAKEN: Mapping[str, Callable[[Translation, Node, Value, Sequence[Any]], Value | None]] = {
    **dict.fromkeys(("Relu", "Clip", "Max", "Min"), Translation._clip),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax", "TopK"), Translation._answer),
    **dict.fromkeys(("Gemm", "MatMul"), Translation._product),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "MaxPool"), Translation._pool),
    **dict.fromkeys(("Reshape", "Flatten"), Translation._reshape),
    "HardSigmoid": Translation._hard_sigmoid,
    "Conv": Translation._conv,
    "BatchNormalization": Translation._norm,
    "ReduceMean": Translation._mean,
    "Pad": Translation._pad,
    "Transpose": Translation._transpose,
    "Squeeze": Translation._squeeze,
    "Unsqueeze": Translation._unsqueeze,
}


def _constant(node: Node) -> Array | None:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            value = np.asarray(node.attributes[name])
            return value.astype(np.float32) if value.dtype == np.float64 and name != "value" else value
    return None


def _single(state: object) -> float | None:
    return float(state.flat[0]) if isinstance(state, np.ndarray) and state.size == 1 else None


def _pair(node: Node, values: list[int]) -> Pair:
    if len(values) != 2 or not all(0 < value < 1 << 12 for value in values):
        raise InputError(f"{node} has windows of a size that no MobileNet has")
    return values[0], values[1]


def _vector(array: Array, axes: str) -> Array | None:
    """Take a constant as one number, or one a channel, of a value with these axes; None where it is neither."""
    if array.dtype.kind not in "fiu" or array.size == 0 or array.ndim > len(axes):
        return None
    if array.size == 1:
        return array.reshape(1).astype(np.float64)
    sides = dict(zip(reversed(axes), reversed(array.shape), strict=False))
    if "C" not in sides or sides["C"] != array.size:
        return None
    return array.reshape(-1).astype(np.float64)
