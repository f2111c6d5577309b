from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mobilenets
from mobilenets.errors import InputError

V2_ROWS = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v1_cifar"])
def test_totals_are_the_sums_and_the_networks_own(name: str) -> None:
    result = mobilenets.summary(name, classes=10)
    assert set(result) >= {"name", "width", "size", "classes", "parameters", "macs", "layers"}
    assert all(set(layer) == {"name", "kind", "output", "parameters", "macs"} for layer in result["layers"])
    assert result["parameters"] == sum(layer["parameters"] for layer in result["layers"])
    assert result["macs"] == sum(layer["macs"] for layer in result["layers"])
    network = mobilenets.create_model(name, classes=10)
    assert result["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    json.dumps(result, allow_nan=False)


def test_papers_own_figures() -> None:
    # Sandler et al. 2018, table 4: 3.4 M parameters and 300 M multiply-adds.
    result = mobilenets.summary("mobilenet_v2")
    assert (result["size"], result["classes"]) == (224, 1000)
    assert (result["parameters"], result["macs"]) == (3_504_872, 300_774_272)


@pytest.mark.parametrize("way", ["rows", "text", "path"])
def test_table_of_ones_own(way: str, tmp_path: Path) -> None:
    file = tmp_path / "my table.json"
    file.write_text(json.dumps(V2_ROWS))
    table: Any = {"rows": V2_ROWS, "text": str(file), "path": file}[way]
    own = mobilenets.summary("mobilenet_v2", table=table)
    assert own["variant"] == "custom"
    named = mobilenets.summary("mobilenet_v2")
    assert own["layers"] == named["layers"]


def test_whole_table(trained: Any, tmp_path: Path) -> None:
    table = json.loads((trained.run / "model.json").read_bytes())["architecture"]["table"]
    (tmp_path / "table.json").write_text(json.dumps(table))
    own = mobilenets.summary("mobilenet_v1_cifar", classes=3, table=tmp_path / "table.json")
    assert own["layers"] == mobilenets.summary("mobilenet_v1_cifar", classes=3)["layers"]


@pytest.mark.parametrize("name", ["V2.PNG", "deep/er/v2.svg"])
def test_diagram(name: str, tmp_path: Path) -> None:
    mobilenets.summary("mobilenet_v2", 0.5, 96, diagram=tmp_path / name)
    if name.lower().endswith(".png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300
    else:
        assert "<svg" in (tmp_path / name).read_text("utf-8")


def test_wrong_suffix_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give a file that ends in \.png or \.svg"):
        mobilenets.summary("mobilenet_v2", diagram=tmp_path / "v2.jpeg")
    assert list(tmp_path.iterdir()) == []


def test_variant_may_be_insisted_on() -> None:
    small, standard = (mobilenets.summary("mobilenet_v2", size=32, variant=which) for which in ("auto", "standard"))
    assert (small["variant"], standard["variant"]) == ("small", "standard")
    assert small["parameters"] == standard["parameters"]
    assert small["macs"] > 10 * standard["macs"]


def test_a_detector() -> None:
    result = mobilenets.summary("mobilenet_v2", size=300, classes=80, task="detection")
    assert (result["parameters"], result["anchors"], result["task"]) == (4_337_013, 1_917, "detection")
    assert result["macs"] == sum(layer["macs"] for layer in result["layers"])
    json.dumps(result, allow_nan=False)
    with pytest.raises(InputError, match="leave out --task detection"):
        mobilenets.summary("mobilenet_v2", task="detection", diagram="v2.png")
    with pytest.raises(InputError, match="leave --variant out"):
        mobilenets.summary("mobilenet_v2", task="detection", variant="small")
    with pytest.raises(InputError, match="choose classification or detection"):
        mobilenets.summary("mobilenet_v2", task="segmentation")
