"""The distance from what a model learned, as another output of its graph: what ``Space.distances`` gives, in nodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from mobilenets.exports.graph.nodes import NumberedGraph, Term
from mobilenets.models.distance import LEAST, OUT, Space
from mobilenets.runtime.bar import DISTANCE


def with_distance(model: onnx.ModelProto, space: Space) -> bool:
    """Add the output ``distance``, float32 N, to a finished graph; returns whether that was possible.

    The outputs there are stay as they are. Not possible where the last layer is not a linear one.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    layer = makers[model.graph.output[0].name]
    if layer.op_type == "Softmax":
        layer = makers[layer.input[0]]
    if layer.op_type != "Gemm":
        return False
    graph = NumberedGraph(DISTANCE)
    features, logits = (Term(graph, name, np.float32) for name in (layer.input[0], layer.output[0]))
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    parts = _scaled(_near(features, space), space.near), _scaled(_doubt(logits, space, classes), space.doubt)
    graph.add("Add", [part.name for part in parts], DISTANCE)
    graph.add_to(model, DISTANCE)
    return True


def _near(features: Term, space: Space) -> Term:
    roots = features.op("Relu").op("Sqrt") - space.centre
    along = roots.op("MatMul", features.graph.term(space.axes, np.float16).floats())
    white = along.op("MatMul", space.whiten).shaped(0, 1, -1)
    nearest = _squares(white - space.means, 2).op("ReduceMin", axes=[1], keepdims=0)
    across = _squares(roots, 1) - _squares(along, 1)
    return (nearest + across / space.rest).op("Max", [LEAST]).op("Log")


def _doubt(logits: Term, space: Space, classes: int) -> Term:
    scaled = logits * space.scale
    best = scaled.op("ArgMax", axis=1, keepdims=1, kind=np.int64)
    chosen = logits.graph.term(range(classes), np.int64).op("Equal", best)
    others = chosen.op("Where", logits.graph.term(OUT, np.float32), scaled, kind=np.float32)
    top = others.op("ReduceMax", axes=[1], keepdims=1)
    summed = (others - top).op("Exp").op("ReduceSum", logits.graph.term([1], np.int64), keepdims=1).op("Log")
    return (summed + top - scaled.op("ReduceMax", axes=[1], keepdims=1)).shaped(-1)


def _squares(x: Term, axis: int) -> Term:
    return (x * x).op("ReduceSum", x.graph.term([axis], np.int64), keepdims=0)


def _scaled(x: Term, scale: npt.NDArray[np.float32]) -> Term:
    """Bring one part to the scale of the other: by its mean and deviation."""
    mean, deviation = scale
    return x.op("Sub", mean).op("Div", deviation)
