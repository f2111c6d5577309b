"""TensorFlow's SavedModel folders, read without TensorFlow: a signature's graph, with its variables filled in.

A folder holds ``saved_model.pb`` and a checkpoint, ``variables/variables``. Functions that the graph calls are put in
the places of their calls. Which variable a function takes is told by numbers of objects; the checkpoint has a table of
what each object is called in it. Sources: ``saved_model.proto``, ``meta_graph.proto``, ``function.proto``,
``saved_object_graph.proto`` and ``trackable_object_graph.proto`` in ``tensorflow/core``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights.keras.layers import OWN
from mobilenets.weights.layers import MAX_ARRAYS, Foreign, check_room
from mobilenets.weights.tensorflow import graph
from mobilenets.weights.tensorflow.checkpoint import Bundle, open_bundle
from mobilenets.weights.tensorflow.graphdef import GraphError, Node, in_order, needed, read_node
from mobilenets.weights.tensorflow.tensor import Array
from mobilenets.weights.wire import BYTES, Budget, WireError, blob, fields, number, text, varint, varints

FILE = "saved_model.pb"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_INIT = "__saved_model_init_op"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_MAX_DEPTH = 20

Edge = tuple[str, int]


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
        self.bound: dict[str, list[int]] = {}
        signatures: dict[str, tuple[Edge, ...]] = {}
        nodes: dict[str, Node] = {}
        metas = [blob(value) for field, kind, value in self.fields(data) if field == 2 and kind == BYTES]
        for field, _, value in self.fields(metas[0]) if metas else ():
            if field == 2:
                nodes = self._graph(blob(value))
            elif field == 5:
                key, signature = self._entry(blob(value))
                signatures[text(key)] = self._outputs(signature)
            elif field == 7:
                self._objects(blob(value))
        signatures.pop(_INIT, None)
        if not signatures:
            raise GraphError("it has no signature to serve; save it with one (model.export in Keras)")
        chosen = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        self.main = _Scope((), nodes, signatures[chosen])

    def fields(self, data: bytes | memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
        return fields(data, self.budget)

    def _entry(self, data: memoryview) -> tuple[memoryview, memoryview]:
        """Key and value of a map."""
        parts = {field: blob(value) for field, _, value in self.fields(data)}
        return parts.get(1, memoryview(b"")), parts.get(2, memoryview(b""))

    def _graph(self, data: memoryview) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        for field, _, value in self.fields(data):
            if field == 1:
                node = read_node(blob(value), self.budget)
                nodes[node.name] = replace(node, inputs=tuple(_plain(*edge) for edge in node.inputs))
            elif field == 2:
                for inner, _, function in self.fields(blob(value)):
                    if inner == 1:
                        self._function(blob(function))
        return nodes

    def _function(self, data: memoryview) -> None:
        name = ""
        arguments: list[str] = []
        given: list[str] = []
        nodes: dict[str, Node] = {}
        returned: dict[str, Edge] = {}
        for field, _, value in self.fields(data):
            if field == 1:
                for part, _, item in self.fields(blob(value)):
                    if part == 1:
                        name = text(item)
                    elif part in (2, 3):
                        label = next((text(x) for f, _, x in self.fields(blob(item)) if f == 1), "")
                        (arguments if part == 2 else given).append(label)
            elif field == 3:
                node = read_node(blob(value), self.budget)
                nodes[node.name] = replace(node, inputs=tuple(_plain(*edge) for edge in node.inputs))
            elif field == 4:
                key, source = self._entry(blob(value))
                returned[text(key)] = _edge(text(source))
        if returned.keys() < set(given):
            raise GraphError(f"its function {name[:100]!r} does not say what it outputs")
        self.functions[name] = _Scope(tuple(arguments), nodes, tuple(returned[label] for label in given))

    def _outputs(self, signature: memoryview) -> tuple[Edge, ...]:
        edges = []
        for field, _, value in self.fields(signature):
            if field == 2:
                _, info = self._entry(blob(value))
                edges += [_edge(text(item)) for part, _, item in self.fields(info) if part == 1]
        return tuple(edges)

    def _objects(self, data: memoryview) -> None:
        """Note which objects each function takes beside its arguments."""
        for field, _, value in self.fields(data):
            if field == 2:
                key, function = self._entry(blob(value))
                bound: list[int] = []
                for part, kind, item in self.fields(function):
                    if part == 2:
                        bound += [int(n) for n in varints(blob(item))] if kind == BYTES else [number(item)]
                self.bound[text(key)] = bound


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
    before, _, port = source.rpartition(":")
    known = before and port.isascii() and port.isdecimal() and len(port) < 6
    return _plain(before, int(port)) if known else (source, 0)


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
    objects = (value for field, _, value in fields(memoryview(data)[at + 4 :], budget) if field == 1)
    for place, value in enumerate(objects):
        for field, _, attribute in fields(blob(value), budget):
            if field == 2:
                parts = {f: text(item) for f, _, item in fields(blob(attribute), budget) if f in (2, 3)}
                if bundle.has_numbers(parts.get(3, "")):
                    keys[place] = parts.get(2) or parts[3], parts[3]
    return keys


def find(path: Path) -> Path | None:
    """Find the ``saved_model.pb`` of a folder, or of a file in it or in its ``variables``; None where there is none."""
    variables = path.parent.parent / FILE if path.parent.name == "variables" else None
    places = (path / FILE, path.parent / FILE if path.name in (FILE, "variables") else None, variables)
    return next((place for place in places if place is not None and place.is_file()), None)
