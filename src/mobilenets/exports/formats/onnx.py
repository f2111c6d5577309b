"""A network as ONNX.

Written from the network itself and not traced: every tensor has the name that its layer has in our own network
(``body.inverted3``), so that two runtimes can be compared layer by layer, and nothing but the layers is in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mobilenets.base.files import write_bytes
from mobilenets.errors import InputError
from mobilenets.exports.graph.fold import folded
from mobilenets.exports.job import Job, Options
from mobilenets.models.layers import ConvNorm, InvertedResidual, Separable, padded, shrunk
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.exported import Exported, file_hash

# Read by every runtime of the last years; holds all that our networks and their int8 forms need.
OPSET = 17
IR_VERSION = 8
FILE = "model.onnx"
IMAGES = "images"


def write(job: Job) -> Exported:
    """Write ``model.onnx``.

    float16 stores the weights in half precision and computes in float32: half the file, and every runtime runs it.
    int8 is made from the float32 graph by ``mobilenets.exports.int8.search``.
    """
    model = onnx_model(job.network, job.preprocessing, job.options)
    about: dict[str, Any] = {"opset": OPSET}
    if job.options.precision == "int8":
        from mobilenets.exports.int8.search import quantize

        model, tried = quantize(model, job)
        about["quantization"] = tried
    if job.options.camera:
        from mobilenets.exports.graph.geometry import with_geometry

        model = with_geometry(model, job.preprocessing)
    path = job.folder / FILE
    write_bytes(path, model.SerializeToString())
    return Exported(
        FILE,
        job.options.format,
        job.options.precision,
        {FILE: file_hash(path)},
        "uint8" if job.options.pixels else "float32",
        "NHWC" if job.options.pixels else "NCHW",
        "probabilities" if job.options.probabilities else "logits",
        1 if job.options.camera else job.options.batch,
        about=about,
        geometry="inside" if job.options.camera else "outside",
    )


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
        weight = graph.tensor("classifier.weight", network.classifier.weight)
        bias = graph.tensor("classifier.bias", network.classifier.bias, whole=True)
        x = graph.node("Gemm", [x, weight, bias], last, transB=1)
    if options.probabilities:
        last = "probabilities"
        x = graph.node("Softmax", [x], last, axis=1)
    leave = helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, width])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "mobilenet", [entry], [leave], graph.tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mobilenets",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    def __init__(self, half: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._half = half

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def tensor(self, name: str, value: Tensor | npt.NDArray[Any], whole: bool = False) -> str:
        """Add a constant; weights in half precision, unless ``whole``, with the cast that makes them float32."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        if self._half and not whole:
            small = f"{name}.float16"
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array.astype(np.float16)), small))
            return self.node("Cast", [small], name, to=TensorProto.FLOAT)
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.tensor(name, np.array(value, np.float32), whole=True)


def _numbers(graph: _Graph, preprocessing: Preprocessing) -> str:
    """Do what ``Preprocessing.normalise`` does, step by step, so that the roundings are the same."""
    x = graph.node("Cast", [IMAGES], "numbers.cast", to=TensorProto.FLOAT)
    x = graph.node("Mul", [x, graph.scalar("numbers.factor", preprocessing.scale)], "numbers.scale")
    for kind, name, value in (("Sub", "mean", preprocessing.mean), ("Div", "deviation", preprocessing.std)):
        constant = graph.tensor(f"numbers.{name}.value", np.array(value, np.float32), whole=True)
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
        [x, graph.tensor(f"{name}.weight", weight), graph.tensor(f"{name}.bias", bias, whole=True)],
        f"{name}.conv" if activated else name,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=layer.conv.groups,
    )
    if activated:
        x = graph.node("Clip", [x, graph.scalar(f"{name}.low", 0), graph.scalar(f"{name}.high", 6)], name)
    return x, shrunk(side, kernel, stride, layer.padding)
