"""Building networks: shapes, names, tables, initialisation, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture, table_to_json
from mobilenets.models.blocks import build
from mobilenets.models.builder import Builder
from mobilenets.models.catalog import CATALOG, describe, load_table
from mobilenets.models.network import Network
from mobilenets.models.operations import Value
from mobilenets.models.rows import Conv, Inverted, Row, stage
from mobilenets.models.style import divisible_channels, floor_channels
from mobilenets.models.tables import V2, V2_SETTINGS, v2_table
from mobilenets.verbs.models import create_model


def planned(row: Row, channels: int, width: float = 1.0) -> Builder:
    plan = Builder("block", describe("mobilenet_v2", width).style)
    row.write(plan, Value("x", (channels, 8, 8)))
    return plan


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("classes", [0, 1, 5])
def test_shapes(name: str, classes: int) -> None:
    network = create_model(name, classes, 0.25, size=32).eval()
    assert isinstance(network, nn.Module)
    out = network(torch.rand(2, 3, 32, 32))
    assert out.shape == (2, classes or network.features)
    assert torch.isfinite(out).all()


WITH_VARIANTS = [name for name in CATALOG if name != "mobilenet_v1_cifar"]


@pytest.mark.parametrize("size", [1, 17, 33, 97, 225])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"])
def test_any_size(name: str, size: int) -> None:
    network = create_model(name, 3, 0.25, size=size).eval()
    assert network(torch.rand(1, 3, size, size)).shape == (1, 3)


def test_a_flat_head_is_bound_to_its_size() -> None:
    assert create_model("mobilenet_v1_cifar", 10).features == 1024
    assert create_model("mobilenet_v1_cifar", 10, size=28).features == 1024
    assert create_model("mobilenet_v1_cifar", 10, size=64).features == 4096


@pytest.mark.parametrize("name", WITH_VARIANTS)
def test_small_pictures_have_their_variant(name: str) -> None:
    small, standard = describe(name, size=64), describe(name, size=65)
    assert (small.variant, standard.variant) == ("small", "standard")
    assert math.prod(row.stride for row in small.table.body) == 8
    assert math.prod(row.stride for row in standard.table.body) == 32
    assert small.table.body[0].stride == 1
    assert describe(name, size=32, variant="standard").variant == "standard"
    one, other = Network(small, 4).state_dict(), Network(standard, 4).state_dict()
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in other.items()}


def test_state_names_read_like_the_table() -> None:
    names = set(create_model("mobilenet_v2", 10, 0.35).state_dict())
    assert {
        "body.conv0.conv.weight",
        "body.inverted1.depthwise.norm.running_mean",
        "body.inverted17.expand.conv.weight",
        "body.inverted17.project.norm.bias",
        "body.conv18.conv.weight",
        "classifier.weight",
        "classifier.bias",
    } <= names
    assert "body.inverted1.expand.conv.weight" not in names


def test_initialisation() -> None:
    torch.manual_seed(0)
    network = create_model("mobilenet_v2", 100)
    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            std = 0.01 if isinstance(part, nn.Linear) else 0.09
            assert part.weight.abs().max() <= 2 * std
            if part.weight.numel() > 5000:
                # A normal cut at two deviations has 0.88 of its deviation left.
                assert part.weight.std().item() == pytest.approx(std * 0.8796, rel=0.05)
            assert part.bias is None or not part.bias.any()
        elif isinstance(part, nn.BatchNorm2d):
            assert part.eps == 1e-3
            assert (part.weight == 1).all() and not part.bias.any()


def test_initialisation_of_v4_is_timms() -> None:
    torch.manual_seed(0)
    network = create_model("mobilenet_v4_conv_small", 10, size=32)
    for conv in (part for part in network.modules() if isinstance(part, nn.Conv2d) and part.weight.numel() > 5000):
        window = conv.kernel_size[0] ** 2 * conv.out_channels / conv.groups
        assert conv.weight.std().item() == pytest.approx((2 / window) ** 0.5, rel=0.05)
    assert network.classifier.weight.std().item() == pytest.approx(0.01 * 0.8796, rel=0.05)


def test_a_squeeze_and_excitation_scales_its_channels() -> None:
    network = create_model("mobilenet_v3_small", 0, 0.5, size=32).eval()
    block = network.body.inverted1
    with torch.no_grad():
        block.excite.expand.conv.weight.zero_()
        block.excite.expand.conv.bias.fill_(-3)  # a gate of 0
        x = torch.rand(2, 16, 9, 9)
        shut = block(x)
        block.excite.expand.conv.bias.fill_(3)  # a gate of 1
        opened = block(x)
        filtered = block.depthwise(x)
        assert torch.equal(opened, block.project(filtered))
        assert torch.equal(shut, block.project(torch.zeros_like(filtered)))


def test_a_universal_bottleneck_may_lack_each_filter() -> None:
    table = json.loads(json.dumps(table_to_json(CATALOG["mobilenet_v4_conv_medium"].table)))
    assert {(row.get("start"), row.get("middle")) for row in table["body"] if row["kind"] == "universal"} >= {
        (3, 5),
        (3, None),
        (None, None),
    }
    blocks = create_model("mobilenet_v4_conv_medium", 0, 0.1, size=64).plan.blocks
    names = {tuple(part.name.rpartition(".")[2] for part in block.operations[:4]) for block in blocks[2:-1]}
    assert ("start", "expand", "middle", "project") in names
    assert any(name[:3] == ("start", "expand", "project") for name in names)
    assert any(name[:2] == ("expand", "project") for name in names)
    with pytest.raises(InputError, match="needs a filter"):
        create_model("mobilenet_v2", table=load_table({"body": [{"kind": "universal", "channels": 8, "stride": 2}]}))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_medium"])
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, 5, 0.35, size=32)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_an_inverted_residual_adds_its_input() -> None:
    plan = planned(Inverted(16), 16)
    block = build(plan.scope, plan.operations)
    assert plan.operations[-1].output_shape == (16, 8, 8)
    with torch.no_grad():
        block.eval()
        block.project.norm.weight.zero_()  # type: ignore[union-attr]
        x = torch.rand(1, 16, 8, 8)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(32 * 0.35, 16), (24 * 0.35, 8), (64 * 0.35, 24), (16 * 0.5, 8), (1280 * 1.4, 1792), (24 * 1.4, 32), (3, 8)],
)
def test_divisible_channels(channels: float, expected: int) -> None:
    assert divisible_channels(channels) == expected


@given(st.floats(1, 1e4))
def test_divisible_channels_keep_their_promise(channels: float) -> None:
    rounded = divisible_channels(channels)
    assert rounded % 8 == 0 and rounded >= max(8, 0.9 * channels)
    assert rounded <= max(16, channels + 8)


def test_floor_channels() -> None:
    assert [floor_channels(64 * 0.35), floor_channels(32 * 0.1)] == [22, 8]


def test_stage_folds_the_stride_once() -> None:
    rows = stage(Inverted(24, stride=2), 3)
    assert [row.stride for row in rows] == [2, 1, 1]


def test_settings_give_the_papers_table() -> None:
    assert v2_table(V2_SETTINGS) == V2


def test_own_table(tmp_path: Path) -> None:
    rows = [[1, 8, 1, 1], [4, 16, 2, 2]]
    (tmp_path / "table.json").write_text(json.dumps(rows))
    for table in (rows, load_table(rows), load_table(tmp_path / "table.json")):
        network = create_model("mobilenet_v2", 3, size=32, table=table)
        assert network.architecture.variant == "custom"
        assert [type(row).__name__ for row in network.architecture.table.body] == ["Conv"] + ["Inverted"] * 3 + ["Conv"]
    whole = table_to_json(CATALOG["mobilenet_v1_cifar"].table)
    assert load_table(whole) == CATALOG["mobilenet_v1_cifar"].table


@pytest.mark.parametrize(
    "table",
    [
        [],
        [[1, 2, 3]],
        [[1, 2, 3, 0]],
        [[1, 16, 10**9, 1]],
        [["a", 2, 3, 4]],
        [1, 2, 3, 4],
        {},
        {"body": []},
        {"body": [{"kind": "conv"}]},
        {"body": [{"kind": "conv", "channels": 8, "kernel": 4}]},
        {"body": [{"kind": "conv", "channels": 8, "wings": 2}]},
        {"body": [{"kind": "door", "channels": 8}]},
        {"body": [{"kind": "conv", "channels": True}]},
        {"body": [{"kind": "conv", "channels": 10**9}]},
        {"body": [{"kind": "conv", "channels": 8}], "rounding": "up"},
        {"body": [{"kind": "conv", "channels": 8}], "rounding": ["divisible"]},
        {"body": [{"kind": "conv", "channels": 8}], "norm_epsilon": 0},
        {"body": [{"kind": "conv", "channels": 8}], "head": {"kind": "pooled", "dropout": 2}},
        {"body": [{"kind": ["conv"], "channels": 8}]},
    ],
)
def test_wrong_tables(table: Any) -> None:
    with pytest.raises(InputError) as caught:
        load_table(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("size", [32, 224])
def test_a_description_survives_json(name: str, size: int) -> None:
    architecture = describe(name, 0.75, size, dropout=0.3)
    assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["kind", "channels", "body", "head", "rounding", "table", "name", "width", "size"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    for read in (Architecture.from_json, lambda v: load_table(v if isinstance(v, (list, dict)) else {})):
        try:
            read(value)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "wish",
    [
        {"name": "mobilenet_v9"},
        {"name": "mobilenet_v2", "width": 0},
        {"name": "mobilenet_v2", "width": -1},
        {"name": "mobilenet_v2", "width": math.nan},
        {"name": "mobilenet_v2", "width": math.inf},
        {"name": "mobilenet_v2", "size": 0},
        {"name": "mobilenet_v2", "size": 10**6},
        {"name": "mobilenet_v2", "variant": "tiny"},
        {"name": "mobilenet_v1_cifar", "variant": "small"},
        {"name": "mobilenet_v2", "classes": -1},
        {"name": "mobilenet_v2", "classes": 2.5},
        {"name": "mobilenet_v2", "dropout": 1.0},
    ],
)
def test_wrong_wishes(wish: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        create_model(**wish)
    assert "\n" not in str(caught.value)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(InputError, match="did you mean mobilenet_v2"):
        create_model("mobilenetv2")


def test_conv_rows_widen_only() -> None:
    kept, narrowed = (planned(Conv(1280, kernel=1, widen_only=widen), 8, 0.5) for widen in (True, False))
    assert [plan.operations[-1].output_shape[0] for plan in (kept, narrowed)] == [1280, 640]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"])
def test_a_step_moves_batchnorms_statistics_by_a_tenth(name: str) -> None:
    """As PyTorch's momentum of 0.1 has it: a tenth of the batch's mean, and nine tenths of what was there."""
    network = create_model(name, 2, 0.25 if name != "mobilenet_v4_conv_small" else 0.5, size=32).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and {norm.momentum for norm in norms} == {0.1}
    first = norms[0]
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = first.running_mean.fill_(1.0).clone()  # type: ignore[union-attr,operator]
    network(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    expected = 0.9 * before + 0.1 * seen[0].mean((0, 2, 3))
    torch.testing.assert_close(first.running_mean, expected)
