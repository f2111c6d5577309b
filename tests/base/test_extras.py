from __future__ import annotations

import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mobilenets.base import extras, shell
from mobilenets.base.extras import how_to_install, requirements
from mobilenets.base.shell import quote

ROOT = Path(__file__).parents[2]


def test_from_a_clone() -> None:
    words = shlex.split(how_to_install("train"))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert words[4:] == ["-e", f"{ROOT}[train]", "-c", str(ROOT / "constraints.txt")]


@pytest.mark.parametrize("extra", ["litert", "executorch"])
def test_what_cannot_be_resolved_with_the_constraints(extra: str) -> None:
    words = shlex.split(how_to_install(extra))
    assert "-c" not in words
    assert words[4].startswith("torch==") and f"\n{words[4]}\n" in (ROOT / "constraints.txt").read_text("utf-8")
    assert words[5:] == ["-e", f"{ROOT}[{extra}]"]


def test_without_a_clone_package_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        "numpy>=1.26",
        'torch>=2.4; extra == "train"',
        'jinja2>=3.1; extra == "train"',
        'mobilenets[train]; extra == "export"',
        'onnx>=1.16; extra == "export"',
        "mobilenets[export,serve]; extra == 'all'",
        "uvicorn>=0.30; extra == 'serve'",
    ]
    monkeypatch.setattr(extras, "_clone", lambda: None)
    monkeypatch.setattr(metadata, "requires", lambda _: entries)
    assert requirements("all") == ["torch>=2.4", "jinja2>=3.1", "onnx>=1.16", "uvicorn>=0.30"]
    line = how_to_install("export")
    assert shlex.split(line)[4:] == ["torch>=2.4", "jinja2>=3.1", "onnx>=1.16"]
    assert "mobilenets" not in line.partition("install")[2]


def test_copied_without_an_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert {"torch", "scikit-learn", "safetensors"} <= set(requirements("train"))


def test_nothing_names_an_extra_but_here() -> None:
    lines = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "extras.py"
        for line in path.read_text("utf-8").splitlines()
        if "mobilenets[" in line and "pip" in line
    ]
    assert lines == []


@pytest.mark.parametrize(
    ("word", "windows"),
    [
        ("photos", "photos"),
        (r"C:\photos\cats", r"C:\photos\cats"),
        ("my photos", '"my photos"'),
        ("it's", '"it\'s"'),
        ("a&b", '"a&b"'),
        ("猫 狗", '"猫 狗"'),
        ("", '""'),
    ],
)
def test_quoted_for_the_shell(word: str, windows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shlex.split(quote(word)) == [word]
    with monkeypatch.context() as patched:
        patched.setattr(shell.os, "name", "nt")
        there = quote(word)
    assert there == windows


def test_an_address_that_was_a_path_is_one_again() -> None:
    assert [quote(str(Path(word))) for word in ("https://example.org/photos", "s3://bucket/photos")] == [
        "https://example.org/photos",
        "s3://bucket/photos",
    ]
