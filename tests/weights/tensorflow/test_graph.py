"""Against graphs that TensorFlow wrote (tests/fixtures/make_tensorflow.py), and small ones made here."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, of_kind
from mobilenets.weights.tensorflow.graph import read

SHARED: Any = runpy.run_path(str(Path(__file__).with_name("shared.py")))
Graph, whole, field, varint, shape_proto, tensor, digests, recorded = (
    SHARED[name] for name in ("Graph", "whole", "field", "varint", "shape_proto", "tensor", "digests", "recorded")
)
FILES = Path(__file__).parents[2] / "fixtures" / "tensorflow"


def arrays(foreign: Foreign, kind: str) -> list[dict[str, np.ndarray]]:
    return [dict(layer.arrays) for layer in of_kind(foreign.layers, kind)]


# --- TensorFlow's own files -------------------------------------------------------------------------------------------


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


def test_the_preparation_of_pictures_is_read():
    foreign = read(FILES / "v1_folded.pb")
    assert not of_kind(foreign.layers, "norm")
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
