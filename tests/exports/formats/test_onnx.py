from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from mobilenets.errors import InputError
from mobilenets.exports.formats.onnx import write
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.fold import fold
from mobilenets.exports.job import Job, Options
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

Lively = Callable[..., Network]

NETWORKS = [
    ("mobilenet_v1", {"width": 0.25, "size": 96}),
    ("mobilenet_v2", {"width": 0.35, "size": 96}),
    ("mobilenet_v2", {"width": 0.35, "size": 33}),
    ("mobilenet_v1_cifar", {"size": 32}),
    ("mobilenet_v1_cifar", {"size": 50}),
]


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def numbers(network: Network, count: int = 3) -> np.ndarray:
    size = network.architecture.size
    return np.random.default_rng(1).normal(size=(count, 3, size, size)).astype(np.float32)


def logits(network: Network, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("padding", ["symmetric", "same", "keras"])
@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_same_function(name: str, settings: dict[str, Any], padding: str, lively: Lively) -> None:
    network = lively(name, padding=padding, **settings)
    images = numbers(network)
    expected = logits(network, images)
    found = run(onnx_model(network, Preprocessing(network.architecture.size), Options("onnx")), images)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.ptp(expected))


def test_folded_copy(lively: Lively) -> None:
    network = lively("mobilenet_v2", width=0.35, size=64)
    images = numbers(network)
    copied = fold(network)
    np.testing.assert_allclose(logits(copied, images), logits(network, images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in copied.modules())
    # The original is left as it was.
    assert all(isinstance(part.norm, nn.BatchNorm2d) for part in network.modules() if isinstance(part, ConvNorm))


def test_float16_weights(lively: Lively) -> None:
    network = lively("mobilenet_v1", width=0.5, size=64)
    images, preprocessing = numbers(network), Preprocessing(64)
    whole, half = (
        onnx_model(network, preprocessing, Options("onnx", precision)) for precision in ("float32", "float16")
    )
    assert len(half.SerializeToString()) < 0.55 * len(whole.SerializeToString())
    expected, found = run(whole, images), run(half, images)
    assert 0 < np.abs(found - expected).max() < 0.02 * np.ptp(expected)


def test_numbers_made_inside(lively: Lively) -> None:
    network = lively("mobilenet_v2", width=0.35, size=48)
    preprocessing = Preprocessing(48, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    expected = logits(network, np.ascontiguousarray(preprocessing.normalise(pixels).transpose(0, 3, 1, 2)))
    found = run(onnx_model(network, preprocessing, Options("onnx", pixels=True, probabilities=True)), pixels)
    odds = np.exp(expected - expected.max(1, keepdims=True))
    np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), atol=1e-5)


def test_batch(lively: Lively) -> None:
    network = lively("mobilenet_v1_cifar", size=32)
    images = numbers(network, 5)
    free = onnx_model(network, Preprocessing(32), Options("onnx"))
    np.testing.assert_allclose(run(free, images[:1]), run(free, images)[:1], atol=1e-4)
    fixed = onnx_model(network, Preprocessing(32), Options("onnx", batch=2))
    assert run(fixed, images[:2]).shape == (2, 5)
    with pytest.raises(Exception, match="Got: 5 Expected: 2"):
        run(fixed, images)


def test_names_are_those_of_the_network(lively: Lively) -> None:
    network = lively("mobilenet_v2", width=0.35, size=32)
    model = onnx_model(network, Preprocessing(32), Options("onnx"))
    given = {name for node in model.graph.node for name in node.output}
    layers = {name for name, part in network.named_modules() if isinstance(part, ConvNorm)}
    assert layers <= given | {name.removesuffix(".project") for name in layers}
    assert {"body.conv0", "body.inverted2", "pool", "logits"} <= given
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_other_size_than_preprocessing(lively: Lively) -> None:
    with pytest.raises(InputError, match="takes 32 pixels"):
        onnx_model(lively("mobilenet_v1_cifar", size=32), Preprocessing(48), Options("onnx"))


@pytest.mark.parametrize("settings", [{"precision": "int4"}, {"batch": 0}, {"batch": 10**6}])
def test_wrong_options(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"choose|give"):
        Options("onnx", **settings)


def test_same_bytes_every_time(tmp_path: Path, lively: Lively) -> None:
    network = lively("mobilenet_v1_cifar", size=32)
    files = []
    for place in (tmp_path / "one", tmp_path / "two"):
        exported = write(Job(network, Preprocessing(32), Options("onnx"), place))
        files.append((place / exported.file).read_bytes())
    assert files[0] == files[1]
