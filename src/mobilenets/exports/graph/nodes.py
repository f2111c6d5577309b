"""ONNX graphs as they are written here: constants, and nodes that are called by what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# Read by every runtime of the last years; holds all that our networks and their int8 forms need.
OPSET = 17
IR_VERSION = 8
# An end of a slice beyond every size.
NO_END = 2**31 - 1


class Graph:
    """A graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node, by default called by its output; returns the output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or output, **attributes))
        return output

    def tensor(self, name: str, value: Any) -> str:
        """Add a constant; returns its name."""
        array = np.asarray(value)
        # For NumPy a contiguous scalar has one dimension.
        self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def add_to(self, model: onnx.ModelProto, output: str, *sides: int) -> None:
        """Add what was written to a finished model, with an output float32 N×``sides``; N is that of its first one."""
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(self.tensors.values())
        batch = model.graph.output[0].type.tensor_type.shape.dim[0]
        shape = [batch.dim_param or batch.dim_value, *sides]
        model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        onnx.checker.check_model(model, full_check=True)

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the finished model."""
        return helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, list(self.tensors.values())),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="mobilenets",
        )


class NumberedGraph(Graph):
    """A graph whose nodes and constants are called by ``prefix`` and their number; equal constants are one."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; returns its output."""
        return self.node(kind, inputs, output or f"{self._prefix}.{len(self.nodes) + 1}.{kind.lower()}", **attributes)

    def constant(self, value: Any, kind: type) -> str:
        """Add a constant of a type of NumPy's; returns its name."""
        array: npt.NDArray[Any] = np.array(value, kind)
        key = (array.dtype.name, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = self.tensor(f"{self._prefix}.constant{len(self.tensors)}", array)
        return self._constants[key]

    def term(self, value: Any, kind: type) -> Term:
        """Add a constant, to compute with it."""
        return Term(self, self.constant(value, kind), kind)


Other: TypeAlias = "Term | npt.ArrayLike"
"""What may stand beside a term: another one, or a constant."""


@dataclass(frozen=True)
class Term:
    """A tensor with Python's operators; a constant beside it becomes one of its ``kind``, a type of NumPy's."""

    graph: NumberedGraph
    name: str
    kind: type

    def op(self, operator: str, *others: Other, kind: type | None = None, **attributes: Any) -> Term:
        """Add a node that takes this and ``others``; ``kind`` is that of what it gives, where it is another."""
        names = [one.name if isinstance(one, Term) else self.graph.constant(one, self.kind) for one in others]
        made = self.graph.add(operator, [self.name, *names], **attributes)
        return Term(self.graph, made, kind or self.kind)

    def __add__(self, other: Other) -> Term:
        return self.op("Add", other)

    def __sub__(self, other: Other) -> Term:
        return self.op("Sub", other)

    def __mul__(self, other: Other) -> Term:
        return self.op("Mul", other)

    def __truediv__(self, other: Other) -> Term:
        return self.op("Div", other)

    def __floordiv__(self, other: Other) -> Term:
        """Divide whole numbers from 0 on: ONNX cuts off."""
        return self.op("Div", other)

    def __mod__(self, other: Other) -> Term:
        return self.op("Mod", other)

    def floats(self) -> Term:
        """Make float32 of it."""
        return self.op("Cast", to=TensorProto.FLOAT, kind=np.float32)

    def doubles(self) -> Term:
        """Make float64 of it."""
        return self.op("Cast", to=TensorProto.DOUBLE, kind=np.float64)

    def ints(self) -> Term:
        """Make int64 of it."""
        return self.op("Cast", to=TensorProto.INT64, kind=np.int64)

    def shaped(self, *shape: int) -> Term:
        """Reshape: 0 keeps a side, -1 takes what is left."""
        return self.op("Reshape", self.graph.term(shape, np.int64))

    def part(self, start: Term | int, end: Term | int, axis: int) -> Term:
        """Cut out; the ends are whole numbers of shape 1."""
        places = (one if isinstance(one, Term) else self.graph.term([one], np.int64) for one in (start, end, axis))
        return self.op("Slice", *places)
