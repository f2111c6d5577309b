"""The plan says what the network does: names, shapes, padding and costs, for kinds that no catalogue has too."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass, replace
from subprocess import run
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from mobilenets.models import rows
from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.catalog import CATALOG, describe
from mobilenets.models.network import Network
from mobilenets.models.operations import Conv, Linear, Value
from mobilenets.models.plan import Builder
from mobilenets.models.rows import FlatHead, Head, Inverted, PooledHead, Row
from mobilenets.models.tables import Table


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


def test_activations_by_the_table_and_by_the_row() -> None:
    table = Table((rows.Conv(8), rows.Conv(8, activation="hard_swish"), Inverted(8)), PooledHead(), activation="relu")
    plan = Architecture("own", 1.0, 32, "custom", table).plan()
    assert [part.activation for part in plan.convolutions] == ["relu", "hard_swish", "relu", "relu", "none"]
    assert [part.activation for part in describe("mobilenet_v1").plan().convolutions] == ["relu6"] * 27


def test_expansions_may_be_fractions_or_channels() -> None:
    table = Table((rows.Conv(16), Inverted(24, expand=5.33), Inverted(40, expanded=72)), PooledHead())
    blocks = Architecture("own", 0.5, 32, "custom", table).plan().blocks
    wide = [[part.output_shape[0] for part in block.operations[:2]] for block in blocks[1:]]
    # 8 × 5.33 is 42.64, rounded to 40; 72 / 2 is 36, rounded to 40 as channels are.
    assert wide == [[40, 40], [40, 40]]
    assert [block.expansion for block in blocks] == [None, 5.0, 2.5]


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


def test_models_written_before_are_read() -> None:
    written = describe("mobilenet_v2", 0.5).to_json()
    del written["table"]["activation"]
    assert written["table"]["body"][1] == {
        "kind": "inverted", "channels": 16, "kernel": 3, "stride": 1, "expand": 1, "always_expand": False,
    }  # fmt: skip
    assert Architecture.from_json(written) == describe("mobilenet_v2", 0.5)


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


def test_what_does_not_fit_is_refused() -> None:
    plan = Builder("block", architecture().style)
    x = Value("x", (8, 16, 16))
    y = plan.conv("a", x, 4)
    for wrong in (
        lambda: plan.add(x, y),
        lambda: plan.scale(x, y, "gate"),
        lambda: plan.conv("a", x, 4),
        lambda: plan.conv("b", x, 4, activation="swish"),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_planning_needs_no_torch() -> None:
    script = (
        "import sys; from mobilenets.models.catalog import describe; describe('mobilenet_v2').plan(10); "
        "assert 'torch' not in sys.modules"
    )
    run([sys.executable, "-c", script], check=True)


def test_a_flat_head_knows_the_map() -> None:
    plan = replace(architecture(), table=replace(TABLE, head=FlatHead())).plan(3)
    assert (plan.maps.shape, plan.features.shape) == ((16, 8, 8), (1024,))
