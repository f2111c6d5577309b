"""The way of a picture through a TensorFlow graph, node by node, and the layers that it meets.

Every operation on the way must be known, or the graph is refused: what is left out of a network makes another network
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mobilenets.weights.tensorflow.draft import Draft, Step
from mobilenets.weights.tensorflow.fold import SHAPED, fold
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.norm import Apart, Norm, as_written, vector
from mobilenets.weights.tensorflow.tensor import KINDS, STRING, Array
from mobilenets.weights.tensorflow.window import Window, pad_of, side_of, window_of

_INPUTS = ("Placeholder", "PlaceholderV2")
# What hands on its first input unchanged, for the purposes here.
_SAME = ("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "PlaceholderWithDefault", "Cast")
_QUANTIZED = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel")
_RESIZED = {"ResizeBilinear": "bilinear", "ResizeBicubic": "bicubic", "ResizeNearestNeighbor": "nearest"}
_DECODED = ("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif")
_MEASURED = ("Shape", "ShapeN", "Size", "Rank")
_ANSWERS = ("Softmax", "LogSoftmax", "ArgMax", "TopK", "TopKV2")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_SUMS = ("Add", "AddV2", "BiasAdd", "Sub")
_PRODUCTS = ("Mul", "RealDiv", "Div")
_RANDOM = ("Random", "StatelessRandom")
_UNFROZEN = ("Switch", "Merge", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall")

_MAX_CHANNELS, _MAX_STEPS = 1 << 16, 16
_ONLY = "only MobileNetV1 and V2 can be read"


@dataclass(frozen=True)
class Flow:
    """What becomes of the picture along one edge of the graph."""

    stage: str  # input, body, pooled or answer
    layer: int | None = None  # the layer that it is the output of, up to BatchNorm and ``steps``
    steps: tuple[Step, ...] = ()
    pad: tuple[int, int] | None = None
    half: Node | None = None  # the first half of ReLU6
    size: int | None = None
    bytes: bool = False
    resize: str = ""


@dataclass(frozen=True)
class _Other:
    """Neither the picture nor a constant: sizes, random numbers, further inputs."""

    random: bool = False
    fed: bool = False


_State = Array | Flow | _Other


class Trace:
    """Follows the picture; gives ``drafts`` and ``windows`` in its order. Raises GraphError and WireError.

    ``outputs`` names the last node of each classifier, and ``ends`` those that no other node takes.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self.drafts: list[Draft] = []
        self.windows: list[Window] = []
        self.outputs: dict[int, str] = {}
        self.ends: list[int] = []
        self.shortcuts = 0
        self.first: Flow | None = None  # the picture as the first convolution takes it
        self.notes: dict[str, None] = {}
        self._pooled = False
        self.headless = ""  # why what stands after the pooling is no classifier
        self._constants: dict[str, Array] = {}
        self._states: dict[str, Flow | _Other] = {}
        self._apart = Apart(nodes, self._constants)
        self._images = self._find_images()
        taken = {name for node in nodes.values() for name, _ in node.inputs}
        for node in nodes.values():
            state = self._state(node)
            if isinstance(state, np.ndarray):
                self._constants[node.name] = state
                continue
            self._states[node.name] = state
            if not isinstance(state, Flow):
                continue
            head = state.layer is not None and self.drafts[state.layer].pooled
            if state.layer is not None and head and node.op != "PlaceholderWithDefault":  # the next head's input
                self.outputs[state.layer] = node.name
            if node.name not in taken and state.stage != "input":
                self._end(node, state)

    def _find_images(self) -> set[str]:
        """Name the inputs that may be pictures: those of rank 3 or 4, or where there are none, of open rank."""
        ranks = {}
        for node in self.nodes.values():
            if node.op in _INPUTS and node.kind("dtype") != STRING:
                shape = node.shape("shape")
                ranks[node.name] = None if shape is None else len(shape)
        pictures = {name for name, rank in ranks.items() if rank in (3, 4)}
        return pictures or {name for name, rank in ranks.items() if rank is None}

    def _end(self, node: Node, flow: Flow) -> None:
        """Take what a node gives that no other takes."""
        if flow.half is not None and flow.stage == "pooled":
            self.headless = self.headless or f"{flow.half} follows its scores"
        elif flow.half is not None or flow.pad is not None:
            raise GraphError(f"it ends with {flow.half or node}, in no MobileNetV1 or V2")
        if flow.stage == "pooled" and flow.layer is None and flow.steps:
            self.headless = self.headless or f"no layer of scores follows {flow.steps[-1].node}"
        self._settle(flow)
        if flow.layer is not None and self.drafts[flow.layer].pooled and flow.layer not in self.ends:
            self.ends.append(flow.layer)

    def _state(self, node: Node) -> _State:
        """Say what a node gives, from what its inputs are."""
        if node.op == "Const":
            value = node.tensor("value")
            return _Other() if value is None else value
        if node.op in _INPUTS:
            if node.name not in self._images:
                return _Other(fed=True)
            return Flow("input", size=side_of(node.shape("shape")), bytes=node.kind("dtype") == 4)
        if node.op in _DECODED:
            return Flow("input", bytes=True)
        if node.op.startswith(_RANDOM):
            return _Other(random=True)
        given = [self._given(name, port) for name, port in node.inputs]
        flows = [state for state in given if isinstance(state, Flow)]
        if flows:
            try:
                return self._flow(node, given)
            except GraphError as error:
                if not self._pooled or any(flow.stage not in ("pooled", "answer") for flow in flows):
                    raise
                # Behind the pooling anything may stand: then there is no classifier.
                self.headless = self.headless or str(error)
                return Flow("answer")
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
        answer = isinstance(state, Flow) and state.stage == "answer"
        return _Other() if port and not answer else state

    def _note_quantized(self, node: Node) -> None:
        if node.op in _QUANTIZED:
            self.notes["its simulated quantisation is left out; the weights are used as they are"] = None

    def _flow(self, node: Node, given: list[_State]) -> Flow | _Other:
        """Take a picture through a node."""
        op, first = node.op, given[0]
        flows = [state for state in given if isinstance(state, Flow)]
        flow = flows[0]
        if op in _MEASURED:
            return _Other()
        if any(state.stage == "answer" for state in flows):
            if op in (*_CONVOLUTIONS, "MatMul"):
                raise GraphError(f"{node} comes after the probabilities of classes, in no MobileNetV1 or V2")
            return Flow("answer", layer=flow.layer)
        if op in (*_SAME, *_QUANTIZED) and first is flow:
            self._note_quantized(node)
            return flow
        if any(state.pad is not None for state in flows) and op not in _CONVOLUTIONS:
            raise GraphError(f"{node} follows padding, where a MobileNet has a convolution")
        constant = next((state for state in given if isinstance(state, np.ndarray)), None)
        if op in ("Maximum", "Minimum", "Relu") and len(flows) == 1:
            return self._half(node, flow, constant)
        half = next((state.half for state in flows if state.half is not None), None)
        if half is not None:
            raise GraphError(f"{half} is not ReLU6, which is what MobileNetV1 and V2 have")
        if op in _CONVOLUTIONS:
            return self._convolution(node, given)
        if op == "MatMul":
            return self._product(node, given)
        if op == "Pad" and isinstance(given[-1], np.ndarray):
            return replace(flow, pad=pad_of(node, given[-1]))
        if op in SHAPED and first is flow:
            return flow
        if op in _RESIZED and flow.stage == "input":
            size = constant.reshape(-1)[:2].tolist() if constant is not None and constant.dtype.kind == "i" else []
            return replace(flow, size=side_of((*size, 3)), resize=_RESIZED[op])
        if op in (*_SUMS, *_PRODUCTS) and len(given) == 2:
            return self._arithmetic(node, given[0], given[1])
        if op in _NORMS and first is flow:
            return self._norm(node, flow, given[1:])
        if op == "Relu6":
            return self._active(node, flow)
        if op in ("Mean", "AvgPool") and flow.stage == "body" and _over_picture(op, constant):
            self._settle(flow)
            self._pooled = True
            return Flow("pooled")
        others = [state for state in given if isinstance(state, _Other)]
        if op in ("Select", "SelectV2") and any(state.random for state in others):
            return self._without_dropout(flow)
        if op == "Sigmoid" and flow.layer is not None:
            self._settle(flow)
            if self.drafts[flow.layer].channels > 1:
                raise GraphError(f"{node} treats each class separately, but answers here are always one of the classes")
            return Flow("answer")
        if op in _ANSWERS or any(state.fed for state in others):
            self._settle(flow)
            return Flow("answer", layer=flow.layer)
        raise GraphError(f"unknown operation {node}; {'freeze it for inference first' if op in _UNFROZEN else _ONLY}")

    def _active(self, node: Node, flow: Flow) -> Flow:
        self._settle(flow)
        if flow.layer is None:
            raise GraphError(f"{node} follows no convolution, in no MobileNetV1 or V2")
        if flow.stage == "pooled":
            raise GraphError(f"{node} follows {self.drafts[flow.layer].node} after the pooling")
        self.drafts[flow.layer].active = True
        return Flow(flow.stage)

    def _half(self, node: Node, flow: Flow, bound: Array | None) -> Flow:
        """Read ReLU6 that is written as a maximum with 0 and a minimum with 6, in either order."""
        upper = node.op == "Minimum"
        if node.op != "Relu" and (bound is None or bound.size != 1 or bound.flat[0] != (6 if upper else 0)):
            raise GraphError(f"unknown operation {node}; {_ONLY}")
        if flow.half is None:
            return replace(flow, half=node)
        if upper == (flow.half.op == "Minimum"):
            raise GraphError(f"{node} repeats {flow.half}")
        return self._active(node, replace(flow, half=None))

    def _arithmetic(self, node: Node, left: _State, right: _State) -> Flow:
        if isinstance(left, Flow) and isinstance(right, Flow):
            if node.op not in ("Add", "AddV2") or (left.stage, right.stage) != ("body", "body"):
                raise GraphError(f"unknown operation {node}; {_ONLY}")
            self._settle(left)
            self._settle(right)
            self.shortcuts += 1
            return Flow("body")
        times = node.op in _PRODUCTS
        if isinstance(left, Flow):
            return self._step(node, left, right, times)
        if isinstance(right, Flow) and node.op in ("Add", "AddV2", "Mul"):
            return self._step(node, right, left, times)
        raise GraphError(f"{node} has the picture as its second input, in no MobileNetV1 or V2")

    def _step(self, node: Node, flow: Flow, value: _State, times: bool) -> Flow:
        if isinstance(value, _Other) and times and value.random:
            return self._without_dropout(flow)
        if len(flow.steps) == _MAX_STEPS:
            raise GraphError(f"{node} is one of more than {_MAX_STEPS} in a row, in no MobileNetV1 or V2")
        if not isinstance(value, np.ndarray):
            return replace(flow, steps=(*flow.steps, Step(node, times, None)))
        if value.dtype.kind != "f" or value.size > _MAX_CHANNELS:
            raise GraphError(f"{node} has a constant of {value.size} {value.dtype}, not one number a channel")
        if node.op == "Sub":
            value = -value
        elif node.op in ("RealDiv", "Div"):
            value = 1 / value
        return replace(flow, steps=(*flow.steps, Step(node, times, value)))

    def _without_dropout(self, flow: Flow) -> Flow:
        """Leave out a random mask, and the multiplication that makes up for it."""
        self.notes["its dropout is left out, as at inference"] = None
        last = flow.steps[-1] if flow.steps else None
        if last is not None and last.times and (last.value is None or last.value.size == 1):
            return replace(flow, steps=flow.steps[:-1])
        return flow

    def _convolution(self, node: Node, given: list[_State]) -> Flow:
        flow, kernel = _weights(node, given, 4)
        depthwise, pooled = node.op != "Conv2D", flow.stage == "pooled"
        if flow.stage == "input":
            if self.first is not None:
                raise GraphError(f"{node} is a second convolution that takes the picture, in no MobileNetV1 or V2")
            self.first = flow
        else:
            self._settle(flow)
        window = window_of(node, kernel.shape[0], flow.pad)
        if pooled and (depthwise or window.kernel > 1):
            raise GraphError(f"{node} follows the pooling, in no MobileNetV1 or V2")
        if window.stride > 1 and self.drafts and not depthwise:
            raise GraphError(f"{node} has stride {window.stride}, which only depthwise layers have in a MobileNet")
        if not pooled:
            self.windows.append(window)
        channels = kernel.shape[2] if depthwise else kernel.shape[3]
        before = flow.steps if pooled and flow.layer is None else ()
        self.drafts.append(Draft(node, self._name(node), kernel, channels, window.stride, pooled, before=before))
        return Flow("pooled" if pooled else "body", layer=len(self.drafts) - 1)

    def _product(self, node: Node, given: list[_State]) -> Flow:
        flow, kernel = _weights(node, given, 2)
        if flow.stage == "input" or node.flag("transpose_a"):
            raise GraphError(f"unknown operation {node}; {_ONLY}")
        self._settle(flow)
        kernel = kernel.T if node.flag("transpose_b") else kernel
        before = flow.steps if flow.layer is None else ()
        draft = Draft(node, self._name(node), kernel, kernel.shape[1], pooled=True, after=flow.layer, before=before)
        self.drafts.append(draft)
        return Flow("pooled", layer=len(self.drafts) - 1)

    def _name(self, node: Node) -> str:
        """Give the name of a layer's weights where the file has them as they are, else the layer's own."""
        weights = self.nodes[node.inputs[1][0]].behind(self.nodes, (*_SAME, *_QUANTIZED))
        return weights.name if weights.op == "Const" else node.name

    def _norm(self, node: Node, flow: Flow, given: list[_State]) -> Flow:
        draft = None if flow.layer is None else self.drafts[flow.layer]
        if draft is None or draft.norm is not None or any(step.times for step in flow.steps):
            raise GraphError(f"{node} follows no convolution, in no MobileNetV1 or V2")
        self._settle(flow)
        arrays = [value for value in given if isinstance(value, np.ndarray)]
        if len(arrays) != 4 or node.flag("is_training") or not arrays[2].size:
            raise GraphError(f"{node} takes its statistics from the pictures; freeze the graph for inference")
        scale, shift, mean, variance = (vector(node, value, draft.channels) for value in arrays)
        # The operation's own default, which files may leave out, is 1e-4.
        draft.norm = Norm(node.name, scale, shift, mean, variance, as_written(node.real("epsilon", 1e-4)))
        return replace(flow, steps=())

    def _settle(self, flow: Flow) -> None:
        if flow.layer is not None:
            self.drafts[flow.layer].settle(flow.steps, self._apart)
        elif flow.steps and flow.stage != "pooled":
            raise GraphError(f"{flow.steps[0].node} follows no convolution, in no MobileNetV1 or V2")


def _cast(node: Node, value: Array) -> Array:
    """Take a constant as the kind of numbers that a Cast makes of it; Keras writes whole offsets as integers."""
    kind = KINDS.get(node.kind("DstT")) if node.op == "Cast" else None
    return value.astype("<f4" if kind == "<u2" else kind) if kind is not None else value


def _weights(node: Node, given: list[_State], rank: int) -> tuple[Flow, Array]:
    """Take the picture and the weights of a layer."""
    flow, kernel = given if len(given) == 2 else (None, None)
    if not isinstance(flow, Flow):
        raise GraphError(f"unknown operation {node}; {_ONLY}")
    if not isinstance(kernel, np.ndarray):
        raise GraphError(f"the weights of {node} are not in the file; freeze the graph, or give the checkpoint")
    if kernel.ndim != rank or kernel.dtype.kind != "f" or 0 in kernel.shape:
        raise GraphError(f"{node} has weights of {kernel.dtype} and shape {kernel.shape}")
    return flow, kernel


def _over_picture(op: str, axes: Array | None) -> bool:
    if op == "AvgPool":
        return True
    if axes is None or axes.dtype.kind != "i" or axes.size != 2:
        return False
    return sorted(int(axis) % 4 for axis in axes.flat) in ([1, 2], [2, 3])
