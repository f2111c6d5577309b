"""MindSpore's ``.ckpt``, read without MindSpore: a protobuf message of named tensors.

Source: ``checkpoint.proto`` and ``save_checkpoint`` of mindspore/train/serialization.py.

    Checkpoint { repeated Value value = 1; }
    Value { string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3; }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.weights import wire
from mobilenets.weights.layers import Foreign, bfloat16, check_room, reported
from mobilenets.weights.pytorch.state import read_state

_TYPES = {"Float32": "<f4", "Float16": "<f2", "Float64": "<f8", "BFloat16": "<u2", "Bool": "?"} | {
    f"{sign}Int{8 * size}": f"<{letter}{size}" for sign, letter in (("", "i"), ("U", "u")) for size in (1, 2, 4, 8)
}
# With crc_check=True the file ends in this word and ten bytes, the CRC-32 of all before it, big-endian.
_CRC, _CRC_BYTES = b"crc_num", 10
MAX_DIMENSIONS = 8
# A MobileNetV2 with Adam's state has some 900 tensors of 10 fields each.
MAX_FIELDS = 200_000


def read(path: Path) -> Foreign:
    """Read the weights of a ``.ckpt`` of MindSpore: a whole network's, or a backbone's or head's alone.

    Raises ``InputError`` in one line for a file that is missing, damaged, or holds no MobileNet's layers.
    """
    damaged = "not a MindSpore checkpoint, or a damaged or encrypted one ({}); copy or save it again"
    with reported(path, damaged, wire.WireError, MemoryError):
        check_room(path, 0, path.stat().st_size)
        arrays = _arrays(path, _checked(memoryview(path.read_bytes())))
    return read_state(path, "MindSpore", arrays)


def _checked(content: memoryview) -> memoryview:
    """Take off the CRC, if the file has one that fits."""
    end = len(content) - len(_CRC) - _CRC_BYTES
    if end < 0 or content[end : end + len(_CRC)] != _CRC:
        return content
    if int.from_bytes(content[end + len(_CRC) :], "big") != zlib.crc32(content[:end]):
        raise wire.WireError("its CRC does not match")
    return content[:end]


def _arrays(path: Path, content: memoryview) -> dict[str, npt.NDArray[Any]]:
    budget = wire.Budget(MAX_FIELDS)
    chunks: dict[str, tuple[str, tuple[int, ...], list[memoryview]]] = {}
    last = None
    got = wire.grouped(content, budget)
    if others := set(got) - {1}:
        raise wire.WireError(f"field {min(others)}")
    for value in got[1]:
        name, kind, shape, data = _tensor(wire.blob(value), budget)
        # A tensor of more than 512 MiB comes in pieces, one behind the other, each with the whole's shape.
        if name not in chunks:
            chunks[name] = kind, shape, [data]
            check_room(path, len(chunks), 0)
        elif name == last and (kind, shape) == chunks[name][:2]:
            chunks[name][2].append(data)
        else:
            raise wire.WireError("two tensors with the same name")
        last = name
    check_room(path, 0, sum(4 * math.prod(shape) for _, shape, _ in chunks.values()))
    return {name: _array(name, *chunk) for name, chunk in chunks.items()}


def _tensor(value: memoryview, budget: wire.Budget) -> tuple[str, str, tuple[int, ...], memoryview]:
    """Read one ``Value``."""
    got = wire.grouped(value, budget)
    if set(got) - {1, 2}:
        raise wire.WireError("a table of embeddings, which no MobileNet has")
    tensor = wire.grouped(wire.blob(got[2][-1]) if got[2] else b"", budget)
    dims = wire.numbers(tensor[1], most=10 * MAX_DIMENSIONS)
    if len(dims) > MAX_DIMENSIONS:
        raise wire.WireError("more dimensions than any layer has")
    data = wire.blob(tensor[3][-1]) if tensor[3] else memoryview(b"")
    return wire.name_of(got[1]), wire.name_of(tensor[2]), tuple(dims), data


def _array(name: str, kind: str, shape: tuple[int, ...], chunks: list[memoryview]) -> npt.NDArray[Any]:
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if kind == "str" or shape == (0,):  # what a callback appended, and how a scalar is written
        return np.zeros((), np.int64)
    if kind not in _TYPES:
        raise wire.WireError(f"{name[:100]!r} holds numbers of type {kind[:20]!r}")
    dtype = np.dtype(_TYPES[kind])
    if 0 in shape or len(data) != math.prod(shape) * dtype.itemsize:
        raise wire.WireError(f"{name[:100]!r} has {len(data)} bytes for the shape {shape}")
    array: npt.NDArray[Any] = np.frombuffer(data, dtype)
    # The early model zoo has its own DepthwiseConv2d, (1, channels, k, k); no other convolution has a single output.
    if len(shape) == 4 and shape[0] == 1 < shape[2]:
        shape = (shape[1], 1, *shape[2:])
    return (bfloat16(array) if kind == "BFloat16" else array).reshape(shape)
