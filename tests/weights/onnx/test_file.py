"""Damaged and hostile ONNX files: refused in one line, before they take memory or leave their folder."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.weights.convert import Converted, convert
from mobilenets.weights.onnx.read import read
from mobilenets.weights.read import read as read_any

Disturbed = Callable[..., Network]
Saved = Callable[..., Path]


@pytest.fixture
def path(saved: Saved, disturbed: Disturbed) -> Path:
    return saved(disturbed("mobilenet_v1", 3, 0.1, size=32))


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.count(str(path)) == 1 and "\n" not in message
    return message


def test_every_cut_and_many_flips_end_in_one_line(path: Path) -> None:
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for length in random.integers(0, len(data) - 1, 20):
        path.write_bytes(data[:length])
        refused(path)
    for place in random.integers(0, len(data), 30):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        try:
            convert(path, quiet=True)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("data", [b"", b"\x00", b"hello", b"\x08\x08", b"\x0a" * 100])
def test_no_onnx_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert "ONNX file" in refused(path)


def _within(number: int, inner: bytes) -> bytes:
    length, size = b"", len(inner)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + inner


@pytest.mark.parametrize(
    "data",
    [
        _within(7, _within(1, b"") * 300_000),  # nodes
        _within(7, _within(5, _within(6, b"") * 300_000)),  # strings of a tensor
        _within(7, _within(5, _within(5, b"\0" * (9 << 20)))),  # numbers that grow fourfold
        _within(7, _within(11, b"\0" * (9 << 20))),  # inputs
    ],
)
def test_files_that_grow_in_memory(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    tracemalloc.start()
    refused(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(data) + (8 << 20)


def test_graphs_within_graphs(tmp_path: Path) -> None:
    data = b""
    for _ in range(5):
        data = _within(1, _within(5, _within(6, data)))
    path = tmp_path / "model.onnx"
    path.write_bytes(_within(7, data))
    assert "too deep" in refused(path)


def changed(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_sizes_that_are_claimed(path: Path) -> None:
    def claim(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]

    assert "more than any MobileNet" in refused(changed(path, claim))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float, path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    assert "not finite" in refused(changed(path, spoil))


def test_constants_that_grow(path: Path) -> None:
    def grow(model: onnx.ModelProto) -> None:
        shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["large"]))

    assert "makes more of its constants" in refused(changed(path, grow))


def test_arithmetic_that_never_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilenets.weights.head.MAX_WORK", 10**8)

    def chain(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1000, 1000), np.float32), "square"))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 1000), np.float32), "wide"))
        names = ["logits", *(f"more{i}" for i in range(200))]
        for i, (before, after) in enumerate(pairwise(names)):
            model.graph.node.append(helper.make_node("MatMul", [before, "square" if i else "wide"], [after]))
        model.graph.output[0].name = names[-1]

    assert "more arithmetic" in refused(changed(path, chain))


def test_functions_and_operators_of_others(path: Path) -> None:
    def function(model: onnx.ModelProto) -> None:
        model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [], []))

    def domain(model: onnx.ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "Clip").domain = "com.microsoft"

    assert "com.microsoft.Clip 'body.conv0' is no operation of a MobileNet" in refused(changed(path, domain))
    assert "inline_local_functions" in refused(changed(path, function))


# Weights in a file beside the model.


@pytest.fixture
def beside(path: Path) -> Path:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
    return path


def test_weights_beside_the_model(beside: Path, agrees: Callable[[Path], Converted]) -> None:
    assert beside.stat().st_size < beside.with_name("model.data").stat().st_size
    agrees(beside)


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "C:\\secret", ""])
def test_weights_outside_the_folder(place: str, beside: Path) -> None:
    (beside.parent.parent / "secret").write_bytes(bytes(1 << 20))
    model = onnx.load(beside, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = place
    beside.write_bytes(model.SerializeToString())
    assert "outside its folder" in refused(beside)


def test_a_link_that_leaves_the_folder(beside: Path) -> None:
    data = beside.with_name("model.data")
    elsewhere = beside.parent.parent / "elsewhere"
    data.rename(elsewhere)
    data.symlink_to(elsewhere)
    assert "outside its folder" in refused(beside)


def test_the_cache_of_the_hub_links_to_one_folder(beside: Path) -> None:
    blobs, snapshot = beside.parent / "blobs", beside.parent / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name in ("model.onnx", "model.data"):
        (snapshot / name).symlink_to(beside.with_name(name).rename(blobs / name))
    assert read(snapshot / "model.onnx").layers


@pytest.mark.parametrize("left", [0, 100])
def test_weights_that_are_cut(left: int, beside: Path) -> None:
    data = beside.with_name("model.data")
    data.write_bytes(data.read_bytes()[:left])
    assert "'model.data' beside it is shorter than it says" in refused(beside)
    data.unlink()
    assert "put both files in one folder" in refused(beside)


def test_unknown_kinds_of_numbers(path: Path) -> None:
    def strings(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(helper.make_tensor("x", TensorProto.STRING, [1], [b"a"]))

    assert "of an unknown kind" in refused(changed(path, strings))


def test_a_name_that_is_no_text_and_a_file_of_one_byte(path: Path, tmp_path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\x04Conv", b"\x04C\xffnv", 1))
    assert "a name in it is not UTF-8" in refused(path)
    (tmp_path / "w.bin").write_bytes(b"\x08")
    with pytest.raises(InputError, match="not a known format of weights"):
        read_any(tmp_path / "w.bin")
