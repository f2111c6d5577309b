"""What is handed to ``import`` and is no file of weights: named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite, a format for running"),
        ("renamed.bin", b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite, a format for running"),
        ("m.ort", b"\x10\x00\x00\x00ORTM", "ONNX Runtime's own form; give the .onnx file"),
        ("m.mlmodel", b"\x08\x04", "Core ML"),
        ("m.xml", b'<?xml version="1.0"?>\n<net name="m">', "OpenVINO"),
        ("m.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("m.keras", b"<!DOCTYPE html><html>", "a web page"),
        ("model.json", b'{"modelTopology": {}, "weightsManifest": []}', "tensorflowjs_converter --input_format=tfjs"),
        ("checkpoint", b'model_checkpoint_path: "ck-1"', "give one of the .index files"),
        ("m.meta", b"\x0a\x00", "give the .index beside it"),
        ("m.txt", b"hello", "not a known format of weights"),
    ],
)
def test_files(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        convert(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "m.mlpackage").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.keras").touch()
    (tmp_path / "empty").mkdir()
    for name, said in (("m.mlpackage", "Core ML"), ("weights", "best.keras"), ("empty", "give a file of weights")):
        with pytest.raises(InputError, match=said):
            convert(tmp_path / name)


def test_weights_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match="split into several files"):
        convert(tmp_path)
