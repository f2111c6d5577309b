"""The way of a picture through an ONNX graph, node by node.

A map's layout is followed by letters (``NCHW``, ``NHWC`` where TensorFlow's habit is kept), so that transpositions
vanish. What has no counterpart becomes ``Unknown``: whether that matters depends on where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.onnx.constants import Constants, Measured, measure
from mobilenets.weights.onnx.file import Array, Fed, Graph, Node
from mobilenets.weights.operations import Conv, Flatten, Linear, Operation, Pair, Picture, Unknown
from mobilenets.weights.sides import side_after

_MAX_NODES = 10_000
HALF_AVERAGED = "R"
"""The letter of an axis whose mean is still to be taken, where that of the map's other axis is taken already."""


@dataclass(frozen=True)
class Value:
    """What becomes of the picture: a place among the operations, and a letter for each axis.

    ``P`` is the axis of a map's pixels in one row; without letters it is what an unknown operation gave.
    """

    place: int
    axes: str


State: TypeAlias = Array | Value | Measured | None
Taker: TypeAlias = "Callable[[Translation, Node, Sequence[State]], Value | None]"


class Translation:
    """The operations of a graph, and which of them gives each of its outputs.

    ``takers`` say by operator what a node does to the picture. Raises InputError for a malformed graph.
    """

    def __init__(self, graph: Graph, takers: Mapping[str, Taker]) -> None:
        if len(graph.nodes) > _MAX_NODES:
            raise InputError(f"it has {len(graph.nodes)} operators, but a MobileNet has hundreds; give one network")
        self.graph, self.takers = graph, takers
        self.operations: list[Operation] = []
        self.sides: list[Pair | None] = []
        self.constants = Constants()
        self.states: dict[str, State] = dict(graph.constants)
        # Weights may be constants among the nodes, too.
        self.named = {name for node in graph.nodes if node.op == "Constant" for name in node.outputs}
        for fed in graph.inputs:
            if fed.name not in graph.constants:
                self.states[fed.name] = self._picture(fed)
        for node in graph.nodes:
            self._run(node)

    def output(self, name: str) -> Value | None:
        """Give what an output is; None where it is not made of the picture."""
        state = self.states.get(name)
        return state if isinstance(state, Value) else None

    def add(self, operation: Operation, axes: str) -> Value:
        """Append an operation; gives what it makes."""
        self.operations.append(operation)
        self.sides.append(side_after(operation, self.sides))
        return Value(len(self.operations) - 1, axes)

    def unknown(self, node: Node, given: Sequence[State], what: str = "is no operation of a MobileNet") -> Value | None:
        """Note an operation that no network here has; ``what`` goes on from its name."""
        places = tuple(state.place for state in given if isinstance(state, Value))
        if not places:
            return None
        arrays = [state for name in node.inputs if isinstance(state := self.states.get(name), np.ndarray)]
        layer = any(array.ndim == 4 for array in arrays)
        return self.add(Unknown(str(node), places, f"its {node} {what}", layer), "")

    def channels(self, place: int) -> int | None:
        """Give the channels of a map, or the length of a vector; None where a layer before does not tell."""
        while not isinstance(operation := self.operations[place], Conv | Linear):
            flat = isinstance(operation, Flatten) and self.sides[operation.inputs[0]] != (1, 1)
            if flat or not operation.inputs:
                return None
            place = operation.inputs[0]
        return len(operation.weight)

    def _picture(self, fed: Fed) -> Value | None:
        shape = fed.shape or (None,) * 4
        if len(shape) not in (3, 4):
            return None
        channels, last = shape[-3], shape[-1]
        takers = [node for node in self.graph.nodes if fed.name in node.inputs]
        turned = any(node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2] for node in takers)
        behind = last in (1, 3) and channels not in (1, 3)
        axes = "HWC" if behind or (turned and channels != 3) else "CHW"
        rows, columns = shape[-3:-1] if axes == "HWC" else shape[-2:]
        side = None if rows is None or columns is None else (rows, columns)
        return self.add(Picture(fed.name, (), side, fed.pixels, axes == "HWC"), "N" * (len(shape) - 3) + axes)

    def _run(self, node: Node) -> None:
        given = [self.states.get(name) if name else None for name in node.inputs]
        while given and not node.inputs[len(given) - 1]:
            given.pop()
        made: State
        if node.op == "Constant":
            made = _constant(node)
        elif any(isinstance(state, Value) for state in given):
            made = self._value(node, given)
        elif given and all(isinstance(state, np.ndarray) for state in given):
            made = self.constants.fold(node, [state for state in given if isinstance(state, np.ndarray)])
        else:
            made = measure(node, given)
        self.states[node.outputs[0]] = made
        # Of what gives several outputs only the first is known, but TopK's places of the highest scores.
        for name in node.outputs[1:]:
            if name:
                self.states[name] = made if node.op == "TopK" else self.unknown(node, given)

    def _value(self, node: Node, given: Sequence[State]) -> Value | Measured | None:
        """Take a picture through a node."""
        first = given[0]
        if node.op == "Shape" and isinstance(first, Value):
            rows, columns = self.sides[first.place] or (None, None)
            known = {"H": rows, "W": columns, "C": self.channels(first.place)}
            return Measured(tuple(known.get(letter) for letter in first.axes))
        take = self.takers.get(node.op)
        axes = [state.axes for state in given if isinstance(state, Value)]
        half = any(HALF_AVERAGED in letters for letters in axes) and node.op != "ReduceMean"
        if take is None or half or "" in axes:
            return self.unknown(node, given)
        return take(self, node, given)


def _constant(node: Node) -> Array | None:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            value = np.asarray(node.attributes[name])
            return value.astype(np.float32) if value.dtype == np.float64 and name != "value" else value
    return None
