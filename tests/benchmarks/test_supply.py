"""What an install brings: its versions with hashes, and its licences."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]*))? \\$", re.MULTILINE)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pinned(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text("utf-8")
    return {module("licences").name_of(package): version for package, version, _ in PIN.findall(text)}


@pytest.mark.parametrize("name", ["requirements-runtime.lock", "requirements-serve.lock", "requirements-train.lock"])
def test_locks_have_hashes_and_the_versions_of_the_constraints(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    parts = re.split(r"\n(?=\S)", text.split("\n", 1)[1].strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", part) for part in parts)
    assert len(parts) == len(pinned(name)) and "://" not in text
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    versions = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {module("licences").name_of(package): version for package, version in versions.items()}
    assert {n: v for n, v in pinned(name).items() if versions.get(n, v) != v} == {}


def test_the_locks_are_whole() -> None:
    """They hold what is installed of what the runtime and training need; only PyTorch is left out."""
    licences = module("licences")
    listed = licences.listed()
    runtime = {name for name, install in listed.items() if install == "runtime"}
    serve = {name for name, install in listed.items() if install == "serve"}
    train = {name for name, install in listed.items() if install == "train"} - {"torch", "triton"}
    train = {name for name in train if not name.startswith(("nvidia-", "cuda-"))}
    assert "numpy" in runtime and runtime <= set(pinned("requirements-runtime.lock"))
    assert "uvicorn" in serve and runtime | serve <= set(pinned("requirements-serve.lock"))
    assert "safetensors" in train and runtime | train <= set(pinned("requirements-train.lock"))


def test_the_licence_of_everything_installed_is_listed() -> None:
    licences = module("licences")
    page = licences.PAGE.read_text("utf-8")
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", page, re.MULTILINE))
    # What an extra of another machine brings is not here; what is here must be on the page.
    listed = {name for name in licences.listed() if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert listed - set(rows) == set()
    assert [name for name, licence in rows.items() if re.search(r"not stated|(?<!L)GPL|AGPL|BSD $", licence)] == []
