"""A kind of block that this file alone defines goes through every export that can be run here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import mobilenets
from mobilenets.exports import formats
from mobilenets.exports.catalog import FORMATS
from mobilenets.exports.check.layers import breaking_layer, layer_errors
from mobilenets.exports.formats.deployed import Deployed
from mobilenets.exports.formats.onnx import write
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.fold import fold
from mobilenets.exports.int8.observe import RANGE_RULES, observe
from mobilenets.exports.int8.search import find_scheme, quantize
from mobilenets.exports.job import Job, Options
from mobilenets.models import rows
from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.network import Network
from mobilenets.models.operations import Value
from mobilenets.models.plan import Builder
from mobilenets.models.rows import Head, Row
from mobilenets.models.saved import load_model, save_weights
from mobilenets.models.tables import Table
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.runtime.engines import open_engine


@dataclass(frozen=True)
class Gated(Row):
    """Two branches, their sum scaled by squeeze-and-excite, activations by themselves, and what goes round them all."""

    kind: ClassVar[str] = "gated"
    title: ClassVar[str] = "gated branches"
    channels: int
    stride: int = 1

    def write(self, plan: Builder, x: Value) -> Value:
        near = plan.depthwise("near.filter", x, 3, self.stride)
        near = plan.conv("near.mix", near, self.channels, activation="hard_swish")
        far = plan.depthwise("far.filter", x, 5, self.stride, activation="none")
        far = plan.conv("far.mix", far, self.channels, activation="relu")
        y = plan.add(near, far, "sum")
        gate = plan.conv("gate.reduce", plan.mean_pool(y, "gate.mean"), 8, norm=False, bias=True, activation="relu")
        gate = plan.conv("gate.expand", gate, self.channels, norm=False, bias=True, activation="hard_sigmoid")
        y = plan.activation(plan.scale(y, gate, "scaled"), "hard_swish", "sharp")
        y = plan.activation(y, "hard_sigmoid", "soft")
        return plan.add(x, y) if x.shape == y.shape else y


@dataclass(frozen=True)
class DeepHead(Head):
    """A layer with bias and without BatchNorm, and a linear one, before the classifier."""

    kind: ClassVar[str] = "deep"

    def pool(self, plan: Builder, x: Value) -> Value:
        return plan.mean_pool(x)

    def layers(self, plan: Builder, x: Value) -> Value:
        y = plan.conv("hidden", x, 24, norm=False, bias=True, activation="hard_swish")
        return plan.activation(plan.linear(plan.flatten(y, "flat"), 20, "mixed"), "relu")


def toy(size: int = 32, padding: str = "symmetric", classes: int = 3) -> Network:
    body = (rows.Conv(8, stride=2), Gated(16, stride=2), Gated(16), rows.MaxPool(2), rows.Inverted(16, expand=2.5))
    table = Table(body, DeepHead(), padding=padding, activation="relu")
    torch.manual_seed(0)
    network = Network(Architecture("toy", 1.0, size, "custom", table), classes).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.3, 1.2)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.normal_(part.bias, std=0.3)
    return network


def pictures(count: int, size: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (count, size, size, 3)) * rng.random((count, 1, 1, 3))).astype(np.uint8)


def logits(network: Network, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("size", [32, 45])
@pytest.mark.parametrize("padding", ["symmetric", "same", "keras"])
def test_onnx_is_the_same_function_with_the_names_of_the_plan(padding: str, size: int) -> None:
    network = toy(size, padding)
    images = np.random.default_rng(1).normal(size=(3, 3, size, size)).astype(np.float32)
    model = onnx_model(network, Preprocessing(size), Options("onnx"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"images": images})
    expected = logits(network, images)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.ptp(expected))
    given = {name for node in model.graph.node for name in node.output}
    assert {part.name for part in network.plan.operations} - {"classifier"} <= given
    np.testing.assert_allclose(logits(fold(network), images), expected, atol=2e-5 * np.ptp(expected))
    assert not any(isinstance(part, (nn.BatchNorm2d, nn.Hardsigmoid)) for part in fold(network).modules())


@pytest.mark.filterwarnings("default")  # the converters warn of their own insides
@pytest.mark.parametrize("form", ["onnx", "openvino", "litert", "executorch"])
def test_int8_answers_nearly_as_float(form: str, tmp_path: Path) -> None:
    for package in FORMATS[form].packages:
        pytest.importorskip(package)
    network = toy()
    job = Job(network, Preprocessing(32), Options(form, "int8"), tmp_path, pictures(20))
    exported = formats.write(job)
    images = job.preprocessing.normalise(pictures(30)[20:])
    expected = logits(network, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    found = open_engine(tmp_path, exported)(images)
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)
    assert bool(exported.evidence) == (form == "onnx")


@pytest.mark.filterwarnings("default")
def test_litert_has_every_range_of_our_own_graph(tmp_path: Path) -> None:
    for package in FORMATS["litert"].packages:
        pytest.importorskip(package)
    from ai_edge_litert.interpreter import Interpreter

    from mobilenets.exports.formats import litert

    job = Job(toy(), Preprocessing(32), Options("litert", "int8"), tmp_path, pictures(20))
    scheme, _ = find_scheme(job)
    interpreter = Interpreter(model_content=litert._converted(Deployed(job), job, 1))
    given = {litert._tensor(detail["name"], scheme) for detail in interpreter.get_tensor_details()}
    # What goes in, a vector that is no operator's, and what linear layers give, which stay in float.
    assert set(scheme.ranges) - given <= {"images", "head.flat", "head"}


def test_onnx_runtime_computes_with_integers(tmp_path: Path) -> None:
    network = toy()
    job = Job(network, Preprocessing(32), Options("onnx", "int8"), tmp_path, pictures(20))
    model, tried = quantize(onnx_model(network, job.preprocessing, job.options), job)
    assert tried["chosen"]["float_blocks"] == []
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(network.plan.convolutions)
    # A gate and two hard-swishes a block.
    assert kinds.count("QLinearMul") == 2 * 3
    assert {"Conv", "Gemm", "Add", "HardSwish", "Relu", "Clip"}.isdisjoint(kinds)
    # A hard sigmoid that follows no convolution is left in each block, and a hard-swish of few numbers in the head.
    assert kinds.count("HardSigmoid") == 2 + 1
    assert kinds.count("Mul") == 1


def test_no_steps_of_int8_go_where_an_activation_is_flat() -> None:
    network = toy()
    for part in network.modules():
        if isinstance(part, ConvNorm) and isinstance(part.activation, nn.Hardswish):
            nn.init.constant_(part.norm.bias if isinstance(part.norm, nn.BatchNorm2d) else part.conv.bias, -8.0)
    model = onnx_model(network, Preprocessing(32), Options("onnx"))
    images = np.ascontiguousarray(Preprocessing(32).normalise(pictures(4)).transpose(0, 3, 1, 2))
    seen = observe(model, images)
    for rule in RANGE_RULES:
        ranges = seen.ranges(rule, range(4))
        assert -3 <= ranges["body.gated1.near.mix.conv"][0] < 0
        assert ranges["body.gated1.sharp"][0] >= -3 and ranges["body.gated1.sharp"][1] <= 3


def test_every_operation_is_compared_and_a_spoilt_one_named(tmp_path: Path) -> None:
    network = toy()
    exported = write(Job(network, Preprocessing(32), Options("onnx"), tmp_path))
    path, images = tmp_path / exported.file, Preprocessing(32).normalise(pictures(4))
    errors = layer_errors(network, images, path, exported, images)
    names = {"classifier": "logits"}
    assert [one.layer for one in errors] == [names.get(part.name, part.name) for part in network.plan.operations]
    assert min(one.decibels for one in errors) > 100
    model = onnx.load(path)
    [tensor] = [one for one in model.graph.initializer if one.name == "body.gated2.gate.expand.weight"]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(-2), tensor.name))
    onnx.save(model, path)
    worst = breaking_layer(layer_errors(network, images, path, exported, images))
    assert worst is not None and worst.layer == "body.gated2.gate.expand"


@pytest.fixture
def model(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder with the toy network, for the pictures of the trained run."""
    monkeypatch.setitem(rows.ROWS, Gated.kind, Gated)
    monkeypatch.setitem(rows.HEADS, DeepHead.kind, DeepHead)
    folder, network = tmp_path / "toy", toy()
    folder.mkdir()
    about = replace(read_bundle(trained.run), weights=None, none_of_these=None, calibration={})
    write_bundle(folder, replace(about, architecture=network.architecture.to_json()))
    save_weights(folder / "model.safetensors", network.state_dict())
    assert load_model(folder).network.architecture == network.architecture
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("settings", [{}, {"precision": "float16"}, {"precision": "int8", "pixels": True}])
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_passes_the_gate(form: str, settings: dict[str, Any], trained: Any, model: Path, tmp_path: Path) -> None:
    pytest.importorskip(form)
    result = mobilenets.export(model, tmp_path / "out", form, data=trained.data, tolerance=5, **settings)
    assert result["passed"], result["faults"]
    assert result["images"] > 0 and result["max_difference"] < 0.2
    predictor = mobilenets.Predictor(tmp_path / "out")
    assert predictor.engine(np.stack([predictor.prepare(trained.data / "owl/003.png")])).shape == (1, 3)
