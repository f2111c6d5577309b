"""A file that does not answer as the model does is not given out, and the layer at fault is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import mobilenets
import mobilenets.exports.formats.onnx as writer
import mobilenets.exports.graph.geometry as geometry
import mobilenets.verbs.export as module
from mobilenets.errors import InputError
from mobilenets.runtime.tie import contract_hash


def test_a_broken_geometry_is_named(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = geometry._filtered
    monkeypatch.setattr(geometry, "_filtered", lambda name, x: right(name, x * 0.5))
    result = mobilenets.export(trained.run, tmp_path / "soft", camera=True)
    assert not result["passed"] and result["layer"]["layer"] == "geometry"
    monkeypatch.undo()
    name = "body.separable3.depthwise"
    spoil(monkeypatch, lambda model: change_tensor(model, f"{name}.bias", lambda bias: bias + 3))
    result = mobilenets.export(trained.run, tmp_path / "out", camera=True)
    assert not result["passed"] and result["layer"]["layer"].startswith(name)


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[onnx.ModelProto], None]) -> None:
    whole = writer.onnx_model

    def spoilt(*arguments: Any) -> onnx.ModelProto:
        model = whole(*arguments)
        change(model)
        return model

    monkeypatch.setattr(writer, "onnx_model", spoilt)


def change_tensor(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    [tensor] = [one for one in model.graph.initializer if one.name == name]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name))


def test_wrong_channel_order_is_refused(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda model: change_tensor(model, "body.conv0.weight", lambda weight: weight[:, ::-1]))
    result = mobilenets.export(trained.run, tmp_path / "out")
    assert not result["passed"] and result["file"] is None
    assert result["layer"]["layer"].startswith("body.conv0")
    assert list(tmp_path.iterdir()) == []


def test_wrong_channel_order_on_grey_pictures(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog", "owl"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (30, 30), 20 * number).save(tmp_path / "grey" / name / f"{number}.png")
    spoil(monkeypatch, lambda model: change_tensor(model, "body.conv0.weight", lambda weight: weight[:, ::-1]))
    result = mobilenets.export(trained.run, tmp_path / "out", data=tmp_path / "grey")
    assert result["max_difference"] < 1e-4
    assert not result["passed"] and "a probability differs" in result["faults"][0]


def test_wrong_mean_is_refused(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = module.describe

    def wrong(draft: Path, *arguments: Any) -> None:
        describe(draft, *arguments)
        value = json.loads((draft / "model.json").read_bytes())
        value["preprocessing"]["mean"] = [0.485, 0.456, 0.406]
        value["contract_sha256"] = contract_hash(value)
        (draft / "model.json").write_text(json.dumps(value))

    monkeypatch.setattr(module, "describe", wrong)
    result = mobilenets.export(trained.run, tmp_path / "out")
    assert not result["passed"] and not (tmp_path / "out").exists()


def test_a_broken_layer_is_named(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "body.separable3.depthwise"
    spoil(monkeypatch, lambda model: change_tensor(model, f"{name}.bias", lambda bias: bias + 3))
    result = mobilenets.export(trained.run, tmp_path / "out", pixels=True)
    assert not result["passed"]
    assert result["layer"]["layer"].startswith(name)


def test_earlier_export_is_replaced_and_a_failed_one_leaves_it(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    mobilenets.export(trained.run, out, precision="float16")
    with pytest.raises(InputError, match="already holds an export in format onnx: use another --out"):
        mobilenets.export(trained.run, out, "openvino")
    small = (out / "model.onnx").read_bytes()
    assert mobilenets.export(trained.run, out)["passed"]
    whole = (out / "model.onnx").read_bytes()
    assert len(whole) > len(small)
    spoil(monkeypatch, lambda model: change_tensor(model, "body.conv0.weight", lambda weight: weight * 0))
    assert not mobilenets.export(trained.run, out)["passed"]
    assert (out / "model.onnx").read_bytes() == whole
    assert mobilenets.Predictor(out)(trained.data / "owl/003.png")[0].label == "owl"
