"""Against graphs that TensorFlow wrote (tests/fixtures/make_tensorflow.py), and small ones made here."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert
from mobilenets.weights.layers import Foreign, of_kind
from mobilenets.weights.tensorflow.graph import read

FILES = Path(__file__).parents[2] / "fixtures" / "tensorflow"
SLIM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


# --- a writer of graphs -----------------------------------------------------------------------------------------------


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


def arrays(foreign: Foreign, kind: str) -> list[dict[str, np.ndarray]]:
    return [dict(layer.arrays) for layer in of_kind(foreign.layers, kind)]


# --- TensorFlow's own files -------------------------------------------------------------------------------------------


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def digests(foreign: Foreign) -> dict[str, list[str]]:
    """By slim's name of the kind of array, digests in the order of the layers."""
    found: dict[str, list[str]] = {}
    for layer in foreign.layers:
        for part, array in layer.arrays.items():
            if layer.kind == "norm":
                found.setdefault(SLIM[part], []).append(digest(array))
            elif part == "bias":
                found.setdefault("biases", []).append(digest(array))
            elif layer.kind == "conv":
                found.setdefault("weights", []).append(digest(array.transpose(2, 3, 1, 0)))
            elif layer.kind == "linear":
                found.setdefault("weights", []).append(digest(array.T[None, None]))
            elif layer.kind == "depthwise":
                found.setdefault("depthwise_weights", []).append(digest(array.transpose(2, 3, 0, 1)))
    return found


def recorded(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with np.load(FILES / f"{name}.npz") as record:
        for variable, value in zip(record["names"], record["digests"], strict=True):
            found.setdefault(variable.split("/")[-1], []).append(str(value))
    return found


FIRST_HEAD = "MobilenetV1/Predictions/Reshape"  # whose logits retrain.py's own head takes
V1_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
V2_STRIDES = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "strides"), [("v1_fused", V1_STRIDES), ("v1_retrained", V1_STRIDES), ("v2_apart", V2_STRIDES)]
)
def test_what_tensorflow_froze_comes_back_in_forward_order(name, strides):
    foreign = read(FILES / f"{name}.pb", FIRST_HEAD if name == "v1_retrained" else None)
    assert digests(foreign) == recorded(name)
    assert (foreign.padding, foreign.epsilon, foreign.size, foreign.strides) == ("same", 0.001, 64, strides)
    assert foreign.preprocessing["mean"] == foreign.preprocessing["std"] == (0.5, 0.5, 0.5)


def test_a_retrained_head_is_joined_with_the_one_before_it():
    foreign = read(FILES / "v1_retrained.pb")
    first = read(FILES / "v1_retrained.pb", FIRST_HEAD)
    (old,), (new,) = of_kind(first.layers, "linear"), of_kind(foreign.layers, "linear")
    with np.load(FILES / "v1_retrained.npz") as record:
        weights, biases = record["final_weights"], record["final_biases"]
    features = np.random.default_rng(0).uniform(0, 6, (3, 64))
    logits = features @ old.arrays["weight"].T + old.arrays["bias"]
    expected = logits @ weights + biases
    np.testing.assert_allclose(features @ new.arrays["weight"].T + new.arrays["bias"], expected, rtol=1e-5, atol=1e-5)
    assert "is folded into one linear layer that computes the same" in foreign.notes[0]


def test_folded_batch_norm_is_weights_and_bias():
    foreign = read(FILES / "v1_folded.pb")
    with np.load(FILES / "v1_folded.npz") as record:
        names, values = record["names"].tolist(), record["values"].astype(np.float64)
    assert not of_kind(foreign.layers, "norm")
    at, factors = 0, []
    # The variables of one convolution lie behind each other: weights, gamma, beta, mean, variance.
    layers = list(foreign.layers)
    sizes = {"weights": None, "depthwise_weights": None}
    for i, name in enumerate(names):
        leaf = name.split("/")[-1]
        layer = layers[len(factors)] if len(factors) < len(layers) else layers[-1]
        if leaf in sizes:
            kernel = layer.arrays["weight"]
            here = values[at : at + kernel.size]
            at += kernel.size
            channels = len(kernel)
            if "Logits" in name:
                break
            gamma, beta, mean, variance = values[at : at + 4 * channels].reshape(4, channels)
            assert [n.split("/")[-1] for n in names[i + 1 : i + 5]] == list(SLIM.values())
            at += 4 * channels
            factor = gamma / np.sqrt(variance + 0.001)
            side = kernel.shape[-1]
            if leaf == "weights":
                expected = (here.reshape(side, side, -1, channels) * factor).transpose(3, 2, 0, 1)
            else:
                expected = (here.reshape(side, side, channels, 1) * factor[:, None]).transpose(2, 3, 0, 1)
            np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(layer.arrays["bias"], beta - mean * factor, rtol=1e-4, atol=1e-5)
            factors.append(factor)
    assert len(factors) == 27
    assert layers[-1].arrays["bias"].shape == (5,)


def test_the_preparation_of_pictures_is_read():
    foreign = read(FILES / "v1_folded.pb")
    assert foreign.size == 64
    assert foreign.preprocessing == {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "scale": 1 / 255,
        "crop_fraction": 0.875,
        "interpolation": "bilinear",
        "resize": "stretch",
    }


# --- graphs made here -------------------------------------------------------------------------------------------------


def test_a_small_graph(tmp_path):
    foreign = whole().read(tmp_path)
    assert [layer.kind for layer in foreign.layers] == ["conv", "norm", "depthwise", "norm", "conv", "norm", "linear"]
    assert foreign.layers[0].name == "stem/weights"
    assert foreign.layers[-1].arrays["bias"].shape == (5,)
    assert (foreign.size, foreign.strides) == (8, (2, 1))


def test_nodes_may_stand_in_any_order(tmp_path):
    graph = whole()
    expected = graph.read(tmp_path)
    random.Random(1).shuffle(graph.parts)
    found = graph.read(tmp_path)
    assert [layer.name for layer in found.layers] == [layer.name for layer in expected.layers]


def test_batch_norm_in_parts_of_every_kind(tmp_path):
    """With and without gamma and beta, operands either way round, folded to one product and sum, and before a bias."""
    for beta in (True, False):
        for gamma in (True, False):
            graph = Graph()
            net = graph.conv("stem", graph.picture(), graph.numbers("w", 3, 3, 3, 4))
            net = graph.add("biased", "BiasAdd", net, graph.numbers("b", 4))
            total = graph.add("n/add", "AddV2", graph.numbers("n/var", 4), graph.const("n/eps", 0.002))
            factor = graph.add("n/Rsqrt", "Rsqrt", total)
            if gamma:
                factor = graph.add("n/mul", "Mul", graph.numbers("n/gamma", 4), factor)
            scaled = graph.add("n/mul_1", "Mul", factor, net)
            product = graph.add("n/mul_2", "Mul", graph.numbers("n/mean", 4), graph.add("same", "Identity", factor))
            if beta:
                shift = graph.add("n/sub", "Sub", graph.numbers("n/beta", 4), product)
            else:
                shift = graph.add("n/Neg", "Neg", product)
            net = graph.add("n/add_1", "Add", shift, scaled)
            graph.head(graph.block(graph.add("act", "Relu6", net)))
            foreign = graph.read(tmp_path)
            first = arrays(foreign, "norm")[0]
            values = {}
            for i, part in enumerate(["w", "b", "var"] + ["gamma"] * gamma + ["mean"] + ["beta"] * beta, start=1):
                shape = (3, 3, 3, 4) if part == "w" else (4,)
                values[part] = np.random.default_rng(i).uniform(0.5, 1.5, shape).astype(np.float32)
            np.testing.assert_array_equal(first["running_mean"], values["mean"])
            np.testing.assert_array_equal(arrays(foreign, "conv")[0]["bias"], values["b"])
            np.testing.assert_array_equal(first["weight"], values["gamma"] if gamma else np.ones(4))
            np.testing.assert_array_equal(first["bias"], values["beta"] if beta else np.zeros(4))
            # The other norms have 0.001: the smallest is that of all.
            assert foreign.epsilon == 0.001
            np.testing.assert_allclose(first["running_var"], values["var"] + np.float32(0.001), rtol=1e-6)


def test_a_plain_product_and_sum_is_the_same_function(tmp_path):
    graph = Graph()
    net = graph.conv("stem", graph.picture(), graph.numbers("w", 3, 3, 3, 4))
    net = graph.add("minus", "Sub", net, graph.const("m", np.float32([1, 2, 3, 4])))
    net = graph.add("divided", "RealDiv", net, graph.const("d", np.float32([2, 4, 5, 8])))
    net = graph.add("plus", "Add", net, graph.const("p", np.float32([7, 7, 7, 7])))
    graph.head(graph.block(graph.add("act", "Relu6", net)))
    foreign = graph.read(tmp_path)
    conv = arrays(foreign, "conv")[0]
    kernel = np.random.default_rng(1).uniform(0.5, 1.5, (3, 3, 3, 4)).astype(np.float32).transpose(3, 2, 0, 1)
    x = np.float32([10, 20, 30, 40])
    y = x * (conv["weight"] / kernel).mean((1, 2, 3)) + conv["bias"]
    np.testing.assert_allclose(y, [11.5, 11.5, 12.4, 11.5], rtol=1e-6)


@pytest.mark.parametrize("order", [("Maximum", "Minimum"), ("Minimum", "Maximum"), ("Relu", "Minimum")])
def test_relu6_in_two_steps(tmp_path, order):
    graph = Graph()
    net = graph.norm("norm", graph.conv("stem", graph.picture(), graph.numbers("w", 3, 3, 3, 4)), 4)
    for op in order:
        bounds = {"Maximum": 0.0, "Minimum": 6.0}
        inputs = [graph.const(f"{op}/y", bounds[op])] if op in bounds else []
        net = graph.add(op, op, net, *inputs)
    graph.head(graph.block(net))
    assert len(graph.read(tmp_path).layers) == 7


def padded(graph: Graph, source: str, name: str, before: int, after: int) -> str:
    zeros = np.int32([[0, 0], [before, after], [before, after], [0, 0]])
    return graph.add(name, "Pad", source, graph.const(f"{name}/paddings", zeros))


@pytest.mark.parametrize(
    ("side", "stem", "deep", "padding"),
    [
        (16, None, None, "same"),
        (15, (1, 1), (1, 1), "symmetric"),
        (16, (1, 1), (1, 1), "symmetric"),
        (16, None, (0, 1), "keras"),
        (15, None, (0, 1), "keras"),
        (16, (0, 1), (0, 1), "keras"),
        (16, (0, 1), None, "same"),  # written out for this size
        (15, (1, 1), (0, 1), "same"),
        (30, (0, 1), (1, 1), "same"),
        (16, (0, 1), (1, 1), None),
        (-1, (0, 1), (1, 1), None),
        (16, (2, 2), (2, 2), None),
    ],
)
def test_padding(tmp_path, side, stem, deep, padding):
    graph = Graph()
    net = graph.picture(1, side, side, 3)
    if stem:
        net = padded(graph, net, "pad", *stem)
    net = graph.stem(net, padding="VALID" if stem else "SAME")
    if deep:
        net = padded(graph, net, "pad2", *deep)
    graph.head(graph.block(net, stride=2, padding="VALID" if deep else "SAME"))
    if padding is None:
        with pytest.raises(InputError, match="are padded by"):
            graph.read(tmp_path)
    else:
        assert graph.read(tmp_path).padding == padding


def test_padding_at_stride_1_must_keep_the_size(tmp_path):
    graph = Graph()
    graph.picture()
    graph.head(graph.block(padded(graph, graph.stem(), "pad", 1, 1), padding="VALID"))
    assert graph.read(tmp_path).padding == "same"
    graph = Graph()
    graph.picture()
    graph.head(graph.block(graph.stem(), padding="VALID"))
    with pytest.raises(InputError, match="does not keep the size of its map"):
        graph.read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "steps", "mean", "std"),
    [
        (4, [("Cast", None), ("Mul", 1 / 127.5), ("Sub", 1.0)], 0.5, 0.5),
        (1, [("Mul", 2.0), ("Sub", 1.0)], 0.5, 0.5),
        (1, [("Sub", 128.0), ("RealDiv", 128.0)], 128 / 255, 128 / 255),
        (1, [("Sub", [123.68, 116.779, 103.939])], [0.48502, 0.457957, 0.407604], 0.00392157),
        (4, [("Cast", None)], 0.0, 0.00392157),
        (1, [], 0.5, 0.5),
    ],
)
def test_preparation(tmp_path, kind, steps, mean, std):
    graph = Graph()
    net = graph.picture(1, 8, 8, 3, kind=kind)
    for i, (op, value) in enumerate(steps):
        inputs = [] if value is None else [graph.const(f"c{i}", np.float32(value))]
        net = graph.add(f"p{i}", op, net, *inputs)
    graph.head(graph.block(graph.stem(net)))
    preprocessing = graph.read(tmp_path).preprocessing
    np.testing.assert_allclose(preprocessing["mean"], np.broadcast_to(mean, 3), rtol=1e-5)
    np.testing.assert_allclose(preprocessing["std"], np.broadcast_to(std, 3), rtol=1e-5)
    assert preprocessing["scale"] == 1 / 255


def test_dropout_quantisation_and_losses_are_left_out(tmp_path):
    graph = Graph()
    graph.picture()
    graph.picture(5, name="labels")
    net = graph.add("pool", "Mean", graph.block(graph.stem()), graph.const("axes", np.int32([1, 2])))
    keep = graph.add("keep", "PlaceholderWithDefault", graph.const("one", 0.5))
    noise = graph.add("noise", "RandomUniform", graph.add("shape", "Shape", net))
    mask = graph.add("mask", "Floor", graph.add("more", "Add", noise, keep))
    net = graph.add("dropped", "Mul", graph.add("scaled", "RealDiv", net, keep), mask)
    weights = graph.add("fake", "FakeQuantWithMinMaxVars", graph.numbers("fc/weights", 4, 5))
    net = graph.add("fc", "MatMul", net, weights)
    graph.add("loss", "SoftmaxCrossEntropyWithLogits", net, "labels")
    graph.add("top", "PyFunc", graph.add("probabilities", "Softmax", net))
    foreign = graph.read(tmp_path)
    assert sorted(note.split()[1] for note in foreign.notes) == ["dropout", "simulated"]
    assert foreign.layers[-1].name == "fc/weights"


def test_weights_in_other_kinds_of_numbers(tmp_path):
    """float64, float16 in its own list, and one number that stands for all of them."""
    graph = Graph()
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    graph.parts.append(Graph.bytes(whole()))
    net = graph.conv("stem2", "logits", graph.add("w", "Const", value=field(8, tensor(kernel))))
    assert net  # behind the logits a convolution follows the pooling
    assert "a convolution of 3 × 3 pixels" in graph.read(tmp_path).headless
    graph = Graph()
    graph.add("w", "Const", value=field(8, tensor(kernel)))
    net = graph.add("act", "Relu6", graph.conv("stem", graph.picture(), "w"))
    half = np.float16([[[[1], [2], [3], [0.1]]]])
    packed = b"".join(varint(int(v)) for v in half.reshape(-1).view(np.uint16))
    halves = field(1, 19) + field(2, shape_proto(1, 1, 4, 1)) + field(13, packed)
    net = graph.conv("dw", net, graph.add("h", "Const", value=field(8, halves)), op="DepthwiseConv2dNative")
    net = graph.add("act2", "Relu6", net)
    one = field(1, 1) + field(2, shape_proto(1, 1, 4, 6)) + field(5, 0.25)
    net = graph.add("act3", "Relu6", graph.conv("pw", net, graph.add("one", "Const", value=field(8, one))))
    graph.head(net, 6)
    foreign = graph.read(tmp_path)
    np.testing.assert_array_equal(foreign.layers[0].arrays["weight"], kernel.astype("f4").transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(foreign.layers[1].arrays["weight"].reshape(-1), half.astype("f4").reshape(-1))
    np.testing.assert_array_equal(foreign.layers[2].arrays["weight"], np.full((6, 4, 1, 1), 0.25, np.float32))


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=match) as caught:
        convert(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 600
    assert time.process_time() - start < 5


def refuse(folder: Path, data: bytes, match: str) -> None:
    path = folder / "graph.pb"
    path.write_bytes(data)
    refused(path, match)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "it has no nodes"),
        (b"hello", "not a frozen graph"),
        (b'node {\n  name: "input"\n}\n', "not a frozen graph"),
        (b"\x08\x01\x12\x02\x0a\x00", "SavedModel"),
        (b"\x0a" + varint(1 << 60), "claims 1152921504606846976 bytes"),
        (field(1, field(1, b"\xff")), "not UTF-8"),
        (field(1, field(1, "a")) * 2, "two nodes named 'a'"),
        (b"".join(field(1, field(1, f"n{i}") + field(2, "NoOp")) for i in range(100_000)), "more than 10000 nodes"),
        (b"\x12\x00" * 300_000, "more fields"),
        (field(1, field(1, "a") + field(2, "Placeholder") + field(5, field(1, "shape") + field(2, b"\xff"))), "number"),
    ],
)
def test_malformed_graphs_are_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def test_other_kinds_of_files_are_refused(tmp_path):
    refused(tmp_path / "none.pb", "cannot be read")
    refused(tmp_path, "no file")
    path = tmp_path / "huge.pb"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "more than any MobileNet")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pb")
        refused(tmp_path / "pipe.pb", "no file")
        with pytest.raises(InputError, match="not a file"):
            read(tmp_path / "pipe.pb")


def between(op: str, *constants: object, **attributes: bytes) -> bytes:
    """A graph with one node more between its first layer and the rest."""
    graph = Graph()
    graph.picture()
    given = [graph.const(f"c{i}", value) for i, value in enumerate(constants)]
    graph.head(graph.block(graph.add("odd\nnode", op, graph.stem(), *given, **attributes)))
    return graph.bytes()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (between("PyFunc"), r"unknown operation 'PyFunc' at node 'odd\\nnode'"),
        (between("Sigmoid"), "comes after the probabilities"),
        (between("Switch"), "freeze it for inference first"),
        (between("x" * 10_000), "unknown operation 'xxx"),
        (between("Minimum", 5.0), "it has a clip to 0 … 5 .*: no network here has that"),
        (between("Softmax"), "comes after the probabilities"),
        (between("Mul", 2.0), "'odd node' is a Affine, where"),
        (between("Add", np.zeros(100_000)), "not one number a channel"),
        (between("Pad", np.int32([[0, 0], [1, 1], [1, 1], [0, 0]])), "pads what is padded"),
        (between("Mean", np.int32([3])), "unknown operation 'Mean'"),
        (between("FusedBatchNorm"), "takes its statistics from the pictures"),
    ],
)
def test_unknown_operations_are_named_and_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def changed(old: bytes, new: bytes) -> bytes:
    data = whole().bytes()
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (changed(b"\x1a\tblock/act", b"\x1a\tblock/bct"), "not in the file"),
        (changed(b"\x05Relu6", b"\x05Relu7"), "unknown operation 'Relu7'"),
        (changed(b"SAME", b"SOME"), "padding 'SOME'"),
        (changed(struct.pack("<f", 0.001), struct.pack("<f", np.nan)), "not finite|below 0"),
        (whole().bytes() + field(1, field(1, "a") + field(2, "Add") + field(3, "a") + field(3, "a")), "form a cycle"),
    ],
)
def test_changed_graphs_are_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def built(make: object) -> bytes:
    graph = Graph()
    graph.picture()
    make(graph)  # type: ignore[operator]
    return graph.bytes()


def unfrozen(graph: Graph) -> None:
    graph.conv("stem", "input", graph.add("w", "VariableV2"))


def training(graph: Graph) -> None:
    net = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4))
    graph.head(graph.block(graph.norm("norm", net, 4, training=True)))


def without_activation(graph: Graph) -> None:
    graph.head(graph.block(graph.stem(act="Identity")))


def with_relu(graph: Graph) -> None:
    graph.head(graph.block(graph.stem(act="Relu")))


def with_shortcut(graph: Graph) -> None:
    net = graph.stem()
    graph.head(graph.add("sum", "AddV2", net, graph.block(net)))


def not_a_number(graph: Graph) -> None:
    kernel = np.zeros((3, 3, 3, 4))
    kernel[0, 0, 0, 0] = np.nan
    graph.head(graph.block(graph.add("act", "Relu6", graph.conv("stem", "input", graph.const("w", kernel)))))


def wide_stride(graph: Graph) -> None:
    graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4), stride=3)


def bomb(graph: Graph, *sides: int, values: int = 1) -> str:
    content = field(1, 1) + field(2, shape_proto(*sides)) + b"".join(field(5, 1.0) for _ in range(values))
    graph.seed += 1
    return graph.add(f"bomb{graph.seed}", "Const", value=field(8, content))


def huge_constant(graph: Graph) -> None:
    bomb(graph, 1 << 40, 1 << 40)


def many_large_kernels(graph: Graph) -> None:
    net = "input"
    for i in range(6):
        net = graph.add(f"act{i}", "Relu6", graph.conv(f"conv{i}", net, bomb(graph, 1, 1, 4000, 4000)))


def many_large_lists(graph: Graph) -> None:
    for _ in range(6):
        bomb(graph, 1 << 24, values=2)


def large_arithmetic(graph: Graph) -> None:
    graph.add("sum", "Add", bomb(graph, 1, 60_000), bomb(graph, 60_000, 1))


def two_ways(graph: Graph) -> None:
    net = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4))
    graph.add("one", "Relu6", graph.add("a", "BiasAdd", net, graph.numbers("b", 4)))
    graph.add("two", "Relu6", graph.add("c", "BiasAdd", net, graph.numbers("d", 4)))


def many_sums(graph: Graph) -> None:
    net, value = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4)), graph.numbers("b", 4)
    for i in range(5000):
        net = graph.add(f"sum{i}", "Add" if i else "Mul", net, value)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda graph: None, "no convolution follows"),
        (unfrozen, "weights of 'Conv2D' at node 'stem' are not in the file"),
        (training, "takes its statistics from the pictures"),
        (without_activation, "with no activation, where the network that its weights fit has .* with ReLU6"),
        (with_relu, "with ReLU, where the network that its weights fit has .* with ReLU6"),
        (with_shortcut, "'sum' .Add. takes a map from inside the body"),
        (not_a_number, "not finite"),
        (wide_stride, r"has strides \[1, 3, 3, 1\]"),
        (huge_constant, "claims 1208925819614629174706176 numbers"),
        (many_large_kernels, "claims 320000000 bytes"),
        (many_large_lists, "larger arrays"),
        (large_arithmetic, "larger arrays"),
        (two_ways, "ends in 'Relu6' at node 'one', too"),
        (many_sums, "unlike any MobileNet"),
    ],
)
def test_other_networks_and_bombs_are_refused(tmp_path, make, match):
    refuse(tmp_path, built(make), match)


def test_long_chains_are_no_danger(tmp_path):
    graph = Graph()
    net = graph.picture()
    for i in range(9000):
        net = graph.add(f"same{i}", "Identity", net)
    graph.head(graph.block(graph.stem(net)))
    assert len(graph.read(tmp_path).layers) == 7


def test_large_constants_take_little_memory(tmp_path):
    """60 million numbers out of a few bytes stay within 1 GiB, and are let through where shapes allow them."""
    graph = Graph()
    net = graph.add("act", "Relu6", graph.conv("stem", graph.picture(), bomb(graph, 3, 3, 3, 2_000_000)))
    graph.head(net)
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.bytes())
    code = (
        "import resource, sys; from pathlib import Path; from mobilenets.weights.tensorflow.graph import read\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "print(read(Path(sys.argv[1])).layers[0].arrays['weight'].shape)"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "(2000000, 3, 3, 3)"


def outcome(path: Path) -> bool:
    try:
        return bool(read(path).layers)
    except InputError as error:
        assert "\n" not in str(error)
        return False


def test_cut_and_flipped_graphs_are_read_or_refused(tmp_path):
    path = tmp_path / "graph.pb"
    data = (FILES / "v1_retrained.pb").read_bytes()
    for i in range(100):
        path.write_bytes(data[: len(data) * i // 100])
        outcome(path)
    # Whole nodes missing at the end leave a graph that ends earlier; a cut within one is seen.
    path.write_bytes(data[:-7])
    assert not outcome(path)
    data = whole().bytes()
    rng = random.Random(0)
    for _ in range(400):
        flipped = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        outcome(path)


def test_outputs_side_by_side_are_listed_and_one_is_named(tmp_path):
    graph = Graph()
    graph.picture()
    body = graph.block(graph.stem())
    graph.head(body)
    net = graph.add("kind/fc", "MatMul", "pool", graph.numbers("kind/weights", 4, 3))
    graph.add("kind", "Softmax", graph.add("kind/logits", "BiasAdd", net, graph.numbers("kind/biases", 3)))
    with pytest.raises(InputError, match=r"several outputs: logits \(5\), kind \(3\); choose one with --output NAME"):
        graph.read(tmp_path)
    path = tmp_path / "graph.pb"
    for output, classes in (("kind", 3), ("kind/logits:0", 3), ("logits", 5)):
        foreign = read(path, output)
        (head,) = of_kind(foreign.layers, "linear")
        assert head.arrays["bias"].shape == (classes,)
        assert foreign.assumed == ()
    with pytest.raises(InputError, match=r"no output 'nope'; choose one of: logits \(5\), kind \(3\)"):
        read(path, "nope")
    assert not of_kind(read(path, "pool").layers, "linear")


def test_one_output_needs_no_choice(tmp_path):
    assert whole().read(tmp_path).assumed == ()


def test_what_stands_beside_the_output_named_is_not_read(tmp_path):
    graph = whole()
    graph.add("odd", "Relu", graph.norm("odd/norm", "stem/act", 4))
    with pytest.raises(InputError):
        graph.read(tmp_path)
    assert len(read(tmp_path / "graph.pb", "logits").layers) == 7
