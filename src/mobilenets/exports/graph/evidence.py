"""What a network looked at, as a second output of its graph: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

Each channel of the last map counts by the gradient of a class's logit (section 3, equation 1), and what speaks against
the class is cut off (equation 2). Behind the map is only the head, so the gradient needs a few small nodes: they go
from the logits back to the map by the chain rule. Under global pooling the gradient is the same at every place, so its
mean need not be taken; under a flat head it is not, and the mean would lose what the head knows of places (HiResCAM,
Draelos and Carin 2020, arXiv 2011.08891, section 3).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from mobilenets.exports.graph.nodes import NumberedGraph, Term
from mobilenets.runtime.exported import CLASS, EVIDENCE

# Nodes that hand on what they get, but for rounding.
_HANDED_ON = ("QuantizeLinear", "Identity", "Cast", "Dropout", "Flatten")
# Where an activation bends, and its slope above; below the first it is 0.
_BENDS = {"Clip": (0.0, 6.0, 0.0), "Relu": (0.0, np.inf, 1.0), "HardSwish": (-3.0, 3.0, 1.0)}


class _NoForm(Exception):
    """The head has an operation whose gradient is not known here."""


def with_evidence(model: onnx.ModelProto) -> bool:
    """Add the output ``evidence`` to a finished graph; returns whether that was possible.

    It is float32 N×h×w, one value of at least 0 for each cell of the last map. The class is each picture's most
    probable one, or that of the optional input ``class``, int64 of shape 1, where it is not negative. The first output
    stays what it is. Not possible where the map has one cell only, or the head an operation without a form here.
    """
    writer = _Writer(model)
    try:
        writer.write()
    except _NoForm:
        return False
    model.graph.input.append(helper.make_tensor_value_info(CLASS, TensorProto.INT64, [1]))
    writer.add_to(model, EVIDENCE, *writer.cells)
    return True


class _Writer(NumberedGraph):
    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(EVIDENCE)
        self.cells: tuple[int, int] = (0, 0)
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._last = model.graph.output[0].name
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self._shapes = {
            info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in inferred.value_info
        }
        self._shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}

    def write(self) -> None:
        """Go from the logits to the map, with the gradient N×features of what is reached."""
        layer = self._makers[self._last]
        if layer.op_type == "Softmax":
            layer = self._makers[layer.input[0]]
        if layer.op_type != "Gemm":
            raise _NoForm(layer.op_type)
        gradient = self._row(layer.input[1], self._chosen(self._term(layer.output[0])))
        reached = layer.input[0]
        while True:
            node = self._makers.get(reached)
            if node is None:
                raise _NoForm(reached)
            given = node.input[0]
            if node.op_type == "GlobalAveragePool" or (node.op_type == "Flatten" and self._is_map(given)):
                return self._weigh(given, gradient, pooled=node.op_type == "GlobalAveragePool")
            gradient = self._before(node, gradient)
            reached = given

    def _chosen(self, scores: Term) -> Term:
        best = scores.op("ArgMax", axis=1, keepdims=0, kind=np.int64)
        asked = Term(self, self.tensor(CLASS, np.array([-1], np.int64)), np.int64)
        return asked.op("Less", [0]).op("Where", best, asked)

    def _row(self, weight: str, chosen: Term) -> Term:
        """Take each chosen class's row of the classifier's weights; of int8 weights before they are made floats."""
        maker = self._makers.get(weight)
        if maker is None or maker.op_type != "DequantizeLinear":
            return self._term(weight).op("Gather", chosen, axis=0)
        row, steps = self._term(maker.input[0]).op("Gather", chosen, axis=0).floats(), self._term(maker.input[1])
        # One step a class, or one for all.
        return row * (steps.op("Gather", chosen, axis=0).shaped(-1, 1) if self._sizes(steps.name) else steps)

    def _before(self, node: onnx.NodeProto, gradient: Term) -> Term:
        """Give the gradient of what a node takes from that of what it gives."""
        kind = node.op_type
        if kind in _HANDED_ON:
            return gradient
        if kind == "DequantizeLinear":
            # In int8 a ReLU is the lower end of the bytes.
            return gradient * self._term(node.input[0]).op("Cast", to=TensorProto.BOOL).floats().shaped(0, -1)
        if kind == "Gemm" or (kind == "Conv" and not self._is_map(node.output[0])):
            outputs, inputs = self._sizes(node.input[1])[:2]
            return gradient.op("MatMul", self._floats(node.input[1]).shaped(outputs, inputs))
        if kind not in _BENDS:
            raise _NoForm(kind)
        entry = self._floats(node.input[0]).shaped(0, -1)
        low, high, top = _BENDS[kind]
        # Of hard-swish, x * (x + 3) / 6.
        slope = entry * (1 / 3) + 0.5 if kind == "HardSwish" else self.term(1.0, np.float32)
        if np.isfinite(high):
            slope = entry.op("Less", high).op("Where", slope, top)
        return gradient * entry.op("Greater", low).op("Where", slope, 0.0)

    def _weigh(self, given: str, gradient: Term, pooled: bool) -> None:
        """Sum up the map's channels, each by its gradient, and cut off what is below 0."""
        if not self._is_map(given):
            raise _NoForm("a map of one cell")
        channels, rows, columns = self._sizes(given)[1:]
        self.cells = (rows, columns)
        values = self._floats(given)
        if pooled:
            # The same at every place, so it is a product of matrices.
            summed = gradient.shaped(0, 1, -1).op("MatMul", values.shaped(0, 0, -1))
        else:
            product = gradient.shaped(0, channels, rows, columns) * values
            summed = product.op("ReduceSum", self.term([1], np.int64), keepdims=0)
        self.add("Relu", [summed.shaped(0, rows, columns).name], EVIDENCE)

    def _is_map(self, name: str) -> bool:
        return any(side > 1 for side in self._sizes(name)[2:])

    def _sizes(self, name: str) -> list[int]:
        if name not in self._shapes:
            raise _NoForm(name)
        return self._shapes[name]

    def _term(self, name: str) -> Term:
        return Term(self, name, np.float32)

    def _floats(self, name: str) -> Term:
        """Give a tensor in floats; of one in int8 a copy, so that the layer that reads it stays in int8."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return self._term(name)
        axis = {attribute.name: helper.get_attribute_value(attribute) for attribute in maker.attribute}
        return self._term(self.add("DequantizeLinear", list(maker.input), **axis))
