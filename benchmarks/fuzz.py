"""Throw changed files at every parser of foreign bytes, guided by coverage.

    pip install atheris
    python benchmarks/fuzz.py --minutes 60 --out fuzz            # all targets, one after the other
    python benchmarks/fuzz.py --minutes 5 --out fuzz jpeg onnx   # some

Only an ``InputError`` may come out, within seconds and within bounded memory. Anything else is kept in
``OUT/TARGET/``: the bytes, and beside them what they led to. Each target runs in processes of its own; ``OUT/TARGET/
corpus`` is what a later run goes on from. Without Atheris the same targets get random changes of the seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import json
import multiprocessing
import os
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

SLOW = 3.0
"""Seconds of processor time from which an input is a finding."""
HANG = 20
LOADING = 300
"""Seconds that a process may take to load what it tests, and to end."""
MOST_PROCESSES = 5
MEMORY = 1500
"""MiB a process may take: Python, NumPy and the parsers' libraries are about 300 of them."""
GROWTH = 400
"""MiB by which one input may raise the peak."""


class Recorder:
    """Runs a target on inputs; keeps one input for each kind of fault."""

    def __init__(self, check: Callable[[bytes], None], state: Path) -> None:
        self.check, self.state, self.folder = check, state, state.parent
        self.inputs = 0
        self.slowest = 0.0
        self.known: set[str] = set()
        self._written = 0.0
        self._begun = time.monotonic()

    def begin(self) -> None:
        """Count the time from now on, behind what takes long to load."""
        self._begun = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        peak, begun = _peak(), time.process_time()
        try:
            self.check(data)
        except Exception as error:
            self._keep(data, _signature(error), "".join(traceback.format_exception(error)))
        seconds = time.process_time() - begun
        self.slowest = max(self.slowest, seconds)
        if seconds > SLOW:
            self._keep(data, "slow", f"{seconds:.1f} s")
        if self.inputs > 20 and _peak() - peak > GROWTH:
            self._keep(data, "memory", f"the peak rose from {peak} to {_peak()} MiB")
        self.inputs += 1
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        """Say how far it is; the process may end at any time."""
        self._written = time.monotonic()
        state = {
            "inputs": self.inputs,
            "seconds": round(self._written - self._begun),
            "slowest_seconds": round(self.slowest, 2),
            "peak_mib": _peak(),
        }
        self.state.write_text(json.dumps(state))

    def _keep(self, data: bytes, kind: str, words: str) -> None:
        if kind in self.known:
            return
        self.known.add(kind)
        name = hashlib.sha256(kind.encode()).hexdigest()[:12]
        (self.folder / f"finding-{name}.bin").write_bytes(data)
        (self.folder / f"finding-{name}.txt").write_text(f"{kind}\n\n{words}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _signature(error: BaseException) -> str:
    """Name a fault by its kind and the innermost line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/mobilenets/" in frame.filename] or list(frames)
    return f"{type(error).__name__} {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def load() -> dict[str, Any]:
    """Load what is tested, so that Atheris sees where its inputs lead."""
    sys.path.insert(0, str(Path(__file__).parent))
    with atheris.instrument_imports(include=["mobilenets", "PIL"]) if atheris else contextlib.nullcontext():
        from fuzzing import targets
    return targets.TARGETS


def run(target: Any, folder: Path, seconds: int, number: int) -> None:
    """Fuzz one target in this process, to its end."""
    sys.stdout.flush()
    with (folder / f"log-{number}.txt").open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    faulthandler.enable()
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    recorder, seeds = Recorder(target.check(), folder / f"state-{number}.json"), target.seeds()
    for seed in seeds:
        recorder(seed)
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    recorder.begin()
    if atheris is None:
        _without_coverage(recorder, seeds, seconds)
        return
    arguments = [
        *(sys.argv[0], f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", "-verbosity=0"),
        *(f"-max_len={target.longest}", f"-artifact_prefix={folder}/", "-len_control=0", str(corpus)),
    ]
    atheris.Setup(arguments, recorder)
    atheris.Fuzz()


def _without_coverage(recorder: Recorder, seeds: list[bytes], seconds: int) -> None:
    from fuzzing.seeds import changed

    draw, end = random.Random(time.time_ns()), time.monotonic() + seconds
    while time.monotonic() < end:
        recorder(changed(draw, draw.choice(seeds), draw.choice(seeds)))


def fuzz(name: str, target: Any, folder: Path, seconds: float) -> dict[str, object]:
    """Fuzz one target for so long, in as many processes as it takes; returns its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("state-*.json"):
        old.unlink()
    # One that ends early, on a crash or a hang, is followed by another.
    for number in range(MOST_PROCESSES):
        left = round(seconds) - sum(state["seconds"] for state in _states(folder))
        if left < 2:
            break
        process = multiprocessing.get_context("fork").Process(target=run, args=(target, folder, left, number))
        process.start()
        process.join(left + LOADING)
        process.kill()
    states = _states(folder)
    kept = [*folder.glob("finding-*.bin"), *folder.glob("timeout-*"), *folder.glob("oom-*"), *folder.glob("crash-*")]
    return {
        "target": name,
        "seconds": sum(state["seconds"] for state in states),
        "inputs": sum(state["inputs"] for state in states),
        "slowest_seconds": max((state["slowest_seconds"] for state in states), default=0),
        "peak_mib": max((state["peak_mib"] for state in states), default=0),
        "findings": len(kept),
    }


def _states(folder: Path) -> list[dict[str, float]]:
    return [json.loads(state.read_text()) for state in folder.glob("state-*.json")]


def main() -> int:
    """Fuzz, and print one line of JSON per target; the exit status is 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--minutes", type=float, default=60, help="for all of them together")
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    options = parser.parse_args()
    targets = load()
    chosen = options.targets or list(targets)
    if unknown := set(chosen) - set(targets):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(targets)}")
    found = 0
    for target in chosen:
        figures = fuzz(target, targets[target], options.out / target, 60 * options.minutes / len(chosen))
        found += int(bool(figures["findings"]))
        print(json.dumps(figures), flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
