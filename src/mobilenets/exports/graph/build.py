"""The graph of a network in ONNX.

Written from the network's plan and not traced: every tensor has the name that its operation has there
(``body.inverted3``), so that two runtimes can be compared layer by layer, and nothing but the layers is in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor

from mobilenets.errors import InputError
from mobilenets.exports.graph.fold import folded
from mobilenets.exports.graph.nodes import Graph
from mobilenets.exports.job import Options
from mobilenets.models import operations as ops
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

IMAGES = "images"
# Operations without numbers of their own, and their operators.
PLAIN: dict[type[ops.Operation], str] = {
    ops.Add: "Add",
    ops.Scale: "Mul",
    ops.MeanPool: "GlobalAveragePool",
    ops.Flatten: "Flatten",
}


def onnx_model(network: Network, preprocessing: Preprocessing, options: Options) -> onnx.ModelProto:
    """Build the graph of a network in evaluation mode, BatchNorm folded."""
    size = network.architecture.size
    if preprocessing.size != size:
        raise InputError(
            f"the network takes {size} pixels per side, but its preprocessing produces {preprocessing.size}"
        )
    writer = _Writer(network, half=options.precision == "float16")
    batch: int | str = options.batch or "batch"
    if options.pixels:
        entry = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [batch, size, size, 3])
        x = writer.numbers(preprocessing)
    else:
        entry = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [batch, 3, size, size])
        x = IMAGES
    values = {network.plan.images.name: x}
    for operation in network.plan.operations:
        x = values[operation.name] = writer.operation(operation, [values[name] for name in operation.inputs])
    if options.probabilities:
        x = writer.node("Softmax", [x], "probabilities", axis=1)
    leave = helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, *network.plan.operations[-1].output_shape])
    model = writer.model("mobilenet", [entry], [leave])
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer(Graph):
    """Writes the operations of a plan with the weights of its network, in half precision where ``half`` says so."""

    def __init__(self, network: Network, half: bool) -> None:
        super().__init__()
        self._network, self._half = network, half

    def numbers(self, preprocessing: Preprocessing) -> str:
        """Do what ``Preprocessing.normalise`` does, step by step, so that the roundings are the same."""
        x = self.node("Cast", [IMAGES], "numbers.cast", to=TensorProto.FLOAT)
        x = self.node("Mul", [x, self.tensor("numbers.factor", np.float32(preprocessing.scale))], "numbers.scale")
        for kind, name, value in (("Sub", "mean", preprocessing.mean), ("Div", "deviation", preprocessing.std)):
            x = self.node(
                kind, [x, self.tensor(f"numbers.{name}.value", np.array(value, np.float32))], f"numbers.{name}"
            )
        return self.node("Transpose", [x], "numbers", perm=[0, 3, 1, 2])

    def operation(self, part: ops.Operation, inputs: list[str]) -> str:
        """Write an operation; returns the name of what it gives."""
        match part:
            case ops.Conv():
                return self._conv(part, inputs[0])
            case ops.Activation():
                return self._activation(part.name, part.activation, inputs[0])
            case ops.MaxPool():
                sides, steps = [part.kernel] * 2, [part.stride] * 2
                return self.node("MaxPool", inputs, part.name, kernel_shape=sides, strides=steps, ceil_mode=1)
            case ops.Join():
                return self._join(part, inputs)
            case ops.Linear():
                layer: Any = self._network.get_submodule(part.name)
                output = "logits" if part is self._network.plan.classifier else part.name
                weights = self._weights(part.name, layer.weight, layer.bias)
                return self.node("Gemm", [*inputs, *weights], output, transB=1)
        if type(part) not in PLAIN:
            raise TypeError(f"{part.name}: no operator of ONNX is known for a {type(part).__name__}")
        return self.node(PLAIN[type(part)], inputs, part.name)

    def _conv(self, part: ops.Conv, x: str) -> str:
        layer: Any = self._network.get_submodule(part.name)
        weights = self._weights(part.name, *folded(layer))
        before, after = part.pads
        x = self.node(
            "Conv",
            [x, *weights],
            part.name if part.activation == "none" else f"{part.name}.conv",
            kernel_shape=[part.kernel, part.kernel],
            strides=[part.stride, part.stride],
            pads=[before, before, after, after],
            group=part.groups,
        )
        if part.activation == "hard_sigmoid":  # all but the clip is folded
            return self._clip(part.name, x, 1)
        return x if part.activation == "none" else self._activation(part.name, part.activation, x)

    def _join(self, part: ops.Join, inputs: list[str]) -> str:
        """Put maps together: N×(anchors · columns)×H×W as N × rows × columns, side by side and below one another."""
        width, groups = len(part.columns), []
        for start in range(0, len(inputs), width):
            rows = []
            for name, columns in zip(inputs[start : start + width], part.columns, strict=True):
                x = self.node("Transpose", [name], f"{name}.last", perm=[0, 2, 3, 1])
                shape = self.tensor(f"{name}.shape", np.array([0, -1, columns], np.int64))
                rows.append(self.node("Reshape", [x, shape], f"{name}.rows"))
            groups.append(self.node("Concat", rows, f"{part.name}.{start // width}", axis=2))
        return self.node("Concat", groups, part.name, axis=1)

    def _activation(self, name: str, activation: str, x: str) -> str:
        match activation:
            case "relu6":
                return self._clip(name, x, 6)
            case "relu":
                return self.node("Relu", [x], name)
            case "hard_swish":
                return self.node("HardSwish", [x], name)
            case "hard_sigmoid":
                return self.node("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)
            case "none":
                return self.node("Identity", [x], name)
        raise TypeError(f"{name}: no operator of ONNX is known for {activation}")

    def _clip(self, name: str, x: str, high: float) -> str:
        ends = [self.tensor(f"{name}.{end}", np.float32(value)) for end, value in (("low", 0), ("high", high))]
        return self.node("Clip", [x, *ends], name)

    def _weights(self, name: str, weight: Tensor, bias: Tensor) -> list[str]:
        """Add weights, those in half precision with the cast that makes them float32, and biases."""
        values, key = weight.detach().cpu().numpy(), f"{name}.weight"
        if self._half:
            small = self.tensor(f"{key}.float16", values.astype(np.float16))
            self.node("Cast", [small], key, to=TensorProto.FLOAT)
        else:
            self.tensor(key, values)
        return [key, self.tensor(f"{name}.bias", bias.detach().cpu().numpy())]
