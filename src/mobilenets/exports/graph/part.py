"""A part of a graph, as a graph of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from mobilenets.models.operations import Shape


def part_of(model: onnx.ModelProto, entry: str, shape: Shape, leaves: Sequence[str]) -> onnx.ModelProto:
    """Cut out what computes the ``leaves`` from ``entry``, of ``shape`` for one picture, without the other weights."""
    wanted, nodes = set(leaves), []
    for node in reversed(model.graph.node):
        if wanted & set(node.output) and entry not in node.output:
            wanted |= set(node.input)
            nodes.append(node)
    whole = model.graph
    graph = helper.make_graph(
        nodes[::-1],
        whole.name,
        [helper.make_tensor_value_info(entry, TensorProto.FLOAT, ["batch", *shape])],
        [onnx.ValueInfoProto(name=name) for name in leaves],
        [tensor for tensor in whole.initializer if tensor.name in wanted],
    )
    return helper.make_model(graph, ir_version=model.ir_version, opset_imports=model.opset_import)
