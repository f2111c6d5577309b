from __future__ import annotations

import runpy
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilenets.weights import layers
from mobilenets.weights.layers import KINDS, of_kind
from mobilenets.weights.mindspore import read

FIXTURES = Path(__file__).parents[1] / "fixtures" / "mindspore"
SHARED: Any = runpy.run_path(str(Path(__file__).parent / "tensorflow" / "shared.py"))
field, varint = SHARED["field"], SHARED["varint"]
REFUSING = runpy.run_path(str(Path(__file__).with_name("refusing.py")))
refused, read_or_refused = (partial(REFUSING[name], read) for name in ("refused", "read_or_refused"))


def value(name: str | bytes, shape: tuple[int, ...], data: bytes, kind: str = "Float32", packed: bool = False) -> bytes:
    """Give one tensor as protobuf writes it."""
    dims = field(1, b"".join(map(varint, shape))) if packed else b"".join(b"\x08" + varint(side) for side in shape)
    raw = name if isinstance(name, bytes) else name.encode()
    return field(1, field(1, raw) + field(2, dims + field(2, kind.encode()) + field(3, data)))


def of(name: str, array: np.ndarray, kind: str = "Float32") -> bytes:
    return value(name, array.shape, array.tobytes(), kind)


RANDOM = np.random.default_rng(0)


def some(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def small() -> bytes:
    parts = {"gamma": some(4), "beta": some(4), "moving_mean": some(4), "moving_variance": abs(some(4))}
    return (
        of("features.0.features.0.weight", some(4, 3, 3, 3))
        + b"".join(of(f"features.0.features.1.{part}", array) for part, array in parts.items())
        + of("features.1.conv.0.features.0.weight", some(4, 1, 3, 3))
        + of("dense.weight", some(2, 4))
        + of("dense.bias", some(2))
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def test_a_network_in_one_file_and_apart() -> None:
    whole, backbone, head = (read(FIXTURES / f"v2{part}.ckpt") for part in ("", "_backbone", "_head"))
    assert [len(of_kind(whole.layers, kind)) for kind in KINDS] == [35, 17, 52, 1]
    assert (whole.format, whole.padding, whole.epsilon) == ("MindSpore of the model zoo", "symmetric", 1e-5)
    assert not whole.notes
    assert [layer.name for layer in whole.layers] == [layer.name for layer in (*backbone.layers, *head.layers)]
    for one, other in zip(whole.layers, (*backbone.layers, *head.layers), strict=True):
        for part, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[part])
    assert [layer.kind for layer in head.layers] == ["linear"]
    assert head.format == "MindSpore"
    assert not head.notes


def test_v1_is_padded_as_tensorflow_pads() -> None:
    foreign = read(FIXTURES / "v1.ckpt")
    assert [len(of_kind(foreign.layers, kind)) for kind in KINDS] == [14, 13, 27, 1]
    assert (foreign.padding, foreign.epsilon) == ("same", 1e-5)


def test_what_an_optimiser_leaves_is_ignored() -> None:
    foreign = read(FIXTURES / "v2_training.ckpt")
    assert [layer.name for layer in foreign.layers] == ["dense"]
    assert set(foreign.ignored) >= {"moments.dense.weight", "momentum", "learning_rate", "epoch_num", "lr"}


@pytest.mark.parametrize(("kind", "dtype"), [("Float32", "<f4"), ("Float16", "<f2"), ("Float64", "<f8")])
def test_types(file: Path, kind: str, dtype: str) -> None:
    array = some(2, 4).astype(dtype)
    file.write_bytes(of("dense.weight", array, kind))
    np.testing.assert_array_equal(read(file).layers[0].arrays["weight"], array.astype(np.float32))


def test_bfloat16_and_packed_dimensions(file: Path) -> None:
    array = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    file.write_bytes(value("dense.weight", (2, 4), array.view(torch.int16).numpy().tobytes(), "BFloat16", packed=True))
    np.testing.assert_array_equal(read(file).layers[0].arrays["weight"], array.float())


def test_the_old_layout_of_depthwise_layers(file: Path) -> None:
    array = some(1, 6, 3, 3)
    file.write_bytes(of("a.weight", array) + of("b.weight", some(1, 6, 1, 1)))
    second, first = sorted(read(file).layers, key=lambda layer: layer.kind)
    assert (first.name, first.kind) == ("a", "depthwise")
    np.testing.assert_array_equal(first.arrays["weight"], array.transpose(1, 0, 2, 3))
    assert second.kind == "conv"


def test_tensors_in_pieces(file: Path) -> None:
    array = some(8, 4)
    pieces = [value("dense.weight", (8, 4), array[start : start + 3].tobytes()) for start in (0, 3, 6)]
    file.write_bytes(b"".join(pieces) + of("dense.bias", some(8)))
    np.testing.assert_array_equal(read(file).layers[0].arrays["weight"], array)
    file.write_bytes(b"".join(pieces[:2]))
    assert "has 96 bytes for the shape (8, 4)" in refused(file)
    file.write_bytes(pieces[0] + of("dense.bias", some(8)) + pieces[1] + pieces[2])
    assert "two tensors with the same name" in refused(file)
    file.write_bytes(pieces[0] + value("dense.weight", (4, 8), array[3:].tobytes()))
    assert "two tensors with the same name" in refused(file)


def test_the_crc(file: Path) -> None:
    content = small()
    file.write_bytes(content + b"crc_num" + zlib.crc32(content).to_bytes(10, "big"))
    assert len(read(file).layers) == 4
    file.write_bytes(content + b"crc_num" + zlib.crc32(content + b"x").to_bytes(10, "big"))
    assert "its CRC does not match" in refused(file)
    whole = bytearray((FIXTURES / "v2.ckpt").read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    assert "its CRC does not match" in refused(file)


FOUR = some(4).tobytes()
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no layer weights"),
    "text": (b"<html>not found</html>", "not a MindSpore checkpoint"),
    "a length of 2^60": (b"\x0a" + varint(1 << 60), "not a MindSpore checkpoint"),
    "a length of 2^64": (b"\x0a" + varint((1 << 64) - 1), "not a MindSpore checkpoint"),
    "another field": (field(2, b"a"), "field 2"),
    "a number for a message": (b"\x08\x01", "a number stands"),
    "an embedding": (field(1, field(1, b"a") + field(3, b"")), "a table of embeddings"),
    "no name": (field(1, field(2, field(2, b"Float32"))), "has 0 bytes for the shape ()"),
    "a name that is no text": (value(b"\xff", (2, 2), FOUR), "UTF-8"),
    "a number for a name": (field(1, b"\x08\x01"), "a number stands"),
    "another type": (value("a.weight", (2, 2), FOUR, "Complex64"), "numbers of type 'Complex64'"),
    "a long type": (value("a.weight", (2, 2), FOUR, "x\n" * 1000), "numbers of type"),
    "whole numbers": (value("a.weight", (2, 2), FOUR, "Int32"), "int32"),
    "unsigned": (value("a.weight", (2, 2), FOUR, "UInt32"), "uint32"),
    "a negative side": (value("a.weight", (-2, -2), FOUR), "bytes"),
    "too many bytes": (value("a.weight", (1, 2), FOUR), "has 16 bytes for the shape (1, 2)"),
    "sides that overflow": (value("a.weight", (1 << 40, 1 << 40), FOUR), "bytes of arrays"),
    "a large empty array": (value("a.weight", (1 << 60, 0), b""), "has 0 bytes for the shape"),
    "many dimensions": (value("a.weight", (1,) * 100, FOUR), "more dimensions"),
    "many packed dimensions": (value("a.weight", (1,) * 100, FOUR, packed=True), "more dimensions"),
    "a packed bomb": (value("a.weight", (1,) * 1_000_000, FOUR, packed=True), "more dimensions"),
    "NaN": (value("a.weight", (1, 1), struct.pack("<f", float("nan"))), "not finite"),
    "infinity": (value("a.weight", (1, 1), b"\x80\x7f", "BFloat16"), "not finite"),
    "a name with a line break": (value("../../a\nb", (2, 2), FOUR), r"'../../a\nb' is not part"),
    "a million fields": (b"\x0a\x00" * 1_100_000, "not a MindSpore checkpoint"),
    "a group": (b"\x0b\x0c", "not a MindSpore checkpoint"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_files(file: Path, attack: str) -> None:
    content, reason = HOSTILE[attack]
    file.write_bytes(content)
    assert reason in refused(file)
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_hundred_thousand_entries(file: Path) -> None:
    file.write_bytes(b"".join(value(f"{i}.weight", (1, 1), FOUR[:4]) for i in range(100_000)))
    assert "arrays" in refused(file)


def test_more_bytes_than_any_mobilenet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(of("a.weight", some(100, 100).astype(np.float16), "Float16"))
    monkeypatch.setattr(layers, "MAX_BYTES", 30_000)
    assert "40000 bytes" in refused(file)  # as float32
    monkeypatch.setattr(layers, "MAX_BYTES", 10_000)
    assert f"{file.stat().st_size} bytes" in refused(file)


def test_files_that_are_not_there(file: Path) -> None:
    assert "No such file" in refused(file)
    assert "Is a directory" in refused(file.parent)


def test_cut_anywhere(file: Path) -> None:
    """Between two tensors nothing shows that others followed: what is left of a norm or a network is then missing."""
    content = small()
    whole = [end for end in range(0, len(content), 3) if read_or_refused(file, content[:end])]
    assert len(whole) < 5


def test_flipped_bits(file: Path) -> None:
    content = small()
    random = np.random.default_rng(0)
    passed = 0
    for _ in range(1500):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << int(random.integers(8))
        passed += read_or_refused(file, bytes(damaged))
    assert 0 < passed < 1500  # most weights carry no checksum


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(
                value,
                st.sampled_from(["a.weight", "a.gamma", "a.moving_mean", "a.moving_variance", "b.weight", ""]),
                st.lists(st.one_of(st.integers(0, 3), st.integers(-(1 << 63), 1 << 63)), max_size=5).map(tuple),
                st.binary(max_size=24),
                st.sampled_from(["Float32", "Float16", "BFloat16", "Int64", "str", ""]),
                st.booleans(),
            ),
        ),
        max_size=4,
    )
)
def test_any_message(file: Path, parts: list[bytes]) -> None:
    read_or_refused(file, b"".join(parts))
