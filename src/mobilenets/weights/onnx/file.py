"""An ONNX file as plain nodes and arrays. Nothing of it is run, and what it claims is counted before it is believed.

Source: ``onnx.proto`` of https://github.com/onnx/onnx, and its ``ExternalData.md``.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from mobilenets.errors import InputError
from mobilenets.weights.layers import check_room, listed
from mobilenets.weights.wire import BYTES, Budget, WireError, blob, fields

Array = npt.NDArray[Any]

# Messages within messages, by field number; all else has at most ``_LOOSE`` bytes together.
_NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
    "tensor": {},
}
# Numbers that take no more memory than in the file: float_data, raw_data and double_data.
_PLAIN = {("tensor", 4), ("tensor", 9), ("tensor", 10)}
_LOOSE = 8 << 20
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Node:
    """An operator with the names of what it takes and gives; an empty name is an input left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        """Name it for a user."""
        return f"{self.op[:100]} {' '.join((self.name or self.outputs[0])[:100].split())!r}"

    def given(self, name: str, default: Any) -> Any:
        """Give an attribute, as the kind of value that ``default`` is. Raises InputError for another."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if type(value) is not type(default):
            raise InputError(f"{self} has a malformed attribute {name!r}; export the model again")
        return value


@dataclass(frozen=True)
class Fed:
    """An input: its shape, None for what is left open, and whether it takes bytes or floating-point numbers."""

    name: str
    shape: tuple[int | None, ...] | None
    pixels: bool


@dataclass(frozen=True)
class Graph:
    """What a file holds: nodes in its order, constants by name, inputs and outputs, and what it says of itself."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Fed, ...]
    outputs: tuple[str, ...]
    opset: int
    producer: str
    about: Mapping[str, str]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file with the data beside it. Raises InputError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError("not a file; give a model (.onnx)")
    check_room(path, 0, found.st_size)
    data = path.read_bytes()
    try:
        _count(memoryview(data), "model", Budget(room=_LOOSE))
        model = onnx.ModelProto.FromString(data)
    except (WireError, DecodeError) as error:
        raise InputError(f"damaged, or not an ONNX file ({error}); copy or download it again") from error
    if not model.graph.node:
        raise InputError("not an ONNX file, or one without a network; give a model (.onnx)")
    if any(isinstance(name, bytes) for name in _names(model)):  # how protobuf gives what is not UTF-8
        raise InputError("damaged: a name in it is not UTF-8; copy or download it again")
    if model.functions:
        raise InputError("it has functions of its own; put them in their places: onnx.inliner.inline_local_functions")
    domains = ("", "ai.onnx")
    tensors = model.graph.initializer
    check_room(path, len(tensors), found.st_size)
    constants = _Tensors(path)
    return Graph(
        nodes=tuple(
            Node(
                node.name,
                node.op_type if node.domain in domains else f"{node.domain}.{node.op_type}",
                tuple(node.input),
                tuple(node.output) or ("",),
                {part.name: _attribute(part, constants) for part in node.attribute},
            )
            for node in model.graph.node
        ),
        constants={tensor.name: constants.read(tensor) for tensor in tensors},
        inputs=tuple(_fed(value) for value in model.graph.input),
        outputs=tuple(value.name for value in model.graph.output),
        opset=next((entry.version for entry in model.opset_import if entry.domain in domains), 1),
        producer=model.producer_name,
        about={entry.key: entry.value for entry in model.metadata_props},
    )


def _count(view: memoryview, kind: str, budget: Budget, depth: int = 0) -> None:
    """Go over the messages of a file before memory is taken for them. Raises WireError."""
    if depth > _MAX_DEPTH:
        raise WireError("its graphs lie within graphs too deep")
    for number, wire, value in fields(view, budget):
        inner = _NESTED[kind].get(number)
        if inner is not None:
            _count(blob(value), inner, budget, depth + 1)
        elif wire == BYTES and (kind, number) not in _PLAIN:
            budget.take(len(blob(value)))


def _attribute(part: onnx.AttributeProto, constants: _Tensors) -> Any:
    """Give the value of an attribute; None for a graph and other kinds that no network here has."""
    if part.type == onnx.AttributeProto.TENSOR:
        return constants.read(part.t)
    known = (part.FLOAT, part.INT, part.STRING, part.FLOATS, part.INTS, part.STRINGS)
    value = helper.get_attribute_value(part) if part.type in known else None
    return list(value) if isinstance(value, Iterable) and not isinstance(value, bytes | str) else value


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Give every name that is read of a model."""
    graph = model.graph
    yield model.producer_name
    for part in (*graph.initializer, *graph.input, *graph.output):
        yield part.name
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (part.name for part in node.attribute)


def _fed(value: onnx.ValueInfoProto) -> Fed:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim)
    return Fed(value.name, shape, kind.elem_type in (TensorProto.UINT8, TensorProto.INT8))


class _Tensors:
    """Makes arrays of tensors, those in files beside the model as well."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0

    def read(self, tensor: TensorProto) -> Array:
        """Give an array; floating-point numbers of any width as float32 or wider. Raises InputError."""
        try:
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            size = max(kind.itemsize, 1) * math.prod(tensor.dims)
            if any(side < 0 for side in tensor.dims) or kind.hasobject or kind.kind in "USO":
                raise ValueError(f"a tensor of {kind}")
            self.bytes += size
            check_room(self.path, 0, self.bytes)
            array: Array
            if tensor.data_location == TensorProto.EXTERNAL:
                array = np.frombuffer(self._beside(tensor, size), kind).reshape(tuple(tensor.dims))
            else:
                array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InputError(
                f"the array {listed([tensor.name])!r} is damaged or of an unknown kind; export the model again"
            ) from error
        # bfloat16 is no kind of NumPy's own.
        return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype == np.float16 else array

    def _beside(self, tensor: TensorProto, size: int) -> bytes:
        """Read what a tensor has in another file of the model's folder."""
        told: dict[str, str] = {entry.key: entry.value for entry in tensor.external_data}
        place = told.get("location", "")
        named = repr(listed([place]))
        parts = PurePosixPath(place).parts + PureWindowsPath(place).parts
        target = self.path.parent / place
        # The hub's cache links to files of one folder.
        folders = (self.path.parent.resolve(), self.path.resolve().parent)
        inside = any(target.resolve().is_relative_to(folder) for folder in folders)
        absolute = PurePosixPath(place).is_absolute() or PureWindowsPath(place).anchor
        if not place or "\0" in place or ".." in parts or absolute or not inside:
            raise InputError(f"its weights are said to lie in {named}, outside its folder; this is refused")
        if not target.is_file():
            raise InputError(f"its weights lie in {named}, which is not beside it; put both files in one folder")
        offset = int(told.get("offset") or 0)
        if int(told.get("length") or size) != size or not 0 <= offset <= target.stat().st_size - size:
            raise InputError(f"{named} beside it is shorter than it says; copy or download both files again")
        with target.open("rb") as file:
            file.seek(offset)
            return file.read(size)
