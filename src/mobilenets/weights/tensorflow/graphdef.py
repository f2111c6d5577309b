"""TensorFlow's GraphDef as plain nodes in an order in which each follows its inputs. Nothing of it is ever run.

Source: ``graph.proto``, ``node_def.proto`` and ``attr_value.proto`` in ``tensorflow/core/framework``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from mobilenets.weights.layers import MAX_ARRAYS
from mobilenets.weights.tensorflow.tensor import Array, read_shape, read_tensor
from mobilenets.weights.wire import Budget, blob, entry, grouped, name_of, number, numbers, signed, text

Edge = tuple[str, int]
# AttrValue's fields.
_LIST, _TEXT, _FLOAT, _FLAG, _TYPE, _SHAPE, _TENSOR, _FUNCTION = 1, 2, 4, 5, 6, 7, 8, 10


class GraphError(ValueError):
    """The graph is malformed or no MobileNet; the message is the reason, and what to do where that helps."""


@dataclass(frozen=True)
class Node:
    """One operation: ``inputs`` are (name, which of its outputs); attributes are read when they are asked for."""

    name: str
    op: str
    inputs: tuple[Edge, ...]
    attributes: Mapping[str, memoryview]
    budget: Budget = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.op[:100]!r} at node {self.name[:100]!r}"

    def text(self, name: str, default: str) -> str:
        """Give an attribute of text."""
        value = self._value(name, _TEXT)
        return default if value is None else text(value)

    def flag(self, name: str) -> bool:
        """Give an attribute that is true or false; false where it is not set."""
        return bool(self._value(name, _FLAG))

    def kind(self, name: str) -> int:
        """Give the number of a DataType; 0 where it is not set."""
        value = self._value(name, _TYPE)
        return 0 if value is None else number(value)

    def real(self, name: str, default: float) -> float:
        """Give an attribute that is one float."""
        value = self._value(name, _FLOAT)
        return default if value is None else float(struct.unpack("<f", blob(value))[0])

    def whole(self, name: str) -> tuple[int, ...]:
        """Give an attribute that is a list of whole numbers; empty where it is not set."""
        value = self._value(name, _LIST)
        return () if value is None else tuple(map(signed, numbers(grouped(blob(value), self.budget)[3], most=100)))

    def function(self, name: str) -> str:
        """Give the name of the function that an attribute names; empty where there is none."""
        value = self._value(name, _FUNCTION)
        return "" if value is None else name_of(grouped(blob(value), self.budget)[1])

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Give an attribute that is a shape; None where it is open or not set."""
        value = self._value(name, _SHAPE)
        return None if value is None else read_shape(blob(value), self.budget)

    def tensor(self, name: str) -> Array | None:
        """Give an attribute that is a tensor; None where it is not of numbers."""
        value = self._value(name, _TENSOR)
        return None if value is None else read_tensor(blob(value), self.budget)

    def behind(self, nodes: Mapping[str, Node], ops: Container[str]) -> Node:
        """Give the node behind this one and a few more that only hand on their first input."""
        node = self
        for _ in range(16):
            behind = nodes.get(node.inputs[0][0]) if node.op in ops and node.inputs else None
            if behind is None:
                break
            node = behind
        return node

    def _value(self, name: str, kind: int) -> int | memoryview | None:
        found = grouped(self.attributes.get(name, b""), self.budget)[kind]
        return found[-1] if found else None


def read_nodes(data: bytes | memoryview) -> dict[str, Node]:
    """Read the nodes by name, in the order of the file. Raises WireError and GraphError."""
    budget = Budget()
    nodes: dict[str, Node] = {}
    for value in grouped(data, budget)[1]:
        if isinstance(value, int):
            raise GraphError("it is a SavedModel; give its folder, with the folder 'variables' in it")
        node = read_node(value, budget)
        if node.name in nodes:
            raise GraphError(f"it has two nodes named {node.name[:100]!r}")
        nodes[node.name] = node
        if len(nodes) > MAX_ARRAYS:
            raise GraphError(f"it has more than {MAX_ARRAYS} nodes, but a MobileNet has hundreds")
    if not nodes:
        raise GraphError("it has no nodes")
    return nodes


def read_node(data: memoryview, budget: Budget) -> Node:
    """Read one NodeDef. Raises WireError."""
    got = grouped(data, budget)
    # What begins with ^ only must have run before.
    inputs = tuple(edge_of(source) for source in map(text, got[3]) if not source.startswith("^"))
    return Node(name_of(got[1]), name_of(got[2]), inputs, dict(entry(value, budget) for value in got[5]), budget)


def edge_of(source: str) -> Edge:
    """Take ``node:0``, or ``node``, apart: the name, and which of its outputs."""
    before, _, port = source.rpartition(":")
    known = before and port.isascii() and port.isdecimal() and len(port) < 6
    return (before, int(port)) if known else (source, 0)


def needed(
    nodes: Mapping[str, Node], ends: Iterable[str], instead: Callable[[str], Node | None] = lambda name: None
) -> dict[str, Node]:
    """Give some nodes and all that they take; ``instead`` may put another one in a node's place. Raises GraphError."""
    found: dict[str, Node] = {}
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        node = instead(name) or nodes.get(name)
        if node is None:
            raise GraphError(f"it takes {name[:100]!r}, which is not in the file")
        found[name] = node
        waiting += [source for source, _ in node.inputs]
    return found


def in_order(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Put each node behind its inputs, otherwise in the order of the file; no recursion, however long the chain."""
    waiting: dict[str, int] = {}
    readers: dict[str, list[str]] = {}
    for node in nodes.values():
        waiting[node.name] = len(node.inputs)
        for source, _ in node.inputs:
            if source not in nodes:
                raise GraphError(f"{node} takes {source[:100]!r}, which is not in the file")
            readers.setdefault(source, []).append(node.name)
    ready = deque(name for name, count in waiting.items() if not count)
    ordered: dict[str, Node] = {}
    while ready:
        name = ready.popleft()
        ordered[name] = nodes[name]
        for reader in readers.get(name, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ordered) < len(nodes):
        name = next(name for name in nodes if name not in ordered)
        raise GraphError(f"its nodes form a cycle, unlike in any MobileNet; see {nodes[name]}")
    return ordered
