from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, read_bundle, write_bundle
from mobilenets.runtime.exported import DrawnPicture, Exported, Golden

CONTENT = b"a model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
GOLDEN = Golden("cat/1.jpg", DIGEST, DIGEST, (0.25, -1.5), ((1, 2, 3), (255, 0, 9)))
DRAWN = DrawnPicture(49, 48, 2**32 - 1, (0.25, -1.5))
EXPORTED = Exported(
    "model.onnx", "onnx", "int8", {"model.onnx": DIGEST}, golden=(GOLDEN,), about={"opset": 17}, drawn=DRAWN
)


def test_round_trip(tmp_path: Path) -> None:
    bundle = Bundle({}, ("cat", "dog"), Preprocessing(32), export=EXPORTED)
    write_bundle(tmp_path, bundle)
    assert read_bundle(tmp_path) == bundle
    assert read_bundle(tmp_path).export == EXPORTED


def test_geometry(tmp_path: Path) -> None:
    camera = replace(EXPORTED, input="uint8", layout="NHWC", batch=1, geometry="inside")
    assert Exported.from_json(json.loads(json.dumps(camera.to_json()))) == camera


def test_files_of_earlier_releases() -> None:
    earlier = json.loads(json.dumps(EXPORTED.to_json()))
    del earlier["geometry"], earlier["drawn"]
    del earlier["golden"][0]["pixels_grid"]
    assert Exported.from_json(earlier) == replace(EXPORTED, drawn=None, golden=(replace(GOLDEN, pixels_grid=()),))


def test_no_export_no_key() -> None:
    assert "export" not in Bundle({}, ("cat",), Preprocessing(32)).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "int4"},
        {"input": "float64"},
        {"layout": "CHW"},
        {"output": "scores"},
        {"format": 3},
        {"file": "other.onnx"},
        {"sha256": {}},
        {"sha256": {"../model.onnx": DIGEST}, "file": "../model.onnx"},
        {"sha256": {"/etc/passwd": DIGEST}, "file": "/etc/passwd"},
        {"sha256": {"model.onnx": DIGEST, ".hidden": DIGEST}},
        {"sha256": {"model.onnx": "abc"}},
        {"sha256": {"model.onnx": None}},
        {"batch": 0},
        {"batch": True},
        {"batch": 1e3},
        {"golden": {}},
        {"drawn": []},
        {"drawn": {"width": 3}},
        {"golden": [{"picture": "x", "sha256": "x", "pixels_sha256": "x", "outputs": [1], "pixels_grid": [[1, 2]]}]},
        {"golden": [{"picture": "x"}]},
        {"golden": [GOLDEN.picture]},
        {"golden": [{"picture": "x", "sha256": "", "pixels_sha256": "", "outputs": ["a"]}]},
        {"about": []},
        {"geometry": "partly"},
        {"geometry": "inside"},
        {"geometry": "inside", "input": "uint8", "layout": "NHWC"},
        {"geometry": "inside", "input": "uint8", "layout": "NHWC", "batch": 2},
    ],
)
def test_malformed(change: dict[str, Any], tmp_path: Path) -> None:
    value = json.loads(json.dumps(EXPORTED.to_json())) | change
    with pytest.raises(InputError, match=r"^export: ") as caught:
        Exported.from_json(value)
    assert "\n" not in str(caught.value)


def test_not_an_object() -> None:
    with pytest.raises(InputError, match="object"):
        Exported.from_json([1])


def test_check(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        EXPORTED.check(tmp_path)
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    assert EXPORTED.check(tmp_path) == tmp_path / "model.onnx"
    (tmp_path / "model.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(InputError, match=r"not the file that model\.json describes"):
        EXPORTED.check(tmp_path)


def test_every_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    with pytest.raises(InputError, match=r"model\.bin: cannot be read"):
        replace(EXPORTED, sha256={"model.onnx": DIGEST, "model.bin": DIGEST}).check(tmp_path)
