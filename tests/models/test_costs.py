"""The networks against the published arithmetic, row by row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mobilenets.measure.cost import Cost, cost
from mobilenets.models.catalog import CATALOG, create_model, describe

ROWS = list(csv.DictReader((Path(__file__).parent / "published_costs.csv").read_text().splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']}-{row['width']}-{row['size']}")
def test_published(row: dict[str, str]) -> None:
    counted = cost(describe(row["model"], float(row["width"]), int(row["size"])), 1000)
    assert counted.parameters == int(row["parameters"])
    assert counted.macs == int(row["macs"])
    if row["published_macs_millions"]:
        assert counted.macs // 10**6 == int(row["published_macs_millions"])


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
