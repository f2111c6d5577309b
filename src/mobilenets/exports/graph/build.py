"""The graph of a network in ONNX.

Written from the network itself and not traced: every tensor has the name that its layer has in our own network
(``body.inverted3``), so that two runtimes can be compared layer by layer, and nothing but the layers is in the file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.exports.graph.fold import folded
from mobilenets.exports.graph.nodes import Graph
from mobilenets.exports.job import Options
from mobilenets.models.layers import ConvNorm, InvertedResidual, Separable, padded, shrunk
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

IMAGES = "images"


def onnx_model(network: Network, preprocessing: Preprocessing, options: Options) -> onnx.ModelProto:
    """Build the graph of a network in evaluation mode, BatchNorm folded."""
    graph = _Graph(half=options.precision == "float16")
    size = network.architecture.size
    if preprocessing.size != size:
        raise InputError(
            f"the network takes {size} pixels per side, but its preprocessing produces {preprocessing.size}"
        )
    batch: int | str = options.batch or "batch"
    if options.pixels:
        entry = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [batch, size, size, 3])
        x = _numbers(graph, preprocessing)
    else:
        entry = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [batch, 3, size, size])
        x = IMAGES
    side = size
    for name, block in network.body.named_children():
        x, side = _block(graph, f"body.{name}", block, x, side)
    if isinstance(network.pool, nn.Sequential):
        x = graph.node("GlobalAveragePool", [x], "pool.mean")
    x = graph.node("Flatten", [x], "pool", axis=1)
    width = network.classes or network.features
    last = "logits" if network.classes else "features"
    if isinstance(network.classifier, nn.Linear):
        weight = graph.weights("classifier.weight", network.classifier.weight)
        bias = graph.biases("classifier.bias", network.classifier.bias)
        x = graph.node("Gemm", [x, weight, bias], last, transB=1)
    if options.probabilities:
        last = "probabilities"
        x = graph.node("Softmax", [x], last, axis=1)
    leave = helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, width])
    model = graph.model("mobilenet", [entry], [leave])
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph(Graph):
    """A graph of weights, which are stored in half precision where ``half`` says so."""

    def __init__(self, half: bool) -> None:
        super().__init__()
        self._half = half

    def weights(self, name: str, value: Tensor) -> str:
        """Add weights; those in half precision with the cast that makes them float32."""
        array = value.detach().cpu().numpy()
        if not self._half:
            return self.tensor(name, array)
        return self.node("Cast", [self.tensor(f"{name}.float16", array.astype(np.float16))], name, to=TensorProto.FLOAT)

    def biases(self, name: str, value: Tensor) -> str:
        """Add what is always float32."""
        return self.tensor(name, value.detach().cpu().numpy())

    def scalar(self, name: str, value: float) -> str:
        """Add a number."""
        return self.tensor(name, np.float32(value))


def _numbers(graph: _Graph, preprocessing: Preprocessing) -> str:
    """Do what ``Preprocessing.normalise`` does, step by step, so that the roundings are the same."""
    x = graph.node("Cast", [IMAGES], "numbers.cast", to=TensorProto.FLOAT)
    x = graph.node("Mul", [x, graph.scalar("numbers.factor", preprocessing.scale)], "numbers.scale")
    for kind, name, value in (("Sub", "mean", preprocessing.mean), ("Div", "deviation", preprocessing.std)):
        constant = graph.tensor(f"numbers.{name}.value", np.array(value, np.float32))
        x = graph.node(kind, [x, constant], f"numbers.{name}")
    return graph.node("Transpose", [x], "numbers", perm=[0, 3, 1, 2])


def _block(graph: _Graph, name: str, block: nn.Module, x: str, side: int) -> tuple[str, int]:
    """Add a block; returns its output and the side of its map."""
    if isinstance(block, ConvNorm):
        return _conv(graph, name, block, x, side)
    if isinstance(block, Separable):
        x, side = _conv(graph, f"{name}.depthwise", block.depthwise, x, side)
        return _conv(graph, f"{name}.pointwise", block.pointwise, x, side)
    if isinstance(block, InvertedResidual):
        start = x
        if isinstance(block.expand, ConvNorm):
            x, side = _conv(graph, f"{name}.expand", block.expand, x, side)
        x, side = _conv(graph, f"{name}.depthwise", block.depthwise, x, side)
        x, side = _conv(graph, f"{name}.project", block.project, x, side)
        return (graph.node("Add", [start, x], name) if block.residual else x), side
    if isinstance(block, nn.MaxPool2d):
        kernel = block.kernel_size
        assert isinstance(kernel, int)
        x = graph.node("MaxPool", [x], name, kernel_shape=[kernel] * 2, strides=[kernel] * 2, ceil_mode=1)
        return x, -(-side // kernel)
    raise InputError(f"{name}: a {type(block).__name__} cannot be exported to ONNX")


def _conv(graph: _Graph, name: str, layer: ConvNorm, x: str, side: int) -> tuple[str, int]:
    weight, bias = folded(layer)
    kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
    before, after = padded(side, kernel, stride, layer.padding)
    activated = not isinstance(layer.activation, nn.Identity)
    x = graph.node(
        "Conv",
        [x, graph.weights(f"{name}.weight", weight), graph.biases(f"{name}.bias", bias)],
        f"{name}.conv" if activated else name,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=layer.conv.groups,
    )
    if activated:
        x = graph.node("Clip", [x, graph.scalar(f"{name}.low", 0), graph.scalar(f"{name}.high", 6)], name)
    return x, shrunk(side, kernel, stride, layer.padding)
