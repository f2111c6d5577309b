"""How ``shrink`` ends."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mobilenets.shrinking.candidates import INT8, Candidate
from mobilenets.shrinking.device import Device
from mobilenets.shrinking.front import Point
from mobilenets.shrinking.latency import Timed
from mobilenets.verbs import shrink_end


def test_what_the_run_taught_takes_on_a_device_what_its_network_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Candidate("anew", "mobilenet_v2", 0.5, 96, taught=True)
    about: dict[str, Any] = {"bytes": 1, "macs": 1, "choosing": "1", "reporting": "1", "seconds": 1.0, "folder": "x"}
    point = Point(one, INT8, rung=1, epochs=1, ms=9.0, estimated=True, **about)
    device = Device({("v2-0.5-96", INT8): 7.0}, {INT8: 2.0}, "v2-0.5-96-int8", 1)
    network = SimpleNamespace(network=None)
    search: Any = SimpleNamespace(saved=network, threads=1, here_ms=1.0, device=device, taken=[])
    monkeypatch.setattr(shrink_end, "onnx_bytes", lambda _: b"")
    monkeypatch.setattr(shrink_end, "times", lambda *_: [Timed(1.0, 0), Timed(3.0, 0)])
    [found] = shrink_end.timed_anew(search, [point], 0.1)
    assert (found.ms, found.estimated) == (7.0, False)
    assert search.taken == [1.0]


def test_a_busy_machine_and_other_threads_are_said() -> None:
    def said(taken: list[float], device: int | None = None) -> list[str]:
        there = None if device is None else SimpleNamespace(threads=device)
        search: Any = SimpleNamespace(taken=taken, device=there, threads=1)
        return shrink_end.doubts(search)

    assert said([2.0, 2.2]) == []
    assert "took 2 to 2.52 ms)" in said([2.52, 2.0, 2.1])[0]
    assert said([2.0, 4.0], device=1) == []
    assert said([2.0], device=4) == ["the device was timed on 4 threads, not on 1: those times count"]


def test_what_was_measured_is_what_is_delivered(tmp_path: Path) -> None:
    made, out = tmp_path / "work" / "int8-run-96", tmp_path / "out"
    (made / "use").mkdir(parents=True)
    for name in ("model.onnx", "model.json", "use/use.py"):
        (made / name).write_text(name)
    (made / "export.json").write_text(json.dumps({"file": str(made / "model.onnx"), "format": "onnx"}))
    found = shrink_end._delivered(made, out)
    assert found["file"] == str(out / "model.onnx") == json.loads((out / "export.json").read_text())["file"]
    assert (out / "use" / "use.py").read_text() == "use/use.py" and (made / "model.onnx").exists()
