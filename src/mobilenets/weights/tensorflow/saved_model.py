"""TensorFlow's SavedModel folders, read without TensorFlow: a signature's graph, with its variables filled in.

A folder holds ``saved_model.pb`` and a checkpoint, ``variables/variables``. Functions that the graph calls are put in
the places of their calls. Which variable a function takes is told by numbers of objects; the checkpoint has a table of
what each object is called in it. Sources: ``saved_model.proto``, ``meta_graph.proto``, ``function.proto``,
``saved_object_graph.proto`` and ``trackable_object_graph.proto`` in ``tensorflow/core``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights.keras.layers import OWN
from mobilenets.weights.layers import MAX_ARRAYS, Foreign, check_room
from mobilenets.weights.tensorflow import graph
from mobilenets.weights.tensorflow.checkpoint import Bundle, open_bundle
from mobilenets.weights.tensorflow.graphdef import Edge, GraphError, Node, edge_of, in_order, needed, read_node
from mobilenets.weights.tensorflow.tensor import Array
from mobilenets.weights.wire import Budget, WireError, blob, entry, grouped, name_of, numbers, text, varint

FILE = "saved_model.pb"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_INIT = "__saved_model_init_op"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_MAX_DEPTH = 20


def read(path: Path) -> Foreign:
    """Read a SavedModel, given as its folder or its ``saved_model.pb``; raises InputError for anything else."""
    file = find(path)
    if file is None:
        raise InputError(f"{path}: not a SavedModel; give the folder that holds {FILE} and variables/")
    folder = file.parent
    with graph.reading(path, "not a SavedModel of a MobileNet"):
        check_room(path, 0, file.stat().st_size)
        saved = _Saved(file.read_bytes())
        variables = folder / "variables" / "variables.index"
        bundle = open_bundle(path, variables) if variables.is_file() else None
        nodes = _Flat(saved, bundle).nodes
        try:
            foreign = graph.foreign(path, nodes, "TensorFlow SavedModel")
        except GraphError as error:
            raise GraphError(
                f"{error}; if it was made with Keras, call model.save('model.keras') there and import that"
            ) from error
    return replace(foreign, own=OWN)


@dataclass(frozen=True)
class _Scope:
    """A graph or function: its arguments, its nodes, and what it gives."""

    arguments: tuple[str, ...]
    nodes: Mapping[str, Node]
    outputs: tuple[Edge, ...]


@dataclass(frozen=True)
class _Constant(Node):
    """A variable, as the constant that it is."""

    array: Array | None = None
    key: str = ""  # in the checkpoint

    def tensor(self, name: str) -> Array | None:
        """Give its value."""
        return self.array


class _Saved:
    """What ``saved_model.pb`` says."""

    def __init__(self, data: bytes) -> None:
        self.budget = Budget(left=2_000_000)
        self.functions: dict[str, _Scope] = {}
        metas = [value for value in grouped(data, self.budget)[2] if not isinstance(value, int)]
        meta = self._grouped(metas[0] if metas else memoryview(b""))
        nodes = self._graph(meta[2][-1]) if meta[2] else {}
        signatures = {key: self._outputs(signature) for key, signature in map(self._entry, meta[5])}
        # Which objects each function takes beside its arguments.
        taken = (self._entry(value) for objects in meta[7] for value in self._grouped(objects)[2])
        self.bound = {key: numbers(self._grouped(function)[2]) for key, function in taken}
        signatures.pop(_INIT, None)
        if not signatures:
            raise GraphError("it has no signature to serve; save it with one (model.export in Keras)")
        chosen = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        self.main = _Scope((), nodes, signatures[chosen])

    def _grouped(self, value: int | memoryview) -> Mapping[int, Sequence[int | memoryview]]:
        return grouped(blob(value), self.budget)

    def _entry(self, value: int | memoryview) -> tuple[str, memoryview]:
        return entry(value, self.budget)

    def _graph(self, value: int | memoryview) -> dict[str, Node]:
        got = self._grouped(value)
        for library in got[2]:
            for function in self._grouped(library)[1]:
                self._function(function)
        return self._nodes(got[1])

    def _nodes(self, values: Sequence[int | memoryview]) -> dict[str, Node]:
        nodes = [read_node(blob(value), self.budget) for value in values]
        return {node.name: replace(node, inputs=tuple(_plain(*edge) for edge in node.inputs)) for node in nodes}

    def _function(self, value: int | memoryview) -> None:
        got = self._grouped(value)
        told = self._grouped(got[1][-1] if got[1] else memoryview(b""))
        name = name_of(told[1])
        arguments, given = (tuple(name_of(self._grouped(label)[1]) for label in told[field]) for field in (2, 3))
        returned = {key: _edge(text(source)) for key, source in map(self._entry, got[4])}
        if returned.keys() < set(given):
            raise GraphError(f"its function {name[:100]!r} does not say what it outputs")
        self.functions[name] = _Scope(arguments, self._nodes(got[3]), tuple(returned[label] for label in given))

    def _outputs(self, signature: memoryview) -> tuple[Edge, ...]:
        infos = (self._entry(value)[1] for value in self._grouped(signature)[2])
        return tuple(_edge(text(item)) for info in infos for item in self._grouped(info)[1])


class _Flat:
    """The graph of a signature without calls and variables; ``nodes`` are each behind its inputs."""

    def __init__(self, saved: _Saved, bundle: Bundle | None) -> None:
        self.saved, self.bundle = saved, bundle
        self.flat: dict[str, Node] = {}
        self.calls = 0
        self.keys = {} if bundle is None else _checkpoint_keys(bundle, saved.budget)
        self._expand(saved.main, "", [], 0)
        self.nodes = in_order(self.flat)

    def _expand(self, scope: _Scope, prefix: str, given: Sequence[Edge], depth: int) -> list[Edge]:
        """Add the nodes that a graph's outputs need, and give these."""
        if depth > _MAX_DEPTH:
            raise GraphError("its functions call each other too deep")
        self.calls += 1  # functions without nodes of their own are not counted among these
        if self.calls > MAX_ARRAYS:
            raise GraphError(f"it calls more than {MAX_ARRAYS} functions, a MobileNet hundreds")
        if len(given) != len(scope.arguments):
            raise GraphError("a function is called with other arguments than it takes")
        ends: dict[str, list[Edge] | str] = {name: [edge] for name, edge in zip(scope.arguments, given, strict=True)}

        def argument(name: str) -> Node | None:
            return Node(name, "Argument", (), {}, self.saved.budget) if name in scope.arguments else None

        for node in in_order(needed(scope.nodes, (name for name, _ in scope.outputs), argument)).values():
            if node.name in ends:
                continue
            inputs = [_end(ends, name, port) for name, port in node.inputs]
            called = _function_of(node, self.saved.functions)
            if called is not None:
                bound = self.saved.bound.get(called, [])
                if bound and len(bound) <= len(inputs) and depth == 0:
                    inputs[-len(bound) :] = [
                        self._variable(number) or edge
                        for number, edge in zip(bound, inputs[-len(bound) :], strict=True)
                    ]
                ends[node.name] = self._expand(
                    self.saved.functions[called], f"{prefix}{node.name}/" if depth else "", inputs, depth + 1
                )
                continue
            name = prefix + node.name
            if name in self.flat:
                name = f"{prefix}{node.name}~{len(self.flat)}"
            ends[node.name] = name
            self._add(node, name, inputs)
        return [_end(ends, name, port) for name, port in scope.outputs]

    def _add(self, node: Node, name: str, inputs: Sequence[Edge]) -> None:
        if node.op in _VARIABLES and self.bundle is not None:
            shared = node.text("shared_name", node.name) or node.name
            key = next((key for key in (shared, node.name) if self.bundle.has_numbers(key)), None)
            if key is not None:
                self._put(self._constant(key, name))
                return
        op = "Identity" if node.op == "ReadVariableOp" else node.op
        self._put(Node(name, op, tuple(inputs), node.attributes, node.budget))

    def _variable(self, number: int) -> Edge | None:
        """Add the variable of an object, once; None for an object that is none."""
        label, key = self.keys.get(number, ("", ""))
        if not key:
            return None
        name = f"{label}~{number}" if label in self.flat else label
        known = self.flat.get(f"{label}~{number}") or self.flat.get(label)
        if isinstance(known, _Constant) and known.key == key:
            return known.name, 0
        self._put(self._constant(key, name))
        return name, 0

    def _constant(self, key: str, name: str) -> _Constant:
        assert self.bundle is not None
        self.bundle.check([key])
        array = self.bundle[key]
        return _Constant(name, "Const", (), {}, self.saved.budget, array, key)

    def _put(self, node: Node) -> None:
        self.flat[node.name] = node
        if len(self.flat) > MAX_ARRAYS:
            raise GraphError(f"it has more than {MAX_ARRAYS} nodes, but a MobileNet has hundreds")


def _edge(source: str) -> Edge:
    """Take ``node:output:0``, of a function, or ``node:0`` or ``node``, of a graph, apart."""
    edge = edge_of(source)
    return edge if edge[0] == source else _plain(*edge)


def _plain(source: str, port: int) -> Edge:
    """Take the name of the output off a node's; of BatchNorm's outputs only the first is the picture."""
    name, _, output = source.partition(":")
    return name, port + output.startswith(("batch_", "reserve_"))


def _end(ends: Mapping[str, list[Edge] | str], name: str, port: int) -> Edge:
    end = ends[name]
    if isinstance(end, str):
        return end, port
    if port >= len(end):
        raise GraphError(f"it takes output {port} of {name[:100]!r}, which has {len(end)}")
    return end[port]


def _function_of(node: Node, functions: Mapping[str, Any]) -> str | None:
    called = node.function("f") if node.op in _CALLS else node.op
    return called if called in functions else None


def _checkpoint_keys(bundle: Bundle, budget: Budget) -> dict[int, tuple[str, str]]:
    """By the number of each object that is a variable, its own name and that of its array in the checkpoint."""
    if _OBJECTS not in bundle.entries:
        return {}
    data = bundle.raw(_OBJECTS)
    # One string: its length, the checksum of that in four bytes, and the text.
    length, at = varint(data, 0)
    if at + 4 + length != len(data):
        raise WireError("its table of objects is damaged")
    keys: dict[int, tuple[str, str]] = {}
    for place, value in enumerate(grouped(memoryview(data)[at + 4 :], budget)[1]):
        for attribute in grouped(blob(value), budget)[2]:
            told = grouped(blob(attribute), budget)
            label, key = name_of(told[2]), name_of(told[3])
            if bundle.has_numbers(key):
                keys[place] = label or key, key
    return keys


def find(path: Path) -> Path | None:
    """Find the ``saved_model.pb`` of a folder, or of a file in it or in its ``variables``; None where there is none."""
    variables = path.parent.parent / FILE if path.parent.name == "variables" else None
    places = (path / FILE, path.parent / FILE if path.name in (FILE, "variables") else None, variables)
    return next((place for place in places if place is not None and place.is_file()), None)
