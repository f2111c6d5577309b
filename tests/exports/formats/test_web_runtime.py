from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.exports.formats import web_runtime


def package(folder: Path, version: str = web_runtime.VERSION) -> Path:
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": version}))
    for name in web_runtime.FILES:
        (folder / "dist" / name).write_text(name)
    return folder


def test_a_named_folder_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = package(tmp_path / "package")
    for named in (folder, folder / "dist"):
        found = web_runtime.find_web_runtime(named)
        assert (found.version, set(found.files)) == (web_runtime.VERSION, set(web_runtime.FILES))
    assert not caplog.records
    web_runtime.find_web_runtime(package(tmp_path / "other", "9.9.9"))
    assert "9.9.9" in caplog.text
    with pytest.raises(InputError, match="give the folder of the unpacked npm package onnxruntime-web"):
        web_runtime.find_web_runtime(tmp_path)


def test_node_modules_above_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = package(tmp_path / "node_modules" / web_runtime.PACKAGE)
    (tmp_path / "below" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below" / "deep")
    assert web_runtime.find_web_runtime(None).files[web_runtime.FILES[0]].parent == folder / "dist"


@pytest.mark.parametrize(
    ("npm", "words"),
    [
        (None, "with --web-runtime FOLDER"),
        ("exit 1", "npm install onnxruntime-web"),
        ("echo no > a.tgz", "delivered a"),
    ],
)
def test_without_the_package(npm: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    if npm is not None:
        (tmp_path / "bin" / "npm").write_text(f"#!/bin/sh\n{npm}\n")
        (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        web_runtime.find_web_runtime(None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_web_runtime_is_for_web(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--web-runtime only works with --format web"):
        mobilenets.export(trained.run, tmp_path / "out", "onnx", web_runtime=tmp_path)
