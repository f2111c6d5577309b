from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import mobilenets
from mobilenets.cli.compare import compared
from mobilenets.drawing.block_diagram import EXAMPLES
from mobilenets.drawing.comparison import comparison
from mobilenets.errors import InputError
from mobilenets.measure.cost import cost
from mobilenets.models.architecture import Architecture
from mobilenets.models.baselines import RESNETS
from mobilenets.models.catalog import describe

QUICK: dict[str, Any] = {"seconds": 0.02, "threads": 1}
has_onnx = importlib.util.find_spec("onnx") is not None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Give a comparison at 16 pixels, and where it was written."""
    out = tmp_path_factory.mktemp("compare") / "out"
    names = ["mobilenet_v1", "mobilenet_v2", "resnet18", "plain", "mobilenet_v1"]
    return mobilenets.compare(names, size=16, widths=[0.25, 1.0, 0.25], classes=10, out=out, **QUICK), out


def test_every_network_once(whole: tuple[dict[str, Any], Path]) -> None:
    rows = whole[0]["networks"]
    assert [(row["name"], row["width"], row["variant"]) for row in rows] == [
        ("mobilenet_v1", 0.25, "small"),
        ("mobilenet_v1", 1.0, "small"),
        ("mobilenet_v2", 0.25, "small"),
        ("mobilenet_v2", 1.0, "small"),
        ("resnet18", 1.0, "standard"),
        ("plain", 1.0, "small"),
    ]
    for row in rows:
        assert (row["size"], row["classes"], row["run"], row["top1"]) == (16, 10, None, None)
        assert row["latency_ms"] > 0
        assert row["bytes"] > 4 * row["parameters"]
        measured = has_onnx and not row["name"].startswith("resnet")
        assert (row["onnxruntime_ms"] is not None) == measured
    json.dumps(whole[0], allow_nan=False)


def test_without_names_it_is_the_usual_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilenets.verbs.compare.latencies", lambda candidates, *_: [(1.0, None)] * len(candidates))
    rows = mobilenets.compare()["networks"]
    assert [row["name"] for row in rows] == ["mobilenet_v1", "mobilenet_v2", "resnet18", "resnet50", "plain"]
    assert {(row["size"], row["classes"], row["variant"]) for row in rows} == {(224, 1000, "standard")}


def test_costs_are_those_of_summary(whole: tuple[dict[str, Any], Path]) -> None:
    for row in whole[0]["networks"][:4]:
        table = cost(describe(row["name"], row["width"], 16), 10)
        assert (row["parameters"], row["macs"]) == (table.parameters, table.macs)


def test_what_is_written(whole: tuple[dict[str, Any], Path]) -> None:
    result, out = whole
    assert sorted(path.name for path in out.iterdir()) == ["blocks.png", "compare.json", "compare.png"]
    assert json.loads((out / "compare.json").read_bytes()) == result
    for name in ("blocks.png", "compare.png"):
        with Image.open(out / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300


def test_a_line_a_network(whole: tuple[dict[str, Any], Path]) -> None:
    text = compared(whole[0])
    assert len(text.splitlines()) == 1 + 6 + 2
    assert "resnet18" in text


def test_threads_are_set_back(whole: tuple[dict[str, Any], Path]) -> None:
    before = torch.get_num_threads()
    mobilenets.compare(["mobilenet_v1_cifar"], size=32, threads=before + 1, seconds=0.01)
    assert torch.get_num_threads() == before


@pytest.fixture
def measured(trained: Any, tmp_path: Path) -> Path:
    run = tmp_path / "pets"
    shutil.copytree(trained.run, run)
    return run


def test_runs_have_their_accuracy(measured: Path) -> None:
    result = mobilenets.compare(runs=[measured], **QUICK)
    [row] = result["networks"]
    metrics = json.loads((measured / "metrics.json").read_bytes())
    assert (row["name"], row["size"], row["classes"], row["run"]) == ("mobilenet_v1_cifar", 32, 3, str(measured))
    assert (row["top1"], row["top1_interval"]) == (metrics["top1"], metrics["top1_interval"])
    assert (row["images"], row["data"]) == (12, "validation of pets")
    assert "validation of pets" in compared(result)
    axes = comparison(result).axes[0]
    assert axes.get_title("left") == "Accuracy and speed"
    assert {text.get_text() for text in axes.texts} == {"pets"}


def test_a_detector_does_not_stand_beside_networks(finder: Any) -> None:
    with pytest.raises(InputError, match="two detectors: mobilenets compare RUN RUN DATA"):
        mobilenets.compare(runs=[finder.run])


def test_runs_on_different_pictures_do_not_compare(
    measured: Path, trained: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mobilenets.compare(runs=[measured, trained.run], **QUICK)
    assert "cannot be compared" not in caplog.text
    record = json.loads((measured / "recipe.json").read_bytes())
    record["data"]["fingerprint"] = "other"
    (measured / "recipe.json").write_text(json.dumps(record))
    mobilenets.compare(runs=[measured, trained.run], **QUICK)
    assert "not measured on the same pictures" in caplog.text


@pytest.mark.parametrize("content", [None, "{}", "nope", '{"top1": 1, "top1_interval": 3}'])
def test_a_run_that_was_not_measured(content: str | None, measured: Path) -> None:
    path = measured / "metrics.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match="mobilenets evaluate"):
        mobilenets.compare(runs=[measured], **QUICK)


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        (["vgg16"], {}, "unknown network 'vgg16': choose mobilenet_v1"),
        (["resnet18"], {"size": 0}, "size 0"),
        (["resnet18"], {"classes": 0}, "classes 0"),
        (["mobilenet_v2"], {"classes": -1}, "classes -1"),
        (["mobilenet_v2"], {"widths": [0.0]}, "width 0"),
        (["plain"], {"threads": 0}, "threads 0"),
        (["plain"], {"seconds": -1.0}, "seconds -1"),
        ([], {"runs": ["nowhere"]}, "nowhere: no such model"),
    ],
)
def test_wrong_settings(names: list[str], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        mobilenets.compare(names, **settings)


def test_names_in_the_chart_do_not_overlap() -> None:
    spread = {"classes": 1000, "size": 224, "run": None, "top1": None, "onnxruntime_ms": None}
    rows = [
        {"name": name, "width": width, "macs": macs, "latency_ms": ms, **spread}
        for name, width, macs, ms in (
            ("mobilenet_v1", 1.0, 569e6, 20.0),
            ("mobilenet_v2", 1.4, 582e6, 20.5),
            ("mobilenet_v2", 1.3, 509e6, 19.0),
            ("resnet18", 1.0, 1.8e9, 20.0),
        )
    ]
    machine = {"processor": "any"}
    figure = comparison({"networks": rows, "threads": 1, "machine": machine})
    figure.draw_without_rendering()
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_axes_of_the_chart_read_as_people_write_them() -> None:
    spread = {"classes": 3, "size": 224, "macs": 3e8, "onnxruntime_ms": None}
    rows = [
        {"name": "mobilenet_v2", "width": 1.0, "latency_ms": ms, "run": f"runs/{ms:g}", "top1": top1, **spread}
        | {"top1_interval": [top1 - 0.2, min(1.0, top1 + 0.1)]}
        for ms, top1 in ((14.9, 0.82), (17.0, 0.91), (27.2, 0.94))
    ]
    result: dict[str, Any] = {"networks": rows, "threads": 1, "machine": {"processor": "any"}}
    from matplotlib.text import Text

    for shown, unit in ((result, "%"), (result | {"networks": [row | {"top1": None} for row in rows]}, "million")):
        figure = comparison(shown)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        words = []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            labels = [label for place, label in ticks if low <= place <= high]
            words += [label.get_text() for label in labels]
            boxes = [label.get_window_extent() for label in labels]
            assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
            assert all(label.get_fontsize() >= 10 for label in labels)
        assert any(unit in word for word in words)
        assert not any("e+" in word or "10^" in word or ".0%" in word for word in words), words
        names = [Text.get_window_extent(text) for text in axes.texts]
        assert not any(one.overlaps(other) for i, one in enumerate(names) for other in names[:i])
    # From the first chart: no name stands on the line of an interval.
    axes = comparison(result).axes[0]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    for row in rows:
        x, bottom = axes.transData.transform((row["latency_ms"], 100 * row["top1_interval"][0]))
        _, top = axes.transData.transform((row["latency_ms"], 100 * row["top1_interval"][1]))
        for box in map(Text.get_window_extent, axes.texts):
            assert not (box.x0 <= x <= box.x1 and box.y0 <= top and bottom <= box.y1)


def test_the_blocks_drawn_are_those_of_the_networks() -> None:
    # Each has, at 224 pixels, a block of this size on a map of 28 × 28.
    drawn = {example.source: example.block for example in EXAMPLES}
    resnets = (Architecture(name, 1.0, 224, "standard", table) for name, table in RESNETS.items())
    networks = (describe("mobilenet_v1"), describe("mobilenet_v2"), *resnets)
    for network, source in zip(networks, ("MobileNetV1", "MobileNetV2", "ResNet-18", "ResNet-50"), strict=True):
        costs = cost(network, 1000)
        own = {(block.parameters, block.macs) for block in costs.blocks if block.in_size == block.out_size == (28, 28)}
        assert (drawn[source].parameters, drawn[source].macs) in own
    assert drawn["VGG-like"].parameters == 9 * 256 * 256 + 2 * 256
