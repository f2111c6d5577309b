"""The distance from what a model learned, as another output of its graph: what ``Space.distances`` gives, in nodes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from mobilenets.exports.graph.nodes import NumberedGraph
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
    writer = _Writer(space)
    writer.write(layer.input[0], layer.output[0], model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
    writer.add_to(model, DISTANCE)
    return True


class _Writer(NumberedGraph):
    def __init__(self, space: Space) -> None:
        super().__init__(DISTANCE)
        self._space = space

    def write(self, features: str, logits: str, classes: int) -> None:
        """Bring both parts to one scale and add them up."""
        near, doubt = self._near(features), self._doubt(logits, classes)
        parts = [self._scaled(near, self._space.near), self._scaled(doubt, self._space.doubt)]
        self.add("Add", parts, DISTANCE)

    def _near(self, features: str) -> str:
        space = self._space
        roots = self.add("Sub", [self.add("Sqrt", [self.add("Relu", [features])]), self._constant(space.centre)])
        axes = self.add("Cast", [self.constant(space.axes, np.float16)], to=TensorProto.FLOAT)
        along = self.add("MatMul", [roots, axes])
        white = self.shaped(self.add("MatMul", [along, self._constant(space.whiten)]), 0, 1, -1)
        apart = self._squares(self.add("Sub", [white, self._constant(space.means)]), 2)
        across = self.add("Sub", [self._squares(roots, 1), self._squares(along, 1)])
        nearest = self.add("ReduceMin", [apart], axes=[1], keepdims=0)
        summed = self.add("Add", [nearest, self.add("Div", [across, self._constant(space.rest)])])
        return self.add("Log", [self.add("Max", [summed, self._constant([LEAST])])])

    def _doubt(self, logits: str, classes: int) -> str:
        scaled = self.add("Mul", [logits, self._constant(self._space.scale)])
        best = self.add("ArgMax", [scaled], axis=1, keepdims=1)
        chosen = self.add("Equal", [self.constant(range(classes), np.int64), best])
        others = self.add("Where", [chosen, self._constant(OUT), scaled])
        top = self.add("ReduceMax", [others], axes=[1], keepdims=1)
        powers = self.add("Exp", [self.add("Sub", [others, top])])
        summed = self.add("Log", [self.add("ReduceSum", [powers, self.constant([1], np.int64)], keepdims=1)])
        rest = self.add("Add", [summed, top])
        odds = self.add("Sub", [rest, self.add("ReduceMax", [scaled], axes=[1], keepdims=1)])
        return self.shaped(odds, -1)

    def _squares(self, name: str, axis: int) -> str:
        return self.add("ReduceSum", [self.add("Mul", [name, name]), self.constant([axis], np.int64)], keepdims=0)

    def _scaled(self, name: str, scale: object) -> str:
        mean, deviation = np.asarray(scale, np.float32)
        return self.add("Div", [self.add("Sub", [name, self._constant(mean)]), self._constant(deviation)])

    def _constant(self, value: object) -> str:
        return self.constant(value, np.float32)
