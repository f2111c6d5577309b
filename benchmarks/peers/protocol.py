"""How a peer talks to the driver: it prepares, says so in a line of JSON, and then answers every line ``go SECONDS``.

Python and NumPy alone, so that it runs in any peer's environment. A waiting peer blocks on standard input. What a
framework prints goes to standard error. A step is what a training loop does with a batch: forward, loss, backward,
optimiser, and reading the loss. The first step of a turn is not counted, unless steps are slow.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 1000
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 0.05
# From so many seconds a step on, none is left uncounted but the very first.
SLOW = 2.0
NETWORKS = ("v1", "v2", "v3")


class Skipped(Exception):
    """This peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Case:
    """What is trained: ``v2-224x16`` is MobileNetV2 1.0 on pictures of 224 pixels, 16 a step; v3 is V3 large."""

    network: str
    size: int
    batch: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``NETWORK-SIZExBATCH``; raises ``ValueError`` for anything else."""
        network, _, shape = text.partition("-")
        size, _, batch = shape.partition("x")
        if network not in NETWORKS or not (size.isdecimal() and batch.isdecimal() and int(size) and int(batch)):
            raise ValueError(f"case {text!r}: give one like v2-224x16 (v1, v2 or v3, pixels, pictures a step)")
        return cls(network, int(size), int(batch))

    def batch_of_noise(self) -> tuple[Any, Any]:
        """Draw the batch that all peers train on: float32 N×H×W×3 and class numbers, N."""
        rng = np.random.default_rng(0)
        images = rng.standard_normal((self.batch, self.size, self.size, 3), np.float32)
        return images, rng.integers(0, CLASSES, self.batch)


@dataclass
class Prepared:
    """A peer that is ready: ``step`` makes one step and gives the loss; ``parameters`` counts what is learned."""

    step: Callable[[], float]
    parameters: int
    packages: tuple[str, ...]
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What a turn answers: the seconds of each counted step, and what else that peer measured."""

    seconds: list[float]
    cpu: float
    more: dict[str, Any] = field(default_factory=dict)


def options() -> argparse.Namespace:
    """Read the command line that the driver gives to every peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", type=Case.parse, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw")
    parser.add_argument("--layout", choices=("channels_last", "nchw"), default="channels_last")
    return parser.parse_args()


def serve(prepare: Callable[[argparse.Namespace], Prepared]) -> None:
    """Be a peer until standard input ends."""
    given = options()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(answer: dict[str, Any]) -> None:
            print(json.dumps(answer), file=out, flush=True)

        try:
            ready, pace = _get_ready(prepare, given)
        except Skipped as reason:
            say({"unusable": str(reason)})
            return
        say(ready.about)
        answer_turns(lambda seconds: steps(ready.step, seconds, pace), given.case.batch, say)


def _get_ready(prepare: Callable[[argparse.Namespace], Prepared], given: argparse.Namespace) -> tuple[Prepared, float]:
    start = time.perf_counter()
    ready = prepare(given)
    loss = ready.step()
    if not np.isfinite(loss):
        raise Skipped(f"the loss of its first step is {loss}")
    first = pace = time.perf_counter() - start
    if first < 120:
        # What is traced or compiled is so by now.
        start = time.perf_counter()
        ready.step()
        pace = time.perf_counter() - start
    ready.about |= {
        "first_step_seconds": round(first, 2),
        "step_seconds": pace,
        "loss": float(loss),
        "parameters": ready.parameters,
        "threads": given.threads,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in ready.packages}},
    }
    return ready, pace


def steps(step: Callable[[], float], seconds: float, pace: float) -> Turn:
    """Make steps for so long, at least one; where one takes less than ``SLOW``, one more before, not counted."""
    if pace < SLOW:
        step()
    times: list[float] = []
    cpu, begin = time.process_time(), time.perf_counter()
    now = begin
    while not times or now < begin + seconds:
        step()
        times.append(time.perf_counter() - now)
        now = time.perf_counter()
    return Turn(times, time.process_time() - cpu)


def answer_turns(take: Callable[[float], Turn], batch: int, say: Callable[[dict[str, Any]], None]) -> None:
    """Answer each ``go SECONDS``.

    ``cpu_seconds`` is the processor's time of the counted steps, all threads together; ``waiting_cpu_seconds`` what
    this process took between its turns, which ought to be nothing.
    """
    rested = time.process_time()
    for line in sys.stdin:
        word, _, seconds = line.partition(" ")
        if word != "go":
            break
        waiting = time.process_time() - rested
        turn = take(float(seconds))
        total = sum(turn.seconds)
        say(
            {
                "steps": len(turn.seconds),
                "seconds": total,
                "step_seconds": turn.seconds,
                "pictures_per_second": batch * len(turn.seconds) / total if total else None,
                "cpu_seconds": turn.cpu,
                "waiting_cpu_seconds": waiting,
                "peak_rss_mb": peak_mb(),
                **turn.more,
            }
        )
        rested = time.process_time()


def peak_mb() -> float:
    """Tell how much memory this process has held at most, in MB of 10⁶ bytes."""
    try:
        # Not ru_maxrss: Linux lets a process begin with the peak of the one that started it.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
