"""Finished models, each measured in processes of their own, by runtime, threads and batch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.base.files import write_text
from mobilenets.base.progress import progress
from mobilenets.bench import latency
from mobilenets.bench.latency import ROUNDS, Subject, Unusable, in_turns, measure
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import WEIGHTS, find_bundle, read_bundle
from mobilenets.runtime.engines import RUNTIMES, present

TORCH = "torch"
CHILD = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("mobilenets.bench.child", run_name="__main__")
"""


@dataclass(frozen=True)
class Trial:
    """A model to measure in a runtime, on a number of threads."""

    model: Path
    runtime: str
    threads: int

    def start(self) -> Subject:
        """Start its process; raises ``Unusable`` for a model that cannot be measured."""
        # Where Python finds the package in this process, it must find it in that one.
        home = str(Path(__file__).parents[2])
        words = [str(self.model), self.runtime, str(self.threads)]
        return Subject([sys.executable, "-P", "-c", CHILD, home, *words])


def measure_trials(trials: Sequence[Trial], batches: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Measure every trial at every batch size for ``seconds``; gives a row each, the objects of ``benchmark --json``.

    Raises ``InputError`` for a model that cannot be measured.
    """
    turns = len(trials) * len(batches) * (ROUNDS + 1)
    with progress("measuring", turns, "turns") as shown, _all(trials) as subjects:
        for trial, subject in zip(trials, subjects, strict=True):
            subject.about["bytes"] = _bytes(trial.model)
        return measure(subjects, batches, seconds, shown.advance)


def milliseconds_of(models: Sequence[Path], threads: int, seconds: float) -> list[float]:
    """Time exports, or ONNX files alone, in ONNX Runtime, in turns: the median for one picture, in milliseconds.

    Each in a process of its own: in one that has trained, MobileNetV2 at 64 pixels took 10 to 40 % longer than in a
    new one, and its pruned networks 2 to 6 %, so that half of the time was not half.
    """
    with _all([Trial(model, "onnxruntime", threads) for model in models]) as subjects:
        turns = [partial(_milliseconds, subject) for subject in subjects]
        return [float(np.median(times)) for times in in_turns(turns, seconds)]


def _milliseconds(subject: Subject, seconds: float) -> list[float]:
    found: list[float] = subject.ask(1, seconds)["ms"]
    return found


@contextmanager
def _all(trials: Sequence[Trial]) -> Iterator[list[Subject]]:
    """Start the processes, one after the other, so that no load time is that of several at once."""
    with ExitStack() as running:
        subjects = []
        try:
            for trial in trials:
                subjects.append(trial.start())
                running.callback(subjects[-1].close)
            yield subjects
        except Unusable as error:
            raise InputError(str(error)) from error


def runtimes_of(model: Path, wishes: Sequence[str] | None) -> list[str]:
    """Name the runtimes to measure a model in, of those wished for or else of those installed."""
    exported = read_bundle(find_bundle(model)).export
    known = [TORCH] if exported is None else list(RUNTIMES.get(exported.format, {}))
    if wishes is None:
        return [TORCH] if exported is None else present(exported.format) or known[:1]
    every = {TORCH, *(name for names in RUNTIMES.values() for name in names)}
    for wish in wishes:
        if wish not in every:
            raise InputError(f"runtime {wish!r}: choose {', '.join(sorted(every))}")
    chosen = [name for name in known if name in wishes]
    if not chosen:
        form = "a run folder" if exported is None else exported.format
        raise InputError(f"{model}: {form} runs in {' or '.join(known)}, not in {', '.join(wishes)}")
    return chosen


def _bytes(model: Path) -> int:
    folder = find_bundle(model)
    exported = read_bundle(folder).export
    names = [WEIGHTS] if exported is None else list(exported.sha256)
    return sum((folder / name).stat().st_size for name in names)


def write_device_script(path: str | Path) -> Path:
    """Write one Python file that measures exported files the same way on another device, without mobilenets.

    There it needs NumPy and onnxruntime, or ai-edge-litert for .tflite: ``python FILE.py model.onnx``. Raises
    ``InputError`` where the name is not that of a Python file, or something else stands there.
    """
    target = Path(path)
    if target.suffix != ".py":
        raise InputError(f"{target}: give a file that ends in .py")
    script = inspect.getsource(latency)
    if target.exists() and not (target.is_file() and target.read_bytes() == script.encode()):
        raise InputError(f"{target} already exists: give another name")
    write_text(target, script)
    return target
