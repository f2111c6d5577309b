"""A kind of block, and a kind of head, that are defined here alone go through everything that reads a plan."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import mobilenets
from mobilenets.drawing.diagram import network as diagram
from mobilenets.drawing.explain import explain_picture
from mobilenets.exports.beside import graph_of
from mobilenets.measure.cost import cost
from mobilenets.models import catalog, rows
from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.catalog import CATALOG, Entry, describe
from mobilenets.models.network import Network
from mobilenets.models.operations import Conv, Linear, Value
from mobilenets.models.plan import Builder
from mobilenets.models.rows import FlatHead, Head, Inverted, Row
from mobilenets.models.saved import SavedModel, save_weights
from mobilenets.models.tables import Table
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.weights.convert import convert


@dataclass(frozen=True)
class Gated(Row):
    """Two branches, 3×3 and 5×5, their sum scaled by squeeze-and-excite, and a layer by itself behind it."""

    kind: ClassVar[str] = "gated"
    title: ClassVar[str] = "gated branches"
    channels: int
    stride: int = 1

    def write(self, plan: Builder, x: Value) -> Value:
        channels = plan.style.channels(self.channels)
        near = plan.depthwise("near.filter", x, 3, self.stride)
        near = plan.conv("near.mix", near, channels, activation="hard_swish")
        far = plan.depthwise("far.filter", x, 5, self.stride, activation="none")
        far = plan.conv("far.mix", far, channels, activation="relu")
        y = plan.add(near, far, "sum")
        gate = plan.conv("gate.reduce", plan.mean_pool(y, "gate.mean"), 8, norm=False, bias=True, activation="relu")
        gate = plan.conv("gate.expand", gate, channels, norm=False, bias=True, activation="hard_sigmoid")
        return plan.activation(plan.scale(y, gate, "scaled"), "hard_swish")


@dataclass(frozen=True)
class DeepHead(Head):
    """A layer with bias and without BatchNorm between the mean and the classifier, as MobileNetV3 has it."""

    kind: ClassVar[str] = "deep"
    features: int = 24

    def pool(self, plan: Builder, x: Value) -> Value:
        return plan.mean_pool(x)

    def layers(self, plan: Builder, x: Value) -> Value:
        y = plan.conv("hidden", x, self.features, norm=False, bias=True, activation="hard_swish")
        return plan.flatten(y)


TABLE = Table((rows.Conv(8, stride=2), Gated(16, stride=2), Inverted(16, expand=2.5)), DeepHead(), activation="relu")


def architecture(padding: str = "symmetric", size: int = 32) -> Architecture:
    return Architecture("toy", 1.0, size, "custom", replace(TABLE, padding=padding))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter the toy where a paper's network would be."""
    monkeypatch.setitem(rows.ROWS, "gated", Gated)
    monkeypatch.setitem(rows.HEADS, "deep", DeepHead)
    monkeypatch.setitem(catalog.CATALOG, "toy", Entry(TABLE, None, 32))


@pytest.fixture
def lively() -> Network:
    """Give a toy whose every number is its own."""
    network = Network(describe_toy(), 3).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.3, 2, generator=random)
            elif value.ndim == 1:
                value.uniform_(0.1, 1.0, generator=random)
            elif value.ndim:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=random)
    return network


def describe_toy() -> Architecture:
    return Architecture("toy", 1.0, 32, "standard", TABLE)


CLASSES = ("cat", "dog", "owl")


def saved(folder: Path, network: Network) -> Path:
    folder.mkdir(exist_ok=True)
    save_weights(folder / "model.safetensors", network.state_dict())
    write_bundle(folder, Bundle(network.architecture.to_json(), CLASSES, Preprocessing(32)))
    return folder


def test_the_module_does_what_the_row_says() -> None:
    torch.manual_seed(0)
    network = Network(architecture(), 3).eval()
    x = torch.randn(2, 8, 16, 16)
    block = network.body[1]

    def layer(name: str) -> ConvNorm:
        found = block.get_submodule(name)
        assert isinstance(found, ConvNorm)
        return found

    def unit(name: str, y: Tensor) -> Tensor:
        return layer(name).norm(layer(name).conv(y))

    near = nn.functional.hardswish(unit("near.mix", unit("near.filter", x).relu()))
    y = near + unit("far.mix", unit("far.filter", x)).relu()
    gate = layer("gate.reduce").conv(y.mean((2, 3), keepdim=True)).relu()
    gate = nn.functional.hardsigmoid(layer("gate.expand").conv(gate))
    torch.testing.assert_close(block(x), nn.functional.hardswish(y * gate), rtol=0, atol=0)


def test_a_head_may_have_layers() -> None:
    torch.manual_seed(0)
    network = Network(architecture(), 3).eval()
    x = torch.randn(2, 3, 32, 32)
    pooled = network.body(x).mean((2, 3))
    hidden = network.get_submodule("head.hidden.conv")
    assert isinstance(hidden, nn.Conv2d) and hidden.bias is not None
    features = nn.functional.hardswish(pooled @ hidden.weight.flatten(1).T + hidden.bias)
    torch.testing.assert_close(network(x), network.classifier(features))
    # Features kept where all blocks are frozen are those before the head's layers.
    kept = network.trunk(x, 3)
    assert kept.shape == (2, 16, 1, 1) and network.features == 24
    torch.testing.assert_close(network(kept, 3), network(x))
    assert Network(architecture(), 0)(x).shape == (2, 24)


def test_what_a_block_is() -> None:
    plan = architecture().plan()
    gated = plan.blocks[1]
    assert (gated.name, gated.title, gated.kernel, gated.stride) == ("body.gated1", "gated branches", 5, 2)
    assert (gated.input.shape, gated.output.shape) == ((8, 16, 16), (16, 8, 8))
    assert not gated.residual and plan.blocks[2].residual
    assert [part.name for part in plan.readers("body.gated1.sum")] == ["body.gated1.gate.mean", "body.gated1.scaled"]


def test_a_new_kind_survives_json(monkeypatch: pytest.MonkeyPatch) -> None:
    one = architecture()
    plain = json.loads(json.dumps(one.to_json()))
    monkeypatch.setitem(rows.ROWS, "gated", Gated)
    monkeypatch.setitem(rows.HEADS, "deep", DeepHead)
    assert Architecture.from_json(plain) == one


def test_copies_and_pictures_of_other_sizes() -> None:
    network = Network(architecture("same"), 3).eval()
    for size in (32, 45, 64):
        x = torch.randn(1, 3, size, size)
        assert torch.equal(copy.deepcopy(network)(x), network(x))
        wanted = Network(architecture("same", size), 3).eval()
        wanted.load_state_dict(network.state_dict())
        assert torch.equal(wanted(x), network(x))


def test_it_can_be_traced() -> None:
    network = Network(architecture("same"), 3).eval()
    x = torch.randn(2, 3, 32, 32)
    traced = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(traced(x), network(x))


def test_a_flat_head_knows_the_map() -> None:
    plan = replace(architecture(), table=replace(TABLE, head=FlatHead())).plan(3)
    assert (plan.maps.shape, plan.features.shape) == ((16, 8, 8), (1024,))


def outputs(network: Network, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Give the shapes of what each module gives, by its name."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_part: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = tuple(output.shape[1:])

        return hook

    for name, part in network.named_modules():
        part.register_forward_hook(note(name))
    network(x)
    return found


@pytest.mark.parametrize("size", [32, 97])
@pytest.mark.parametrize("padding", ["symmetric", "same", "keras"])
@pytest.mark.parametrize("described", [*(describe(name) for name in CATALOG), architecture()], ids=lambda one: one.name)
def test_shapes_and_parameters_are_those_of_the_network(described: Architecture, padding: str, size: int) -> None:
    one = replace(described, size=size, table=replace(described.table, padding=padding))
    network = Network(one, 5).eval()
    found = outputs(network, torch.zeros(1, 3, size, size))
    for part in network.plan.operations:
        assert found.get(part.name, part.output_shape) == part.output_shape
        if isinstance(part, (Conv, Linear)):
            values = network.get_submodule(part.name).parameters()
            assert part.parameters == sum(value.numel() for value in values)
    assert {part.name for part in network.plan.convolutions} <= set(found)
    assert sum(part.parameters for part in network.plan.operations) == sum(p.numel() for p in network.parameters())


@pytest.mark.usefixtures("known")
def test_summary_and_diagram(tmp_path: Path) -> None:
    found = mobilenets.summary("toy", classes=3, diagram=tmp_path / "toy.png")
    network = Network(describe_toy(), 3)
    assert found["parameters"] == sum(value.numel() for value in network.parameters())
    kinds = {layer["name"]: layer["kind"] for layer in found["layers"]}
    assert kinds["body.gated1.far.filter"] == "depthwise 5×5 /2 linear"
    assert kinds["body.gated1.gate.expand"] == "pointwise 1×1 hard-sigmoid"
    assert kinds["head.hidden"] == "pointwise 1×1 hard-swish"
    macs = {layer["name"]: layer["macs"] for layer in found["layers"]}
    assert macs["body.gated1.gate.reduce"] == 16 * 8 and macs["body.gated1.near.mix"] == 8 * 16 * 8 * 8
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")
    figure = diagram(cost(describe("toy"), 3))
    assert {"gated branches", "residual connection"} <= {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("size", [32, 43])
@pytest.mark.parametrize("padding", ["symmetric", "same", "keras"])
def test_cells_are_where_the_network_looks(padding: str, size: int) -> None:
    table = Table((rows.Conv(4, stride=2), Linearly(4, stride=2)), DeepHead(), padding=padding)
    network = Network(Architecture("toy", 1.0, size, "custom", table), 1).eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    images = torch.full((1, 3, size, size), 0.1, requires_grad=True)
    [gradient] = torch.autograd.grad(network.body(images)[0, 0, 2, 2], images)
    seen = np.flatnonzero(gradient.abs().sum((0, 1, 3)).numpy())
    first, step = network.plan.cells()
    assert first + 2 * step == (seen[0] + seen[-1]) / 2


@dataclass(frozen=True)
class Linearly(Gated):
    """Without the gate, which sees the whole picture."""

    def write(self, plan: Builder, x: Value) -> Value:
        near = plan.depthwise("near", x, 3, self.stride)
        return plan.add(near, plan.depthwise("far", x, 5, self.stride), "sum")


def test_explain(lively: Network, tmp_path: Path) -> None:
    bundle = Bundle(lively.architecture.to_json(), CLASSES, Preprocessing(32))
    file = graph_of(SavedModel(lively, bundle), tmp_path)
    predictor = EnginePredictor(bundle, open_engine(tmp_path, file, threads=1), file)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    engine: Any = predictor.engine
    [evidence] = engine.evidence(images, 1)
    maps = lively.body(torch.from_numpy(images).permute(0, 3, 1, 2)).detach().requires_grad_()
    [gradient] = torch.autograd.grad(lively.answer(lively.pool(maps))[0, 1], maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu()[0].detach().numpy()
    assert expected.any()
    # Each place of the pool has its share of the mean's gradient.
    np.testing.assert_allclose(evidence / evidence.max(), expected / expected.max(), atol=1e-4)
    assert explain_picture(predictor, Image.new("RGB", (40, 40), "red")).width >= 320


@pytest.mark.usefixtures("known")
def test_audit(lively: Network, tmp_path: Path) -> None:
    layer: Any = lively.get_submodule("body.gated1.far.filter")
    with torch.no_grad():
        layer.norm.weight[[1, 4]] = 1e-9
    found = mobilenets.audit(saved(tmp_path / "run", lively))
    assert [row["name"] for row in found["layers"]] == [part.name for part in lively.plan.convolutions]
    assert found["depthwise"]["dead"] == 2
    # A kernel of 25 and its norm, and an input of the 16 filters that mix it; what makes its input serves others.
    assert found["removable"]["parameters"] == 2 * (25 + 2 + 16)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("order", ["forward", "sorted"])
def test_import_by_order(lively: Network, tmp_path: Path, order: str) -> None:
    state: dict[str, Tensor] = {}
    for number, part in enumerate(lively.plan.convolutions):
        layer = lively.get_submodule(part.name)
        for name, value in layer.state_dict().items():
            state[f"net.{number}.{name}"] = value.clone()
    state |= {f"output.{name}": value.clone() for name, value in lively.classifier.state_dict().items()}
    file = tmp_path / "theirs"
    if order == "sorted":
        save_file(state, file.with_suffix(".safetensors"))
    else:
        torch.save(state, file.with_suffix(".pt"))
    made = convert(next(tmp_path.iterdir()), quiet=True).model.network
    assert (made.architecture.name, made.architecture.width, made.classes) == ("toy", 1.0, 3)
    # What no weights tell: the epsilon of BatchNorm by the habit of PyTorch.
    own = replace(made.architecture, table=replace(made.architecture.table, norm_epsilon=TABLE.norm_epsilon))
    again = Network(own, 3).eval()
    again.load_state_dict(made.state_dict())
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again(x), lively(x))


@pytest.mark.usefixtures("known")
def test_a_backbone_without_the_layers_of_its_head(lively: Network, tmp_path: Path) -> None:
    state: dict[str, Tensor] = {}
    for number, part in enumerate(lively.plan.convolutions):
        if not part.name.startswith("head."):
            values = lively.get_submodule(part.name).state_dict()
            state |= {f"net.{number}.{name}": value.clone() for name, value in values.items()}
    torch.save(state, tmp_path / "backbone.pt")
    made = convert(tmp_path / "backbone.pt", quiet=True).model.network
    assert (made.architecture.name, made.classes, made.features) == ("toy", 0, 16)
    assert made.architecture.table.head == rows.PooledHead()
    # It begins a network whose head has layers: those are fresh, as the classifier is.
    write_bundle(tmp_path, Bundle(made.architecture.to_json(), (), Preprocessing(32)))
    save_weights(tmp_path / "model.safetensors", made.state_dict())
    begun = mobilenets.create_model("toy", 3, weights=tmp_path).state_dict()
    assert all(torch.equal(begun[name], value) for name, value in made.state_dict().items())
    assert not torch.equal(begun["head.hidden.conv.weight"], lively.state_dict()["head.hidden.conv.weight"])
