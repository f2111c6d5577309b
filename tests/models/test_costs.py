"""The networks against the published arithmetic, row by row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mobilenets.measure.cost import Cost, cost
from mobilenets.models.catalog import CATALOG, describe
from mobilenets.verbs.models import create_model

ROWS = list(csv.DictReader((Path(__file__).parent / "published_costs.csv").read_text().splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']}-{row['width']}-{row['size']}")
def test_published(row: dict[str, str]) -> None:
    counted = cost(describe(row["model"], float(row["width"]), int(row["size"])), 1000)
    assert counted.parameters == int(row["parameters"])
    assert counted.macs == int(row["macs"])
    if row["published_macs_millions"]:
        assert counted.macs // 10**6 == int(row["published_macs_millions"])


# V3 and V4 by arithmetic; timm and torchvision count the same parameters, at other widths too.
LATER = {
    ("mobilenet_v3_large", 1.0, 224): (5_483_032, 216_589_760),
    ("mobilenet_v3_small", 1.0, 224): (2_542_856, 56_510_400),
    ("mobilenet_v3_large_minimalistic", 1.0, 224): (3_924_288, 209_136_704),
    ("mobilenet_v3_small_minimalistic", 1.0, 224): (2_044_736, 52_288_448),
    ("mobilenet_v4_conv_small", 1.0, 224): (3_774_024, 186_005_568),
    ("mobilenet_v4_conv_medium", 1.0, 256): (9_715_512, 1_080_244_224),
    ("mobilenet_v4_conv_large", 1.0, 384): (32_590_864, 6_376_220_672),
    ("mobilenet_v3_large", 0.75, 224): (3_993_528, None),
    ("mobilenet_v3_small", 0.75, 224): (2_041_872, None),
    ("mobilenet_v3_small", 0.5, 224): (1_593_224, None),
    ("mobilenet_v4_conv_small", 0.5, 224): (2_238_952, None),
    ("mobilenet_v4_conv_small", 0.35, 224): (1_905_384, None),
}


@pytest.mark.parametrize("wish", LATER, ids=lambda wish: f"{wish[0]}-{wish[1]}-{wish[2]}")
def test_exact_costs_of_v3_and_v4(wish: tuple[str, float, int]) -> None:
    parameters, macs = LATER[wish]
    counted = cost(describe(*wish), 1000)
    assert counted.parameters == parameters
    assert macs in (None, counted.macs)


def test_the_usual_sizes_are_those_of_the_costs() -> None:
    assert {name: describe(name).size for name, width, size in LATER if width == 1.0} == {
        name: size for name, width, size in LATER if width == 1.0
    }


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 46


@pytest.mark.parametrize("name", CATALOG)
def test_counts_are_those_of_the_module(name: str) -> None:
    counted = cost(describe(name, 0.5), 7)
    network = create_model(name, 7, 0.5)
    assert counted.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert counted.parameters == sum(block.parameters for block in counted.blocks)
    assert counted.macs == sum(block.macs for block in counted.blocks)


def test_layers_of_the_paper() -> None:
    """MobileNetV1's table 1: shapes, kinds and order."""
    counted: Cost = cost(describe("mobilenet_v1"), 1000)
    layers = [(layer.kind, layer.output) for layer in counted.layers]
    assert layers[:3] == [
        ("conv 3×3 /2", (32, 112, 112)),
        ("depthwise 3×3", (32, 112, 112)),
        ("pointwise 1×1", (64, 112, 112)),
    ]
    assert layers[-4:] == [
        ("depthwise 3×3", (1024, 7, 7)),
        ("pointwise 1×1", (1024, 7, 7)),
        ("average pool", (1024, 1, 1)),
        ("linear", (1000,)),
    ]


def test_blocks_of_the_paper() -> None:
    """MobileNetV2's table 2: what goes in, expansion, channels, stride, and where the residuals are."""
    blocks = cost(describe("mobilenet_v2"), 1000).blocks
    inverted = [block for block in blocks if block.kind == "inverted residual"]
    assert [block.channels for block in inverted] == [16] + [24] * 2 + [32] * 3 + [64] * 4 + [96] * 3 + [160] * 3 + [
        320
    ]
    assert [block.expand for block in inverted] == [1] + [6] * 16
    assert sum(block.residual for block in inverted) == 10
    assert [block.out_size for block in inverted if block.stride == 2] == [(56, 56), (28, 28), (14, 14), (7, 7)]
