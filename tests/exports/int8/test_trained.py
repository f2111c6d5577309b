"""What was trained is what is exported: the network that PyTorch rounds and the int8 graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper

import mobilenets
from mobilenets.errors import InputError
from mobilenets.exports.formats.onnx import write
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.fold import folded
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.int8.observe import observe
from mobilenets.exports.int8.qdq import Scheme, flowing, in_int8, weight_steps
from mobilenets.exports.int8.search import find_scheme, quantize
from mobilenets.exports.int8.trained import learned, neutral, with_scheme
from mobilenets.exports.job import Job, Options
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.int8 import flowing as flowing_in_plan
from mobilenets.models.network import Network
from mobilenets.models.prune import prune
from mobilenets.models.saved import load_model, save_weights
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.training.int8 import Int8Network

Lively = Callable[..., Network]
NETWORKS = [
    ("mobilenet_v1", {"width": 0.25, "size": 33}),
    ("mobilenet_v2", {"width": 0.35, "size": 32}),
    ("mobilenet_v1_cifar", {"size": 28}),
    ("mobilenet_v3_small", {"width": 0.35, "size": 33, "padding": "same"}),
    ("mobilenet_v4_conv_small", {"width": 0.25, "size": 32}),
]


def pictures(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = (rng.integers(0, 256, (count, size, size, 3)) * rng.random((count, 1, 1, 3))).astype(np.uint8)
    return Preprocessing(size).normalise(pixels).transpose(0, 3, 1, 2).copy()


def a_scheme(network: Network, images: np.ndarray, left: frozenset[str], one: bool = False) -> Scheme:
    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    ranges = observe(model, images).ranges("percentile 99.99", range(len(images)))
    return Scheme(ranges, weight_steps(model, "least squares", one), left=left, split=True, one=one)


def answers(model: Any, images: np.ndarray) -> np.ndarray:
    # Layer by layer as it is written: fused integers round otherwise where a value lies between two steps.
    session = open_session(model, optimized=False)
    return np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])


@pytest.mark.parametrize("inside", ["all", "some", "one"])
@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_the_graph_computes_what_was_trained(name: str, settings: dict[str, Any], inside: str, lively: Lively) -> None:
    network = lively(name, **settings)
    images = pictures(4, network.architecture.size)
    float_model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    assert flowing_in_plan(network.plan) == flowing(float_model)
    first, *_, last = (block.name for block in network.plan.blocks)
    left = frozenset({first, last, "classifier"} if inside == "some" else ())
    scheme = a_scheme(network, images, left, inside == "one")
    carrying = with_scheme(network, scheme)
    made = Int8Network.of(carrying)
    with torch.no_grad():  # as after some steps of training
        assert made.int8 is not None
        made.int8.logs.add_(0.05 * torch.sin(torch.arange(len(made.int8.logs))))
        made.classifier.weight.mul_(1.1)  # type: ignore[operator]
    carrying.load_state_dict(made.state_dict())
    model = onnx_model(carrying, Preprocessing(network.architecture.size), Options("onnx"))
    assert carrying.int8 is not None
    graph = in_int8(model, learned(model, carrying.int8, split=True))
    pairs = {node.input[0].removesuffix(".float") for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    kinds = {tuple(tensor.dims) for tensor in graph.graph.initializer if tensor.name.endswith("weight.step")}
    assert (kinds == {()}) == (inside == "one")
    with torch.inference_mode():
        ours = made(torch.from_numpy(images)).numpy()
        rounding = made.int8.rounded(made.plan)
    assert pairs and set(flowing(model, left)) == rounding
    theirs = answers(graph, images)
    # One value in thousands may fall to the other side of a half: then a step differs, and not all.
    assert np.abs(ours - theirs).max() < 0.03 * np.ptp(theirs)
    assert np.array_equal(ours.argmax(1), theirs.argmax(1))


def test_a_scheme_comes_back_as_it_was_given(lively: Lively) -> None:
    network = lively("mobilenet_v3_small", width=0.35, size=32)
    images = pictures(4, 32)
    scheme = a_scheme(network, images, frozenset({"body.conv0"}))
    carrying = with_scheme(network, scheme)
    preprocessing = Preprocessing(32)
    model = onnx_model(carrying, preprocessing, Options("onnx"))
    assert carrying.int8 is not None
    again = learned(model, carrying.int8, split=True)
    before, after = in_int8(onnx_model(network, preprocessing, Options("onnx")), scheme), in_int8(model, again)
    assert [node.name for node in before.graph.node] == [node.name for node in after.graph.node]
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    for tensor in before.graph.initializer:
        value, now = numpy_helper.to_array(tensor), given[tensor.name]
        if tensor.name.endswith(".step"):
            np.testing.assert_allclose(now, value, rtol=1e-5)
        elif tensor.name.endswith(".zero"):
            assert np.array_equal(now, value)
        elif tensor.name.endswith(".int8"):
            assert np.abs(now.astype(int) - value).max() <= 1 and (now == value).mean() > 0.99


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-2])
def test_a_neutral_batchnorm_changes_no_bit(epsilon: float) -> None:
    variance, scale = neutral(epsilon)
    layer = torch.nn.BatchNorm2d(1, eps=epsilon)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(100_000, generator=generator)
    assert layer.running_var is not None
    layer.running_var.fill_(variance)
    factor = scale / torch.sqrt(layer.running_var.double() + layer.eps)
    assert torch.equal((weights.double() * factor).float(), weights)


def test_float_stays_float(lively: Lively) -> None:
    """Without rounding, what carries a scheme computes what the network did, but for clipped weights."""
    network = lively("mobilenet_v3_small", width=0.35, size=32)
    images = pictures(4, 32)
    scheme = a_scheme(network, images, frozenset())
    model = onnx_model(network, Preprocessing(32), Options("onnx"))
    carrying = with_scheme(network, replace(scheme, steps=weight_steps(model, "largest")))
    with torch.inference_mode():
        one, other = (made(torch.from_numpy(images)) for made in (network, carrying))
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)
    for part in carrying.modules():
        if isinstance(part, ConvNorm) and not isinstance(part.activation, torch.nn.Hardsigmoid):
            assert torch.equal(folded(part)[0], part.conv.weight)


def test_it_is_saved_and_exported_as_it_was_learned(tmp_path: Path, lively: Lively) -> None:
    network = lively("mobilenet_v2", classes=2, width=0.35, size=32)
    images = pictures(4, 32)
    carrying = with_scheme(network, a_scheme(network, images, frozenset({"body.conv0"}), one=True))
    bundle = Bundle(network.architecture.to_json(), ("a", "b"), Preprocessing(32))
    write_bundle(tmp_path, bundle)
    save_weights(tmp_path / "model.safetensors", carrying.state_dict())
    saved = load_model(tmp_path)
    assert saved.network.int8 is not None and saved.network.int8.float_blocks == {"body.conv0"}
    assert type(saved.network) is Network
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    job = Job(saved.network, Preprocessing(32), Options("onnx", "int8"), tmp_path, pixels)
    _, tried = quantize(onnx_model(saved.network, job.preprocessing, job.options), job)
    assert tried["weights"] == "int8, one scale per tensor" and tried["candidates"] == [tried["chosen"]]
    assert tried["chosen"]["activations"] == "learned" and tried["chosen"]["float_blocks"] == ["body.conv0"]
    carrying.int8.one.zero_()  # type: ignore[union-attr]
    wished = replace(job, network=carrying, options=Options("onnx", "int8", per_tensor=True))
    with pytest.raises(InputError, match="trained for int8 with one scale per channel"):
        find_scheme(wished)
    with pytest.raises(InputError, match="this format has one per channel; choose onnx, openvino"):
        find_scheme(replace(job, options=Options("litert", "int8")))


def test_one_scale_is_refused_where_there_is_none(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--per-tensor only works with --format onnx"):
        Options("litert", "int8", per_tensor=True)
    with pytest.raises(InputError, match="--per-tensor only works with --int8"):
        mobilenets.export(trained.run, tmp_path / "out", data=trained.data, per_tensor=True)


def test_in_float_it_goes_on_as_any_network(tmp_path: Path, lively: Lively) -> None:
    network = lively("mobilenet_v2", classes=2, width=0.35, size=32)
    carrying = with_scheme(network, a_scheme(network, pictures(4, 32), frozenset()))
    write_bundle(tmp_path, Bundle(network.architecture.to_json(), ("a", "b"), Preprocessing(32)))
    save_weights(tmp_path / "model.safetensors", carrying.state_dict())
    made = mobilenets.create_model("mobilenet_v2", classes=2, width=0.35, size=32, weights=tmp_path)
    wanted, found = carrying.state_dict(), made.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    assert wanted.keys() - found.keys() == {f"int8.{name}" for name in ("logs", "zeros", "left", "one")}
    pruned = prune(carrying, {})
    assert pruned.state_dict().keys() == found.keys() and pruned.int8 is None


def test_a_file_of_one_scale_tells_where_it_looked(tmp_path: Path, lively: Lively) -> None:
    network = lively("mobilenet_v2", classes=2, width=0.35, size=64)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    exported = write(Job(network, Preprocessing(64), Options("onnx", "int8", per_tensor=True), tmp_path, pixels))
    assert exported.evidence and exported.about["quantization"]["chosen"]["float_blocks"] == []
