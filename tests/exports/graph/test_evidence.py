"""The second output: what speaks for a class at each place, in every form of the graph and for every kind of head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

import mobilenets
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.evidence import with_evidence
from mobilenets.exports.job import Options
from mobilenets.models.catalog import CATALOG
from mobilenets.models.operations import MeanPool
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.engines.ort import open_session
from mobilenets.verbs.models import create_model

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"Clip": nn.ReLU6, "Relu": nn.ReLU, "HardSwish": nn.Hardswish}
RNG = np.random.default_rng(3)


def with_layers(activation: str) -> tuple[onnx.ModelProto, nn.Module]:
    """A map 4×5×6 by a convolution, then a head with a layer of its own: pooled, 1×1, activation, linear."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 32, 1), ACTIVATIONS[activation](), nn.Flatten(),
        nn.Linear(32, 3),
    )  # fmt: skip
    for part in network.parameters():
        nn.init.normal_(part, std=2.0)
    names = {"0.weight": "a", "0.bias": "b", "2.weight": "c", "2.bias": "d", "5.weight": "e", "5.bias": "f"}
    tensors = [numpy_helper.from_array(value.numpy(), names[name]) for name, value in network.state_dict().items()]
    bounds = ["low", "high"] if activation == "Clip" else []
    tensors += [numpy_helper.from_array(np.array(6 * (name == "high"), np.float32), name) for name in bounds]
    nodes = [
        helper.make_node("Conv", ["images", "a", "b"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "c", "d"], ["wide"]),
        helper.make_node(activation, ["wide", *bounds], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "e", "f"], ["logits"], transB=1),
    ]
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 5, 6])
    leave = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "head", [entry], [leave], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), network


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_head_with_layers_of_its_own(activation: str) -> None:
    """As PyTorch differentiates it."""
    torch.manual_seed(0)
    model, network = with_layers(activation)
    assert with_evidence(model)
    session = open_session(model.SerializeToString(), threads=1)
    images = torch.from_numpy(RNG.standard_normal((8, 3, 5, 6)).astype(np.float32))
    maps = network[0](images).detach().requires_grad_()
    logits = network[1:](maps)
    for index in (-1, 0, 2):
        feeds = {"images": images.numpy(), "class": np.array([index])}
        scores, evidence = session.run(None, feeds)
        np.testing.assert_allclose(scores, logits.detach(), rtol=1e-4, atol=1e-3)
        asked = logits.argmax(1) if index < 0 else torch.full((8,), index)
        [gradient] = torch.autograd.grad(logits.gather(1, asked[:, None]).sum(), maps, retain_graph=True)
        # The mean over 30 places hands each of them a thirtieth.
        expected = (gradient * maps).sum(1).relu().detach() * 30
        assert evidence.shape == (8, 5, 6) and expected.max() > 1
        np.testing.assert_allclose(evidence, expected, rtol=1e-4, atol=1e-3)


def test_an_operation_without_a_form_leaves_the_graph_as_it_is() -> None:
    model, _ = with_layers("Relu")
    model.graph.node[3].op_type = "Tanh"
    before = model.SerializeToString()
    assert not with_evidence(model) and model.SerializeToString() == before


@pytest.fixture(scope="module")
def exports(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., mobilenets.Predictor]:
    def make(**options: Any) -> mobilenets.Predictor:
        out = tmp_path_factory.mktemp("exports") / "out"
        assert mobilenets.export(trained.run, out, data=trained.data, **options)["passed"]
        return mobilenets.Predictor(out)

    return make


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({}, 1e-4),
        ({"precision": "float16"}, 1e-2),
        ({"precision": "int8"}, 0.2),
        ({"precision": "int8", "pixels": True}, 0.2),
        ({"pixels": True, "probabilities": True, "batch": 2}, 1e-4),
        ({"camera": True}, 1e-4),
    ],
)
def test_every_form_of_a_file_says_where_it_looked(
    exports: Any, options: dict[str, Any], near: float, trained: Any
) -> None:
    predictor, own = exports(**options), mobilenets.Predictor(trained.run)
    assert predictor.file.evidence == own.file.evidence != ()  # type: ignore[union-attr]
    for name in ("cat", "dog", "owl"):
        image = decode(trained.data / name / "003.png").resize((50, 40))
        for index in (None, 0, 1):
            [wanted], [found] = (
                one.engine.evidence(one.prepare_image(image)[None], index)  # type: ignore[attr-defined]
                for one in (own, predictor)
            )
            assert found.shape == wanted.shape and found.min() >= 0
            np.testing.assert_allclose(found, wanted, atol=near * max(1.0, wanted.max()))


def test_it_costs_int8_no_layer(exports: Any) -> None:
    """What reads int8 layers besides their own must not keep them from running in int8."""
    predictor = exports(precision="int8")
    model = onnx.load(predictor._folder / "model.onnx")
    readers = [name for node in model.graph.node if not node.name.startswith("evidence") for name in node.input]
    ours = [name for node in model.graph.node if node.name.startswith("evidence") for name in node.input]
    floats = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert floats & set(readers) and not {name for name in floats if not name.startswith("evidence")} & set(ours)


@pytest.mark.skipif(not mobilenets.runtime.engines.present("openvino"), reason="needs openvino")
def test_other_runtimes_read_it(exports: Any, trained: Any) -> None:
    predictor = exports()
    path = trained.data / "owl/003.png"
    other = mobilenets.Predictor(predictor._folder, runtime="openvino")
    assert other(path)[0].probability == pytest.approx(predictor(path)[0].probability, abs=1e-4)
    # Evidence is asked of ONNX Runtime all the same.
    assert other.explain(path).tobytes() == predictor.explain(path).tobytes()


def test_what_cannot_explain_says_so(trained: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert mobilenets.export(trained.run, out, data=trained.data)["passed"]
    predictor = mobilenets.Predictor(out)
    file = predictor.file
    assert file is not None
    with pytest.raises(Exception, match="class 3"):
        predictor.explain(Image.new("RGB", (9, 9)), "class 3")
    assert open_engine(out, file, threads=1)(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 3)


@pytest.mark.parametrize("name", CATALOG)
def test_every_network_says_where_it_looked(name: str) -> None:
    """As PyTorch differentiates the head of each network of the catalog."""
    torch.manual_seed(1)
    network = create_model(name, 5, 0.25, size=64)
    images = torch.from_numpy(RNG.uniform(-1, 1, (4, 3, 64, 64)).astype(np.float32))
    nn.init.normal_(network.classifier.weight)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(images)  # so that BatchNorm keeps what flows through the layers as large as it is
    model = onnx_model(network.eval(), Preprocessing(64), Options("onnx"))
    assert with_evidence(model)
    scores, evidence = open_session(model.SerializeToString(), 1).run(
        None, {"images": images.numpy(), "class": np.array([3])}
    )
    with torch.no_grad():
        maps = network.body(images)
    maps.requires_grad_()
    logits = network.answer(network.pool(maps))
    [gradient] = torch.autograd.grad(logits[:, 3].sum(), maps)
    expected = (gradient * maps).sum(1).relu().detach().numpy()
    pooled = isinstance(network.plan.pool[0], MeanPool)
    expected *= expected[0].size if pooled else 1
    assert evidence.shape == expected.shape and expected.max() > 0
    np.testing.assert_allclose(scores, logits.detach(), atol=1e-3 * float(logits.detach().abs().max()))
    np.testing.assert_allclose(evidence, expected, atol=1e-3 * float(expected.max()))
