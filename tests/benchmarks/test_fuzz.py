"""The fuzzer: its seeds are good files, it keeps what goes wrong, and some of its changes are tried each time."""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mobilenets.pictures import decode

FOLDER = Path(__file__).parents[2] / "benchmarks"
# The others start a process or a server, or load PyTorch.
SLOW = {"torch", "torch-pickle", "hdf5", "http"}


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(decode, "MAX_PIXELS", decode.MAX_PIXELS)  # put back afterwards
    return importlib.import_module("fuzzing.targets").TARGETS


@pytest.fixture
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", FOLDER / "fuzz.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_changed_files_of_every_kind(targets: Any) -> None:
    changed = importlib.import_module("fuzzing.seeds").changed
    draw = random.Random(0)
    for name, target in targets.items():
        if name in SLOW:
            continue
        check, seeds = target.check(), target.seeds()
        for seed in seeds:
            check(seed)
        for _ in range(20):
            check(changed(draw, draw.choice(seeds), draw.choice(seeds)))


def test_what_goes_wrong_is_kept_once_a_kind(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: bytes) -> None:
        if data == b"slow":
            sum(range(300_000))
        if data.startswith(b"bad"):
            raise KeyError(data)

    recorder = fuzz.Recorder(check, tmp_path / "state-0.json")
    monkeypatch.setattr(fuzz, "SLOW", 1e9)
    for data in (b"good", b"bad 1", b"bad 2"):
        recorder(data)
    assert [file.read_bytes() for file in tmp_path.glob("finding-*.bin")] == [b"bad 1"]
    monkeypatch.setattr(fuzz, "SLOW", 1e-9)
    recorder(b"slow")
    recorder.write()
    assert len(list(tmp_path.glob("finding-*.txt"))) == 2
    assert json.loads((tmp_path / "state-0.json").read_text())["inputs"] == 4
