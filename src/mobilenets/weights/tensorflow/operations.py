"""The nodes of a TensorFlow graph as ``weights.operations``.

Every operation on the way of the picture must be known, or the graph is refused: what is left out of a network makes
another network of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobilenets.weights import operations as ops
from mobilenets.weights.head import channels
from mobilenets.weights.layers import check_room, conv_hwio, depthwise_hwcm, linear
from mobilenets.weights.tensorflow.fold import SHAPED, fold
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.norm import Apart, as_written, vector
from mobilenets.weights.tensorflow.tensor import KINDS, STRING, Array
from mobilenets.weights.tensorflow.window import pad_of, side_of, window_of

_INPUTS = ("Placeholder", "PlaceholderV2")
# What hands on its first input unchanged, for the purposes here.
_SAME = ("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "PlaceholderWithDefault", "Cast")
_QUANTIZED = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel")
_RESIZED = {"ResizeBilinear": "bilinear", "ResizeBicubic": "bicubic", "ResizeNearestNeighbor": "nearest"}
_DECODED = ("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif")
_MEASURED = ("Shape", "ShapeN", "Size", "Rank")
_FUNCTIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_LAST = ("ArgMax", "TopK", "TopKV2")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_CONVOLUTIONS = {"Conv2D": "conv", "DepthwiseConv2dNative": "depthwise"}
_SUMS = ("Add", "AddV2", "BiasAdd", "Sub")
_PRODUCTS = ("Mul", "RealDiv", "Div")
_RANDOM = ("Random", "StatelessRandom")
_UNFROZEN = ("Switch", "Merge", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall")
_MAX_CHANNELS = 1 << 16
_ONLY = "only MobileNets can be read"


@dataclass(frozen=True)
class _Other:
    """Neither the picture nor a constant: sizes, random numbers, further inputs."""

    random: bool = False
    fed: bool = False


# Of a node: a constant, the place of an operation, or anything else.
_State = Array | int | _Other


class Translation:
    """Goes along the nodes, each behind its inputs; gives ``operations``, and by whom each is ``made_by``.

    ``ends`` has the places of those that no other takes; ``resize`` is how pictures are resized inside.
    """

    def __init__(self, path: object, nodes: Mapping[str, Node]) -> None:
        self.path, self.nodes = path, nodes
        self.operations: list[ops.Operation] = []
        self.made_by: list[Node] = []
        self.resize = ""
        self.notes: dict[str, None] = {}
        self.ends: list[int] = []
        self._answered: set[int] = set()
        self._held = [0, 0]  # arrays and bytes
        self._constants: dict[str, Array] = {}
        self._states: dict[str, int | _Other] = {}
        self._apart = Apart(nodes, self._constants)
        self._images = self._find_images()
        taken = {name for node in nodes.values() for name, _ in node.inputs}
        for node in nodes.values():
            state = self._state(node)
            if isinstance(state, np.ndarray):
                self._constants[node.name] = state
                continue
            self._states[node.name] = state
            if node.name not in taken and isinstance(state, int):
                self.ends.append(state)

    def _find_images(self) -> set[str]:
        """Name the inputs that may be pictures: those of rank 3 or 4, or where there are none, of open rank."""
        ranks = {}
        for node in self.nodes.values():
            if node.op in _INPUTS and node.kind("dtype") != STRING:
                shape = node.shape("shape")
                ranks[node.name] = None if shape is None else len(shape)
        pictures = {name for name, rank in ranks.items() if rank in (3, 4)}
        return pictures or {name for name, rank in ranks.items() if rank is None}

    def _state(self, node: Node) -> _State:
        """Say what a node gives, from what its inputs are."""
        if node.op == "Const":
            value = node.tensor("value")
            return _Other() if value is None else value
        if node.op in (*_INPUTS, *_DECODED):
            if node.op in _INPUTS and node.name not in self._images:
                return _Other(fed=True)
            pixels = node.op in _DECODED or node.kind("dtype") == 4
            side = side_of(node.shape("shape"))
            return self._add(node, ops.Picture(node.name, (), side, pixels, channels_last=True))
        if node.op.startswith(_RANDOM):
            return _Other(random=True)
        given = [self._given(name, port) for name, port in node.inputs]
        if any(isinstance(state, int) for state in given):
            try:
                return _Other() if node.op in _MEASURED else self._flow(node, given)
            except GraphError as error:
                places = tuple(state for state in given if isinstance(state, int))
                return self._add(node, ops.Unknown(node.name, places, str(error)))
        others = [state for state in given if isinstance(state, _Other)]
        constants = [state for state in given if isinstance(state, np.ndarray)]
        if others or not constants:
            return _Other(any(state.random for state in others), any(state.fed for state in others))
        if node.op in (*_SAME, *_QUANTIZED):
            self._note_quantized(node)
            return _cast(node, constants[0])
        folded = fold(node, constants)
        return _Other() if folded is None else folded

    def _given(self, name: str, port: int) -> _State:
        if name in self._constants:
            return self._constants[name] if port == 0 else _Other()
        state = self._states[name]
        return _Other() if port and state not in self._answered else state

    def _note_quantized(self, node: Node) -> None:
        if node.op in _QUANTIZED:
            self.notes["its simulated quantisation is left out; the weights are used as they are"] = None

    def _add(self, node: Node, operation: ops.Operation) -> int:
        self.operations.append(operation)
        self.made_by.append(node)
        return len(self.operations) - 1

    def _flow(self, node: Node, given: list[_State]) -> int:
        """Take the picture through a node."""
        op, first = node.op, given[0]
        places = [state for state in given if isinstance(state, int)]
        place = places[0]
        constant = next((state for state in given if isinstance(state, np.ndarray)), None)
        others = [state for state in given if isinstance(state, _Other)]
        if any(state in self._answered for state in places):
            return self._answer(node, *places)
        if op in (*_SAME, *_QUANTIZED) and isinstance(first, int):
            self._note_quantized(node)
            return place
        if op in _FUNCTIONS:
            made = self._add(node, ops.Activation(node.name, (place,), _FUNCTIONS[op]))
            self._answered.add(made)
            return made
        if op in ("Relu", "Relu6", "Maximum", "Minimum"):
            return self._clip(node, place, constant)
        if op in _CONVOLUTIONS:
            return self._convolution(node, *_weights(node, given, 4))
        if op == "MatMul":
            return self._product(node, *_weights(node, given, 2))
        if op == "Pad" and isinstance(given[-1], np.ndarray):
            return self._add(node, ops.Pad(node.name, (place,), pad_of(node, given[-1])))
        if op in SHAPED and isinstance(first, int):
            flat = ops.Flatten(node.name, (place,), channels_last=True)
            return self._add(node, flat) if self._weighed(place) else place
        if op in _RESIZED and isinstance(picture := self.operations[place], ops.Picture):
            size = constant.reshape(-1)[:2].tolist() if constant is not None and constant.dtype.kind == "i" else []
            self.resize = _RESIZED[op]
            return self._add(node, replace(picture, side=side_of((*size, 3))))
        if op in (*_SUMS, *_PRODUCTS) and len(given) == 2:
            return self._arithmetic(node, given)
        if op in _NORMS and isinstance(first, int):
            return self._norm(node, place, given[1:])
        if op in ("Mean", "AvgPool") and _over_picture(op, constant):
            return self._add(node, ops.MeanPool(node.name, (place,)))
        if op in ("Select", "SelectV2") and any(state.random for state in others):
            return self._without_dropout(place)
        if op in _LAST or any(state.fed for state in others):
            return self._answer(node, *places)
        raise GraphError(f"unknown operation {node}; {'freeze it for inference first' if op in _UNFROZEN else _ONLY}")

    def _weighed(self, place: int) -> bool:
        """Whether a layer with weights stands before."""
        return any(isinstance(one, ops.Conv | ops.Linear) for one in self.operations[: place + 1])

    def _answer(self, node: Node, *places: int) -> int:
        """Take what is made of the scores or probabilities of classes, which is anything but another layer."""
        if node.op in (*_CONVOLUTIONS, "MatMul"):
            raise GraphError(f"{node} comes after the probabilities of classes, in no MobileNet")
        made = self._add(node, ops.Activation(node.name, places[:1], "argmax"))
        self._answered.add(made)
        return made

    def _clip(self, node: Node, place: int, bound: Array | None) -> int:
        """Take a bound: of ReLU and ReLU6, which may be a maximum with 0 and a minimum with 6."""
        low, high = {"Relu": (0, math.inf), "Relu6": (0, 6)}.get(node.op, (-math.inf, math.inf))
        if node.op in ("Maximum", "Minimum"):
            if bound is None or bound.size != 1:
                raise GraphError(f"unknown operation {node}; {_ONLY}")
            low, high = (float(bound.flat[0]), high) if node.op == "Maximum" else (low, float(bound.flat[0]))
        return self._add(node, ops.Clip(node.name, (place,), low, high))

    def _arithmetic(self, node: Node, given: Sequence[_State]) -> int:
        left, right = given
        if isinstance(left, int) and isinstance(right, int):
            if node.op == "Mul":
                return self._add(node, ops.Multiply(node.name, (left, right)))
            if node.op not in ("Add", "AddV2"):
                raise GraphError(f"unknown operation {node}; {_ONLY}")
            return self._add(node, ops.Add(node.name, (left, right)))
        times = node.op in _PRODUCTS
        if not isinstance(left, int) and node.op not in ("Add", "AddV2", "Mul"):
            raise GraphError(f"{node} has the picture as its second input, in no MobileNet")
        place, value = (left, right) if isinstance(left, int) else (right, left)
        assert isinstance(place, int)
        if isinstance(value, _Other) and times and value.random:
            return self._without_dropout(place)
        if not isinstance(value, np.ndarray):
            reason = f"{node} needs something that is not in the file; freeze the graph first"
            return self._add(node, ops.Unknown(node.name, (place,), reason))
        if value.dtype.kind != "f" or not max(value.shape, default=1) == value.size <= _MAX_CHANNELS:
            raise GraphError(f"{node} has a constant of {value.size} {value.dtype}, not one number a channel")
        before, figures = self.operations[place], value.astype(np.float64).reshape(-1)
        if times:
            scale = figures if node.op == "Mul" else 1 / figures
            return self._add(node, ops.Affine(node.name, (place,), scale, np.zeros(1)))
        if isinstance(before, ops.Affine) and self.made_by[place].op == "Mul":
            width = channels(self.operations, place)
            numbers = self._apart.find(self.made_by[place], node, width) if width else None
            if numbers is not None:
                return self._add(node, ops.Norm(node.name, before.inputs, numbers))
        return self._add(node, ops.Affine(node.name, (place,), np.ones(1), -figures if node.op == "Sub" else figures))

    def _without_dropout(self, place: int) -> int:
        """Leave out a random mask, and the multiplication that makes up for it."""
        self.notes["its dropout is left out, as at inference"] = None
        before = self.operations[place]
        scalar = isinstance(before, ops.Unknown) or (isinstance(before, ops.Affine) and before.scale.size == 1)
        return before.inputs[0] if scalar and self.made_by[place].op in _PRODUCTS else place

    def _convolution(self, node: Node, place: int, kernel: Array) -> int:
        self._make_room(kernel)
        depthwise = node.op != "Conv2D"
        layer = (depthwise_hwcm if depthwise else conv_hwio)(self._name(node), kernel)
        weight = layer.arrays["weight"]
        stride, padding = window_of(node)
        groups = len(weight) if depthwise else 1
        return self._add(node, ops.Conv(layer.name, (place,), weight, None, (stride, stride), padding, groups))

    def _product(self, node: Node, place: int, kernel: Array) -> int:
        if node.flag("transpose_a"):
            raise GraphError(f"unknown operation {node}; {_ONLY}")
        self._make_room(kernel)
        layer = linear(self._name(node), kernel if node.flag("transpose_b") else kernel.T)
        return self._add(node, ops.Linear(layer.name, (place,), layer.arrays["weight"]))

    def _make_room(self, kernel: Array) -> None:
        """Refuse a constant that stands for more numbers than a MobileNet has; raises InputError."""
        self._held = [self._held[0] + 6, self._held[1] + 4 * kernel.size]
        check_room(self.path, *self._held)

    def _name(self, node: Node) -> str:
        """Give the name of a layer's weights where the file has them as they are, else the layer's own."""
        weights = self.nodes[node.inputs[1][0]].behind(self.nodes, (*_SAME, *_QUANTIZED))
        return weights.name if weights.op == "Const" else node.name

    def _norm(self, node: Node, place: int, given: list[_State]) -> int:
        width = channels(self.operations, place)
        arrays = [value for value in given if isinstance(value, np.ndarray)]
        if len(arrays) != 4 or node.flag("is_training") or not arrays[2].size:
            raise GraphError(f"{node} takes its statistics from the pictures; freeze the graph for inference")
        scale, shift, mean, variance = (vector(node, value, width or value.size) for value in arrays)
        # The operation's own default, which files may leave out, is 1e-4.
        numbers = ops.BatchNorm(node.name, scale, shift, mean, variance, as_written(node.real("epsilon", 1e-4)))
        return self._add(node, ops.Norm(node.name, (place,), numbers))


def _cast(node: Node, value: Array) -> Array:
    """Take a constant as the kind of numbers that a Cast makes of it; Keras writes whole offsets as integers."""
    kind = KINDS.get(node.kind("DstT")) if node.op == "Cast" else None
    return value.astype("<f4" if kind == "<u2" else kind) if kind is not None else value


def _weights(node: Node, given: list[_State], rank: int) -> tuple[int, Array]:
    """Take the picture and the weights of a layer."""
    place, kernel = given if len(given) == 2 else (None, None)
    if not isinstance(place, int):
        raise GraphError(f"unknown operation {node}; {_ONLY}")
    if not isinstance(kernel, np.ndarray):
        raise GraphError(f"the weights of {node} are not in the file; freeze the graph, or give the checkpoint")
    if kernel.ndim != rank or kernel.dtype.kind != "f" or 0 in kernel.shape:
        raise GraphError(f"{node} has weights of {kernel.dtype} and shape {kernel.shape}")
    return place, kernel


def _over_picture(op: str, axes: Array | None) -> bool:
    if op == "AvgPool":
        return True
    if axes is None or axes.dtype.kind != "i" or axes.size != 2:
        return False
    return sorted(int(axis) % 4 for axis in axes.flat) in ([1, 2], [2, 3])
