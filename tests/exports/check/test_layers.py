from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mobilenets.exports.check.layers import LayerError, breaking_layer, decibels, layer_errors
from mobilenets.exports.formats.onnx import write
from mobilenets.exports.job import Job, Options
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.exported import Exported

SIZE = 32
PREPROCESSING = Preprocessing(SIZE)
PICTURES = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
Spoil = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def network(lively: Callable[..., Network]) -> Network:
    return lively("mobilenet_v2", width=0.35, size=SIZE)


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def written(request: pytest.FixtureRequest, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    pixels = request.param == "int8"
    task = Job(network, PREPROCESSING, Options("onnx", request.param, pixels=pixels), folder, PICTURES)
    return folder / "model.onnx", write(task)


def compare(network: Network, path: Path, exported: Exported) -> list[LayerError]:
    images = PREPROCESSING.normalise(PICTURES)
    return layer_errors(network, images, path, exported, PICTURES if exported.input == "uint8" else images)


def spoilt(path: Path, name: str, spoil: Spoil, to: Path) -> Path:
    model = onnx.load(path)
    [tensor] = [one for one in model.graph.initializer if one.name == name]
    tensor.CopyFrom(numpy_helper.from_array(spoil(numpy_helper.to_array(tensor)), name))
    onnx.save(model, to)
    return to


def test_every_layer_is_compared(network: Network, written: tuple[Path, Exported]) -> None:
    errors = compare(network, *written)
    names = [one.layer for one in errors]
    # 52 convolutions, 11 sums, the mean, the vector of it and logits.
    assert len(names) == len(set(names)) == 66
    assert names[:3] == ["body.conv0", "body.inverted1.depthwise", "body.inverted1.project"]
    assert {"body.inverted3", "body.inverted3.expand", "pool", "logits"} < set(names)
    least = {"float32": 100, "float16": 50, "int8": 15}[written[1].precision]
    assert min(one.decibels for one in errors) > least


@pytest.mark.parametrize("layer", ["body.conv0", "body.inverted3.depthwise", "body.inverted9.project", "classifier"])
def test_a_spoilt_layer_is_named(network: Network, written: tuple[Path, Exported], tmp_path: Path, layer: str) -> None:
    path, exported = written
    tensor = f"{layer}.weight" + {"float32": "", "float16": ".float16", "int8": ".step"}[exported.precision]
    bad = spoilt(path, tensor, lambda value: value * value.dtype.type(8), tmp_path / "bad.onnx")
    worst = breaking_layer(compare(network, bad, exported))
    assert worst is not None
    assert worst.layer == ("logits" if layer == "classifier" else layer)


def test_a_wrong_mean_is_named_by_the_first_layer(
    network: Network, written: tuple[Path, Exported], tmp_path: Path
) -> None:
    path, exported = written
    if exported.input != "uint8":
        pytest.skip("the numbers are made outside of this file")
    bad = spoilt(path, "numbers.mean.value", lambda value: value + np.float32(0.5), tmp_path / "bad.onnx")
    worst = breaking_layer(compare(network, bad, exported))
    assert worst is not None
    assert worst.layer == "body.conv0"


def test_breaking_layer_of_none() -> None:
    assert breaking_layer([]) is None


def test_more_than_healthy_is_no_fall() -> None:
    """The first layers of int8 lose much of a large ratio, and that is rounding."""
    errors = [LayerError(name, value, 25.0) for name, value in (("a", 60.0), ("b", 30.0), ("c", 18.0), ("d", 17.0))]
    assert breaking_layer(errors) == errors[2]


def test_decibels() -> None:
    ones = np.ones(10, np.float32)
    assert decibels(ones, ones) == 200
    assert decibels(ones, ones * np.float32(1.1)) == pytest.approx(20, abs=1e-4)
    assert decibels(ones, ones * np.float32(np.nan)) == -200
