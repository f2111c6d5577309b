"""A float graph with its layers in int8, as every runtime reads it: pairs of QuantizeLinear and DequantizeLinear.

Written here and not by ``onnxruntime.quantization``, so that every tensor keeps its layer's name: what an int8 layer
gives, after its pair, is ``body.inverted3`` and can be laid beside the float one. Weights are int8, symmetric, one step
an output channel; biases int32; what flows between layers is uint8, one scale and zero point per tensor (Jacob et al.
2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv 1806.08342, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mobilenets.exports.graph.nodes import Graph
from mobilenets.models.int8 import BIAS_STEPS, LARGEST, block_named

Floats: TypeAlias = npt.NDArray[np.float32]
Range: TypeAlias = tuple[float, float]

# Activations that the end of uint8 is.
CLIPS = ("Clip", "Relu")
KINDS = (
    *CLIPS,
    "HardSwish",
    "HardSigmoid",
    "Conv",
    "Add",
    "Mul",
    "MaxPool",
    "GlobalAveragePool",
    "Flatten",
    "Gemm",
)


@dataclass(frozen=True, eq=False)
class Scheme:
    """How a graph becomes int8.

    ``ranges`` has the lowest and highest value of each tensor that flows (see ``flowing``), ``steps`` the step of each
    output channel of each weight (see ``weight_steps``). ``biases`` replaces those named. The blocks ``left`` stay in
    float. ``split`` writes a hard-swish as a sum and a product, which ONNX Runtime has for integers; as one operator
    OpenVINO fuses it with the convolution. In the head it stays one: there it costs nothing. ``one`` gives each weight
    a single step: then all its ``steps`` are equal.
    """

    ranges: Mapping[str, Range]
    steps: Mapping[str, Floats]
    biases: Mapping[str, Floats] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    split: bool = False
    one: bool = False


def block_of(node: onnx.NodeProto) -> str:
    """Name the block that a node belongs to, as ``block_named`` does its layer."""
    return "classifier" if node.output[0] in ("logits", "features") else block_named(node.name)


def flowing(model: onnx.ModelProto, left: frozenset[str] = frozenset()) -> list[str]:
    """Name the tensors that int8 layers read or give, in order: each gets a pair.

    What a clip takes is none of them, because the pair clips by itself, nor are the logits, which stay exact.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inside = [node for node in model.graph.node if _in_int8(node, left)]
    read = {name: None for node in inside if node.op_type not in CLIPS for name in node.input if name not in constants}
    given = {node.output[0] for node in inside if node.op_type != "Gemm"}
    clipped = {node.input[0] for node in inside if node.op_type in CLIPS}
    ordered = [value.name for value in model.graph.input] + [node.output[0] for node in model.graph.node]
    return [name for name in ordered if (name in read or name in given) and name not in clipped]


def in_int8(model: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """Return the graph as ``scheme`` says; input, output and the tensors' names are those of ``model``."""
    return _Writer(model, scheme).write()


def weight_steps(model: onnx.ModelProto, rule: str, one: bool = False) -> dict[str, Floats]:
    """Give the step of each output channel, float32 O, for every weight O×…, by a rule.

    ``largest`` just holds a channel's largest weight, ``least squares`` has the least squared error. With ``one`` all
    channels of a weight are taken for one.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    weights = {name: numpy_helper.to_array(constants[name]) for name in names}
    if one:
        return {name: _steps(value.reshape(1, -1), rule).repeat(len(value)) for name, value in weights.items()}
    return {name: _steps(value, rule) for name, value in weights.items()}


def _steps(weight: Floats, rule: str) -> Floats:
    flat = weight.reshape(len(weight), -1)
    largest: Floats = np.abs(flat).max(axis=1) / np.float32(LARGEST)
    if rule == "largest":
        return largest
    best: Floats = largest
    least = np.full(len(flat), np.inf)
    for fraction in np.linspace(1.0, 0.75, 11):
        steps = largest * np.float32(fraction)
        column = np.where(steps > 0, steps, 1)[:, None]
        error = np.square(np.clip(np.rint(flat / column), -LARGEST, LARGEST) * column - flat).sum(axis=1)
        best, least = np.where(error < least, steps, best), np.minimum(error, least)
    return best


def activation_scale(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Give step and zero point of uint8 for a range; zero itself is held exactly, as padding needs it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    if not scale > 0:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def _in_int8(node: onnx.NodeProto, left: frozenset[str]) -> bool:
    # The numbers of the preprocessing stay in float.
    return node.op_type in KINDS and block_of(node) not in {*left, "numbers"}


class _Writer(Graph):
    def __init__(self, model: onnx.ModelProto, scheme: Scheme) -> None:
        super().__init__()
        self._graph, self._scheme = model.graph, scheme
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._flowing = set(flowing(model, scheme.left))
        # Names of the step and the zero point of every tensor that flows, and the step itself.
        self._steps: dict[str, tuple[str, str, np.float32]] = {}
        self._renamed: dict[str, str] = {}

    def write(self) -> onnx.ModelProto:
        graph = self._graph
        for entry in graph.input:
            if entry.name in self._flowing:
                self._renamed[entry.name] = f"{entry.name}.rounded"
                self._measured(entry.name)
                self._pair(entry.name, entry.name, f"{entry.name}.rounded")
        for node in graph.node:
            self._node(node)
        return self.model(graph.name, graph.input, graph.output)

    def _node(self, node: onnx.NodeProto) -> None:
        inside, [output] = _in_int8(node, self._scheme.left), node.output
        inputs = [self._renamed.get(name, name) for name in node.input]
        if inside and node.op_type in CLIPS:
            # The end of uint8 is the clip.
            raw = inputs[0]
        elif inside and self._scheme.split and node.op_type == "HardSwish" and block_of(node) != "head":
            raw = self._hard_swish(inputs[0], output)
        else:
            if inside and node.op_type in ("Conv", "Gemm"):
                self._weights(node)
            else:
                self.tensors |= {name: self._constants[name] for name in inputs if name in self._constants}
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            raw = f"{output}.float" if output in self._flowing else output
            del copied.input[:], copied.output[:]
            copied.input.extend(inputs)
            copied.output.append(raw)
            self.nodes.append(copied)
        if output not in self._flowing:
            return
        if inside and node.op_type in ("MaxPool", "Flatten"):
            # These only choose and move: with the same step on both sides they run on the bytes.
            self._steps[output] = self._steps[node.input[0]]
        else:
            self._measured(output)
        self._pair(output, raw, output)

    def _hard_swish(self, x: str, output: str) -> str:
        """Write x · min(max(x + 3, 0), 6) / 6 as a sum and a product."""
        name = f"{output}.hard_swish"
        zero = self.tensor(f"{name}.zero", np.uint8(0))
        three = [self.tensor(f"{name}.three.uint8", np.uint8(255)), self.tensor(f"{name}.three.step", _unit(3)), zero]
        self._operator("DequantizeLinear", three, f"{name}.three")
        gate = self._operator("Add", [x, f"{name}.three"], f"{name}.gate.float")
        # The ends of uint8 are the clips, and reading it with a sixth of the step is the division.
        steps = [self.tensor(f"{name}.gate.step{high}", _unit(high)) for high in (6, 1)]
        gate = self._operator("QuantizeLinear", [gate, steps[0], zero], f"{name}.gate.uint8")
        gate = self._operator("DequantizeLinear", [gate, steps[1], zero], f"{name}.gate")
        return self._operator("Mul", [x, gate], f"{output}.float")

    def _measured(self, name: str) -> None:
        scale, zero = activation_scale(*self._scheme.ranges[name])
        self._steps[name] = (self.tensor(f"{name}.step", scale), self.tensor(f"{name}.zero", zero), scale)

    def _pair(self, name: str, raw: str, output: str) -> None:
        step, zero, _ = self._steps[name]
        self._operator("QuantizeLinear", [raw, step, zero], f"{name}.uint8")
        self._operator("DequantizeLinear", [f"{name}.uint8", step, zero], output)

    def _weights(self, node: onnx.NodeProto) -> None:
        entry, weight_name, bias_name = node.input
        weight = numpy_helper.to_array(self._constants[weight_name])
        bias = self._scheme.biases.get(bias_name)
        bias = numpy_helper.to_array(self._constants[bias_name]) if bias is None else bias
        entry_step = self._steps[entry][2]
        # A channel of (nearly) no weight still has its bias, which is counted in these steps.
        scales = np.maximum(
            self._scheme.steps[weight_name], (np.abs(bias) / (entry_step * BIAS_STEPS)).astype(np.float32)
        )
        scales = np.where(scales > 1e-30, scales, np.float32(1)).astype(np.float32)
        scales = np.full_like(scales, scales.max()) if self._scheme.one else scales
        steps = scales.reshape(-1, *[1] * (weight.ndim - 1))
        rounded = np.clip(np.rint(weight / steps), -LARGEST, LARGEST).astype(np.int8)
        self._whole_numbers(weight_name, rounded, scales, "int8")
        counted = np.rint(bias.astype(np.float64) / (scales.astype(np.float64) * entry_step)).astype(np.int32)
        self._whole_numbers(bias_name, counted, scales * entry_step, "int32")

    def _whole_numbers(self, name: str, values: npt.NDArray[Any], scales: Floats, kind: str) -> None:
        scales = scales[0] if self._scheme.one else scales
        inputs = [
            self.tensor(f"{name}.{kind}", values),
            self.tensor(f"{name}.step", scales),
            # ONNX does without; ONNX Runtime would then leave the classifier in float.
            self.tensor(f"{name}.zero", np.zeros(scales.shape, values.dtype)),
        ]
        self._operator("DequantizeLinear", inputs, name, **({} if self._scheme.one else {"axis": 0}))

    def _operator(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.node(kind, inputs, output, f"{output}.{kind}", **attributes)


def _unit(high: int) -> np.float32:
    """Give the step of uint8 from 0 to ``high``."""
    return np.float32(high / 255)
