"""How ``shrink`` ends."""

from __future__ import annotations

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
    search: Any = SimpleNamespace(saved=SimpleNamespace(network=None), threads=1, here_ms=1.0, device=device)
    monkeypatch.setattr(shrink_end, "onnx_bytes", lambda _: b"")
    monkeypatch.setattr(shrink_end, "times", lambda *_: [Timed(1.0, 0), Timed(3.0, 0)])
    [found] = shrink_end.timed_anew(search, [point], 0.1)
    assert (found.ms, found.estimated) == (7.0, False)
