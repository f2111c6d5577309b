"""Writes protocol buffers, TensorFlow graphs and checkpoints, and compares layers with what TensorFlow wrote.

Tests take these names from ``runpy.run_path``.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from mobilenets.weights.layers import Foreign
from mobilenets.weights.tensorflow.crc32c import crc32c, mask
from mobilenets.weights.tensorflow.graph import read

FILES = Path(__file__).parents[2] / "fixtures" / "tensorflow"
SLIM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number: int, value: int | bytes | str | float) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_proto(*sides: int) -> bytes:
    return b"".join(field(2, field(1, side)) for side in sides)


def tensor(array: np.ndarray) -> bytes:
    kind = {"float32": 1, "float64": 2, "int32": 3, "float16": 19}[array.dtype.name]
    return field(1, kind) + field(2, shape_proto(*array.shape)) + field(4, array.tobytes())


class Graph:
    """Nodes one behind the other; ``picture`` to ``add`` give the name of what they made."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.seed = 0

    def add(self, name: str, op: str, *inputs: str, **attributes: bytes) -> str:
        content = field(1, name) + field(2, op) + b"".join(field(3, source) for source in inputs)
        for key, value in attributes.items():
            content += field(5, field(1, key) + field(2, value))
        self.parts.append(field(1, content))
        return name

    def const(self, name: str, value: object) -> str:
        array = np.asarray(value)
        return self.add(name, "Const", value=field(8, tensor(array.astype("f4") if array.dtype == "f8" else array)))

    def numbers(self, name: str, *shape: int) -> str:
        self.seed += 1
        return self.const(name, np.random.default_rng(self.seed).uniform(0.5, 1.5, shape))

    def picture(self, *shape: int, kind: int = 1, name: str = "input") -> str:
        return self.add(
            name, "Placeholder", dtype=field(6, kind), shape=field(7, shape_proto(*(shape or (1, 8, 8, 3))))
        )

    def conv(
        self, name: str, source: str, kernel: str, stride: int = 1, padding: str = "SAME", op: str = "Conv2D"
    ) -> str:
        strides = field(1, b"".join(field(3, value) for value in (1, stride, stride, 1)))
        return self.add(name, op, source, kernel, strides=strides, padding=field(2, padding))

    def norm(self, name: str, source: str, channels: int, epsilon: float = 0.001, training: bool = False) -> str:
        parts = [self.numbers(f"{name}/{part}", channels) for part in ("gamma", "beta", "mean", "variance")]
        return self.add(
            name, "FusedBatchNormV3", source, *parts, epsilon=field(4, epsilon), is_training=field(5, int(training))
        )

    def stem(self, source: str = "input", act: str = "Relu6", **options: object) -> str:
        net = self.conv("stem", source, self.numbers("stem/weights", 3, 3, 3, 4), stride=2, **options)
        return self.add("stem/act", act, self.norm("stem/norm", net, 4))

    def block(
        self, source: str, name: str = "block", inputs: int = 4, outputs: int = 4, stride: int = 1, **options: object
    ) -> str:
        kernel = self.numbers(f"{name}/dw/weights", 3, 3, inputs, 1)
        net = self.conv(f"{name}/dw", source, kernel, stride, op="DepthwiseConv2dNative", **options)
        net = self.add(f"{name}/dw/act", "Relu6", self.norm(f"{name}/dw/norm", net, inputs))
        net = self.conv(f"{name}/pw", net, self.numbers(f"{name}/pw/weights", 1, 1, inputs, outputs))
        return self.add(f"{name}/act", "Relu6", self.norm(f"{name}/norm", net, outputs))

    def head(self, source: str, inputs: int = 4) -> str:
        net = self.add("pool", "Mean", source, self.const("axes", np.int32([1, 2])))
        net = self.add("fc", "MatMul", net, self.numbers("fc/weights", inputs, 5))
        return self.add("logits", "BiasAdd", net, self.numbers("fc/biases", 5))

    def bytes(self) -> bytes:
        return b"".join(self.parts)

    def read(self, folder: Path) -> Foreign:
        path = folder / "graph.pb"
        path.write_bytes(self.bytes())
        return read(path)


def whole() -> Graph:
    graph = Graph()
    graph.picture()
    graph.head(graph.block(graph.stem()))
    return graph


def sealed(content: bytes, compression: int = 0) -> bytes:
    return content + bytes([compression]) + struct.pack("<I", mask(crc32c(content + bytes([compression]))))


def block(items: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in items)
    return body + struct.pack("<II", 0, 1)


def table(items: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    content = block(items)
    data = sealed(content, compression)
    index = block([(b"\xff", varint(0) + varint(len(content)))])
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index))
    return data + sealed(index) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def entry(array: np.ndarray, offset: int, *, shard: int = 0, kind: int = 1, **changes: object) -> bytes:
    shape = changes.get("shape", array.shape)
    size = changes.get("size", array.nbytes)
    sides = b"".join(field(2, field(1, side)) for side in shape)
    checksum = varint(6 << 3 | 5) + struct.pack("<I", mask(crc32c(array.tobytes())))
    return field(1, kind) + field(2, sides) + field(3, shard) + field(4, offset) + field(5, size) + checksum


def write(
    folder: Path,
    arrays: dict[str, np.ndarray],
    *,
    shards: int = 1,
    extra: dict[str, bytes] | None = None,
    name: str = "model.ckpt",
) -> Path:
    data, entries = b"", {b"": field(1, shards)}
    for variable, array in arrays.items():
        kind = {"f": 1, "i": 9}[array.dtype.kind]
        entries[variable.encode()] = entry(array, len(data), kind=kind)
        data += array.tobytes()
    entries |= {variable.encode(): value for variable, value in (extra or {}).items()}
    (folder / f"{name}.index").write_bytes(table(sorted(entries.items())))
    (folder / f"{name}.data-00000-of-{shards:05d}").write_bytes(data)
    return folder / name


def digests(foreign: Foreign) -> dict[str, list[str]]:
    """By slim's name of the kind of array, digests in the order of the layers."""
    found: dict[str, list[str]] = {}
    for layer in foreign.layers:
        for part, array in layer.arrays.items():
            if layer.kind == "norm":
                leaf, kept = SLIM[part], array
            elif part == "bias":
                leaf, kept = "biases", array
            elif layer.kind == "depthwise":
                leaf, kept = "depthwise_weights", array.transpose(2, 3, 0, 1)
            else:
                leaf, kept = "weights", array.transpose(2, 3, 1, 0) if layer.kind == "conv" else array.T[None, None]
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            found.setdefault(leaf, []).append(hashlib.sha256(np.ascontiguousarray(kept)).hexdigest()[:16])
    return found


def recorded(name: str) -> dict[str, list[str]]:
    """The same of what TensorFlow itself wrote."""
    found: dict[str, list[str]] = {}
    with np.load(FILES / f"{name}.npz") as record:
        for variable, digest in zip(record["names"], record["digests"], strict=True):
            found.setdefault(variable.split("/")[-1], []).append(str(digest))
    return found
