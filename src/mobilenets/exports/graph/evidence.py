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

from mobilenets.exports.graph.nodes import NumberedGraph
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
        gradient = self._row(layer.input[1], self._chosen(layer.output[0]))
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

    def _chosen(self, scores: str) -> str:
        best = self.add("ArgMax", [scores], axis=1, keepdims=0)
        self.tensor(CLASS, np.array([-1], np.int64))
        free = self.add("Less", [CLASS, self.constant([0], np.int64)])
        return self.add("Where", [free, best, CLASS])

    def _row(self, weight: str, chosen: str) -> str:
        """Take each chosen class's row of the classifier's weights; of int8 weights before they are made floats."""
        maker = self._makers.get(weight)
        if maker is None or maker.op_type != "DequantizeLinear":
            return self.add("Gather", [weight, chosen], axis=0)
        row = self.add("Cast", [self.add("Gather", [maker.input[0], chosen], axis=0)], to=TensorProto.FLOAT)
        steps = maker.input[1]
        if self._sizes(steps):  # one a class
            steps = self.shaped(self.add("Gather", [steps, chosen], axis=0), -1, 1)
        return self.add("Mul", [row, steps])

    def _before(self, node: onnx.NodeProto, gradient: str) -> str:
        """Give the gradient of what a node takes from that of what it gives."""
        kind = node.op_type
        if kind in _HANDED_ON:
            return gradient
        if kind == "DequantizeLinear":
            # In int8 a ReLU is the lower end of the bytes.
            above = self.add("Cast", [self.add("Cast", [node.input[0]], to=TensorProto.BOOL)], to=TensorProto.FLOAT)
            return self.add("Mul", [gradient, self.shaped(above, 0, -1)])
        if kind == "Gemm" or (kind == "Conv" and not self._is_map(node.output[0])):
            outputs, inputs = self._sizes(node.input[1])[:2]
            weight = self.shaped(self._floats(node.input[1]), outputs, inputs)
            return self.add("MatMul", [gradient, weight])
        if kind not in _BENDS:
            raise _NoForm(kind)
        entry = self.shaped(self._floats(node.input[0]), 0, -1)
        low, high, top = _BENDS[kind]
        zero, one, above = (self.constant(value, np.float32) for value in (0.0, 1.0, top))
        slope = one
        if kind == "HardSwish":  # x * (x + 3) / 6
            third, half = (self.constant(value, np.float32) for value in (1 / 3, 0.5))
            slope = self.add("Add", [self.add("Mul", [entry, third]), half])
        if np.isfinite(high):
            slope = self.add("Where", [self.add("Less", [entry, self.constant(high, np.float32)]), slope, above])
        slope = self.add("Where", [self.add("Greater", [entry, self.constant(low, np.float32)]), slope, zero])
        return self.add("Mul", [gradient, slope])

    def _weigh(self, given: str, gradient: str, pooled: bool) -> None:
        """Sum up the map's channels, each by its gradient, and cut off what is below 0."""
        if not self._is_map(given):
            raise _NoForm("a map of one cell")
        channels, rows, columns = self._sizes(given)[1:]
        self.cells = (rows, columns)
        values = self._floats(given)
        if pooled:
            # The same at every place, so it is a product of matrices.
            summed = self.add("MatMul", [self.shaped(gradient, 0, 1, -1), self.shaped(values, 0, 0, -1)])
        else:
            product = self.add("Mul", [self.shaped(gradient, 0, channels, rows, columns), values])
            summed = self.add("ReduceSum", [product, self.constant([1], np.int64)], keepdims=0)
        self.add("Relu", [self.shaped(summed, 0, rows, columns)], EVIDENCE)

    def _is_map(self, name: str) -> bool:
        return any(side > 1 for side in self._sizes(name)[2:])

    def _sizes(self, name: str) -> list[int]:
        if name not in self._shapes:
            raise _NoForm(name)
        return self._shapes[name]

    def _floats(self, name: str) -> str:
        """Give a tensor in floats; of one in int8 a copy, so that the layer that reads it stays in int8."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return name
        axis = {attribute.name: helper.get_attribute_value(attribute) for attribute in maker.attribute}
        return self.add("DequantizeLinear", list(maker.input), **axis)
