"""Bias correction: rounding shifts the mean of what a layer gives, and its bias can take that back.

Nagel et al. 2019, arXiv 1906.04721, section 4.2 and appendix D: measured on pictures, layer after layer, each seeing
what the corrected layers before it give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mobilenets.exports.graph.nodes import Graph
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.int8.qdq import Floats
from mobilenets.runtime.engines import Array


def corrected_biases(model: onnx.ModelProto, images: Array, means: Mapping[str, Floats]) -> dict[str, Floats]:
    """Give the biases (O a layer, by the tensor's name) with which int8 has the mean of float, channel by channel.

    ``images``, as the graph takes them, run through the int8 graph of open batch; ``means`` has what each layer gives
    in float on the same ones before the activation, O a layer.
    """
    graph = model.graph
    values: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values[graph.input[0].name] = images
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    uses = Counter(name for node in graph.node for name in node.input)
    found: dict[str, Floats] = {}
    for node in graph.node:
        value = _run(node, {name: values[name] for name in node.input})
        if node.op_type in ("Conv", "Gemm") and node.input[2] in dequantized:
            axes = (0, 2, 3) if node.op_type == "Conv" else (0,)
            shift = means[node.name] - value.mean(axis=axes, dtype=np.float64)
            found[node.input[2]] = (values[node.input[2]] + shift).astype(np.float32)
            value = value + shift.astype(np.float32).reshape(1, -1, *[1] * (value.ndim - 2))
        values[node.output[0]] = value
        for name in node.input:
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)
    return found


def _run(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> Array:
    entries = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    kind = onnx.TensorProto.UINT8 if node.op_type == "QuantizeLinear" else onnx.TensorProto.FLOAT
    leave = helper.make_tensor_value_info(node.output[0], kind, None)
    alone = Graph()
    alone.nodes.append(node)
    [value] = open_session(alone.model("node", entries, [leave]), optimized=False).run(None, dict(inputs))
    return np.asarray(value)
