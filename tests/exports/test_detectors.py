"""A detector as a file, in each format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.cli.export import exported as said
from mobilenets.errors import InputError

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "litert_torch", "executorch": "executorch"}


def pictures(finder: Any) -> list[Path]:
    return sorted((finder.data / "pictures").iterdir())


@pytest.mark.parametrize(
    ("form", "pixels"), [("onnx", False), ("openvino", True), ("litert", True), ("executorch", False)]
)
def test_the_same_boxes_in_each_format(finder: Any, form: str, pixels: bool, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[form])
    result = mobilenets.export(finder.run, tmp_path / "out", form, data=finder.data, pixels=pixels)
    assert result["passed"], result["faults"]
    assert result["ap_reference"] > 0.1 and result["boxes"] > 10
    assert result["least_overlap"] > 0.99 and result["max_difference"] < 1e-3
    assert f"AP  {100 * result['ap_exported']:.2f} %" in said(result)
    about = json.loads((tmp_path / "out/model.json").read_bytes())
    # Boxes, and not all numbers: those of a large detector would be megabytes.
    assert {len(one["outputs"]) % 6 for one in about["export"]["golden"]} == {0}
    assert max(len(one["outputs"]) for one in about["export"]["golden"]) <= 120
    ours, theirs = mobilenets.Predictor(finder.run), mobilenets.Predictor(tmp_path / "out")
    for path in pictures(finder)[:4]:
        assert [one.label for one in ours(path)] == [one.label for one in theirs(path)]
    assert (tmp_path / "out/export.png").is_file()


def test_int8_keeps_the_heads_in_float(finder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    from mobilenets.exports.int8 import search

    # Fewer candidates, to be quick.
    monkeypatch.setattr(search, "RANGE_RULES", search.RANGE_RULES[:1])
    monkeypatch.setattr(search, "SMALL", np.inf)
    result = mobilenets.export(
        finder.run, tmp_path / "out", "onnx", precision="int8", data=finder.data, tolerance=100, pixels=True
    )
    assert result["passed"], result["faults"]
    graph = onnx.load(tmp_path / "out/model.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["extras.1.reduce.weight.int8"] == onnx.TensorProto.INT8
    assert kinds["heads.0.boxes.predict.weight"] == onnx.TensorProto.FLOAT
    assert not any(name.startswith("heads") and name.endswith("int8") for name in kinds)
    tried = result["quantization"]
    assert all("heads" in one["float_blocks"] for one in tried["candidates"])
    assert 0 < tried["chosen"]["divergence"] < 10


def test_a_camera_file_gives_boxes_of_the_picture(finder: Any, tmp_path: Path) -> None:
    result = mobilenets.export(finder.run, tmp_path / "out", "onnx", data=finder.data, camera=True)
    assert result["passed"], result["faults"]
    ours, theirs = mobilenets.Predictor(finder.run), mobilenets.Predictor(tmp_path / "out")
    for one, other in zip(ours(pictures(finder)[0]), theirs(pictures(finder)[0]), strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.05)


def test_what_cannot_be_asked_for(finder: Any, trained: Any, tmp_path: Path) -> None:
    for settings, said_ in (
        ({"probabilities": True}, "a model for detection gives none"),
        ({"format": "web", "nms": True}, "web cannot be exported with --nms: choose onnx or openvino"),
        ({"tolerance": 200}, "points of AP"),
    ):
        with pytest.raises(InputError, match=said_):
            mobilenets.export(finder.run, tmp_path / "out", data=finder.data, **settings)
    with pytest.raises(InputError, match="a model for classification finds no boxes"):
        mobilenets.export(trained.run, tmp_path / "out", data=trained.data, nms=True)
    assert not (tmp_path / "out").exists()
