"""How many threads training computes on, and whether it keeps its memory."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mobilenets.training import machine
from mobilenets.training.recipe import Recipe

verb = importlib.import_module("mobilenets.verbs.train")  # the package holds the verb under this name


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("loaded_with", "allowed", "wish", "expected"),
    [(3, 1, None, 1), (3, 2, None, 2), (2, 8, None, 2), (3, 1, 3, 3), (1, 8, 2, 2)],
)
def test_no_more_than_may_be_used(
    monkeypatch: pytest.MonkeyPatch, loaded_with: int, allowed: int, wish: int | None, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: allowed)
    torch.set_num_threads(loaded_with)
    with machine._threads(wish):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == loaded_with


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(machine, "cores", lambda: 1)
    torch.set_num_threads(3)
    with machine._threads(None):
        assert torch.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_narrowed_after_torch_was_loaded() -> None:
    script = (
        "import os, torch; torch.set_num_threads(2); os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        "from mobilenets.training.machine import _threads\n"
        "with _threads(None): print(torch.get_num_threads())"
    )
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_memory_is_kept_for_the_cpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def stop(wanted: bool) -> None:
        asked.append(wanted)
        raise KeyboardInterrupt

    settled = SimpleNamespace(recipe=Recipe(), record=None)
    monkeypatch.setattr(machine, "keeping_memory", stop)
    monkeypatch.setattr(verb, "settle", lambda _: settled)
    for device, expected in (("cpu", True), ("meta", False)):
        monkeypatch.setattr(verb, "pick_device", lambda _, device=device: torch.device(device))
        with pytest.raises(KeyboardInterrupt):
            verb.train(tmp_path, tmp_path / "run")
        assert asked.pop() is expected


@pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("cuda", True)])
def test_kernels_are_tried_on_a_gpu_alone(device: str, expected: bool) -> None:
    assert not torch.backends.cudnn.benchmark
    with machine._fastest_kernels(torch.device(device)):
        assert torch.backends.cudnn.benchmark is expected
    assert not torch.backends.cudnn.benchmark
