"""How latency is measured: processes that wait to be asked, turns, and the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.bench import latency
from mobilenets.bench.latency import (
    ROUNDS,
    RUNS_FOR_P99,
    Subject,
    Unusable,
    _expanded,
    bursts,
    figures,
    in_turns,
    measure,
    noise,
    peak_mb,
    repeated,
)


def child(body: str) -> list[str]:
    source = str(Path(mobilenets.__file__).parents[1])
    start = f"import sys; sys.path.append({source!r})\nfrom mobilenets.bench.latency import *\n"
    return [sys.executable, "-c", start + body]


def test_a_process_that_dies_is_told() -> None:
    body = """
def burst(batch, seconds):
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)

answer_questions(lambda: ({}, burst))
"""
    subject = Subject(child(body))
    try:
        with pytest.raises(Unusable, match="ended with status 7: last words"):
            subject.ask(1, 0.1)
        with pytest.raises(Unusable, match="ended with status 7"):
            subject.ask(1, 0.1)
    finally:
        subject.close()


def test_the_memory_of_the_parent_does_not_count() -> None:
    ballast = np.ones(400 << 20, np.uint8)
    assert peak_mb() > 400
    subject = Subject(
        child("answer_questions(lambda: (print('noise of a runtime') or {}, lambda batch, seconds: [1.0]))")
    )
    try:
        assert subject.ask(1, 0.1)["peak_rss_mb"] < 200
    finally:
        subject.close()
    assert ballast.all()


class Clock:
    """A clock of its own; a run takes as long as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def run(self, seconds: float) -> Callable[[], None]:
        def once() -> None:
            self.now += seconds

        return once


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("mobilenets.bench.latency.time.perf_counter", lambda: made.now)
    return made


def test_bursts(clock: Clock) -> None:
    assert bursts(clock.run(0.25), 1.0) == pytest.approx([250.0] * 4)
    # Five runs in all: one was not counted. And a slow one is run all the same.
    assert clock.now == 1.25
    assert bursts(clock.run(9.0), 1.0) == [9000.0]


def test_layers_take_parts_of_the_microseconds_that_a_profile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole ones, with the first run among them, which takes longer."""
    events = [{"cat": "Session", "name": "model_run", "dur": 9}, {"cat": "Node", "name": "a_fence_before", "dur": 9}]
    for number in range(40):
        durations = {"a_nchwc": 2 + number % 2 if number else 5000, "b": 7}
        events += [{"cat": "Node", "name": f"{name}_kernel_time", "dur": ticks} for name, ticks in durations.items()]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(events))
    source = SimpleNamespace(name="images", type="tensor(float)", shape=[1, 2, 2, 3])
    session = SimpleNamespace(get_inputs=lambda: [source], run=lambda *_: None, end_profiling=lambda: str(profile))
    monkeypatch.setattr(latency, "session_of", lambda *_, **__: session)
    assert latency.layers(tmp_path, 1) == {"a": pytest.approx(0.0025, abs=1e-4), "b": pytest.approx(0.007)}
    profile.write_text(profile.read_text()[:-20])  # the disk was full
    with pytest.raises(ValueError, match="Unterminated"):
        latency.layers(tmp_path, 1)


def test_times_are_kept_where_those_of_layers_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> dict[str, float]:
        raise OSError("no space")

    row = {"model": "a.onnx", "batch": 1, "threads": 1, "runtime": "onnxruntime"}
    monkeypatch.setattr(latency, "layers", full)
    monkeypatch.setattr(latency, "measure", lambda *_: [dict(row)])
    monkeypatch.setattr(latency, "Subject", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(sys, "argv", ["bench.py", "a.onnx", "--batch", "1", "--layers"])
    assert latency.main() == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == [row]
    assert said.err.splitlines() == [
        "1 model to measure, at least 3 s",
        "a.onnx: its layers cannot be timed: no space; set TMPDIR to a folder with free space",
    ]


def test_turns_are_shared_and_their_order_drawn(clock: Clock) -> None:
    order: list[int] = []

    def subject(number: int) -> Callable[[float], list[float]]:
        def take(share: float) -> list[float]:
            order.append(number)
            assert share == 2.0 / ROUNDS
            return [float(number)]

        return take

    assert in_turns([subject(number) for number in range(3)], 2.0) == [[float(n)] * ROUNDS for n in range(3)]
    rounds = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len(set(rounds)) > 2


def test_smaller_batches_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        about = {"model": "m"}  # noqa: RUF012

        def __init__(self) -> None:
            self.asked: list[tuple[int, float]] = []

        def ask(self, batch: int, seconds: float) -> dict[str, Any]:
            self.asked.append((batch, seconds))
            return {"ms": [2.0 * batch], "peak_rss_mb": 100.0 + max(batch for batch, _ in self.asked)}

    fake, done = Fake(), []
    subject: Any = fake
    rows = measure([subject], [8, 1, 32, 8], 1.0, done.append)
    assert fake.asked[:3] == [(1, 0.0), (8, 0.0), (32, 0.0)]
    assert [(row["batch"], row["peak_rss_mb"], row["p50_ms"]) for row in rows] == [
        (1, 101.0, 2.0),
        (8, 108.0, 16.0),
        (32, 132.0, 64.0),
    ]
    assert {row["images_per_second"] for row in rows} == {500.0}
    assert sum(done) == 3 * (ROUNDS + 1)


def test_a_pattern_that_the_shell_left_stands_for_its_files(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.onnx", "b.onnx", "[c].onnx")]
    for file in files:
        Path(file).touch()
    assert _expanded([str(tmp_path / "?.onnx"), files[2], "none*.onnx"]) == [*files, "none*.onnx"]


def test_figures() -> None:
    few, many = figures([1.0, 2.0, 6.0], 3), figures([float(n) for n in range(1, RUNS_FOR_P99 + 1)], 1)
    assert (few["p50_ms"], few["p99_ms"], few["runs"]) == (2.0, None, 3)
    assert few["images_per_second"] == pytest.approx(1000.0)
    assert (many["p50_ms"], many["p95_ms"], many["p99_ms"]) == pytest.approx((50.5, 95.05, 99.01))


def test_a_file_of_a_fixed_batch_takes_several_runs() -> None:
    runs: list[int] = []
    repeated(lambda: runs.append(1), 5, 2)()
    assert len(runs) == 3
    repeated(lambda: runs.append(1), 5, None)()
    repeated(lambda: runs.append(1), 2, 2)()
    assert len(runs) == 5


def test_noise_is_what_the_file_takes() -> None:
    pixels, numbers = noise([2, 3, 4], np.uint8), noise([50, 100], np.float32)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (2, 3, 4))
    assert numbers.dtype == np.float32
    assert abs(float(numbers.mean())) < 0.05
    assert abs(float(numbers.std()) - 1) < 0.05
