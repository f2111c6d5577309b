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
from mobilenets.exports.graph.evidence import with_evidence
from mobilenets.exports.graph.fold import folded
from mobilenets.exports.job import Job, Options
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.network import Network
from mobilenets.models.operations import Activation, Add, Conv, Flatten, Linear, MaxPool, MeanPool, Operation, Scale
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
    # Last, because quantizers and geometry know one output.
    first, step = job.network.plan.cells()
    centres = [first + step * cell for cell in range(job.network.plan.maps.side)] if with_evidence(model) else []
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
        evidence=tuple(centres),
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
    values = {network.plan.images.name: x}
    for part in network.plan.operations:
        x = values[part.name] = _operation(graph, network, part, [values[name] for name in part.inputs])
    width = network.classes or network.features
    last = "logits" if network.classes else "features"
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


def _operation(graph: _Graph, network: Network, part: Operation, inputs: list[str]) -> str:
    """Add an operation; returns the name of what it gives."""
    match part:
        case Conv():
            layer = network.get_submodule(part.name)
            assert isinstance(layer, ConvNorm)
            return _conv(graph, part, layer, inputs[0])
        case Activation():
            return _activation(graph, part.name, part.activation, inputs[0])
        case MaxPool():
            window = {"kernel_shape": [part.kernel] * 2, "strides": [part.stride] * 2, "ceil_mode": int(part.ceil_mode)}
            if any(part.pads):
                window["pads"] = [part.pads[0]] * 2 + [part.pads[1]] * 2
            return graph.node("MaxPool", inputs, part.name, **window)
        case Linear():
            layer = network.get_submodule(part.name)
            assert isinstance(layer, nn.Linear)
            weight = graph.tensor(f"{part.name}.weight", layer.weight)
            bias = graph.tensor(f"{part.name}.bias", layer.bias, whole=True)
            output = "logits" if part is network.plan.classifier else part.name
            return graph.node("Gemm", [*inputs, weight, bias], output, transB=1)
        case Flatten():
            return graph.node("Flatten", inputs, part.name, axis=1)
        case Add() | Scale() | MeanPool():
            kind = {Add: "Add", Scale: "Mul", MeanPool: "GlobalAveragePool"}[type(part)]
            return graph.node(kind, inputs, part.name)
    raise TypeError(f"{part.name}: ONNX has no node for a {type(part).__name__}")


def _conv(graph: _Graph, part: Conv, layer: ConvNorm, x: str) -> str:
    name, activated = part.name, part.activation != "none"
    weight, bias = folded(layer)
    before, after = part.pads
    x = graph.node(
        "Conv",
        [x, graph.tensor(f"{name}.weight", weight), graph.tensor(f"{name}.bias", bias, whole=True)],
        f"{name}.conv" if activated else name,
        kernel_shape=[part.kernel, part.kernel],
        strides=[part.stride, part.stride],
        pads=[before, before, after, after],
        group=part.groups,
    )
    return _activation(graph, name, part.activation, x) if activated else x


def _activation(graph: _Graph, name: str, activation: str, x: str) -> str:
    match activation:
        case "relu6":
            return graph.node("Clip", [x, graph.scalar(f"{name}.low", 0), graph.scalar(f"{name}.high", 6)], name)
        case "relu":
            return graph.node("Relu", [x], name)
        case "hard_swish":
            return graph.node("HardSwish", [x], name)
        case "hard_sigmoid":
            return graph.node("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)
    return graph.node("Identity", [x], name)
