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
import random
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

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

    check: Callable[[bytes], None]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        (self.folder / f"state-{sys.argv[-1]}.json").write_text(json.dumps(state))

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


def child(target: str, folder: Path, seconds: int) -> None:
    """Fuzz one target in this process."""
    sys.path.insert(0, str(Path(__file__).parent))
    faulthandler.enable()
    try:
        import atheris
    except ImportError:
        atheris = None
    recorder = Recorder(folder)
    # Also what is imported at its first use is instrumented.
    with atheris.instrument_imports(include=["mobilenets", "PIL"]) if atheris else contextlib.nullcontext():
        from fuzzing.targets import TARGETS

        made = TARGETS[target]
        seeds = made.seeds()
        recorder.check = made.check()
        for seed in seeds:
            recorder(seed)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    recorder.begin()
    if atheris is None:
        _without_coverage(recorder, seeds, seconds)
        return
    arguments = [
        *(sys.argv[0], f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", "-verbosity=0"),
        *(
            f"-max_len={made.longest}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=0",
            "-len_control=0",
            str(corpus),
        ),
    ]
    atheris.Setup(arguments, recorder)
    atheris.Fuzz()


def _without_coverage(recorder: Recorder, seeds: list[bytes], seconds: int) -> None:
    from fuzzing.seeds import changed

    draw, end = random.Random(time.time_ns()), time.monotonic() + seconds
    while time.monotonic() < end:
        recorder(changed(draw, draw.choice(seeds), draw.choice(seeds)))


def fuzz(target: str, folder: Path, seconds: float) -> dict[str, object]:
    """Fuzz one target for so long, in as many processes as it takes; returns its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("state-*.json"):
        old.unlink()
    # One that ends early, on a crash or a hang, is followed by another.
    for number in range(MOST_PROCESSES):
        left = round(seconds) - sum(state["seconds"] for state in _states(folder))
        if left < 2:
            break
        command = [
            sys.executable,
            __file__,
            "--child",
            target,
            "--out",
            str(folder),
            "--minutes",
            str(left),
            str(number),
        ]
        with (folder / f"log-{number}.txt").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=left + LOADING, check=False)
    states = _states(folder)
    kept = [*folder.glob("finding-*.bin"), *folder.glob("timeout-*"), *folder.glob("oom-*"), *folder.glob("crash-*")]
    return {
        "target": target,
        "seconds": sum(state["seconds"] for state in states),
        "inputs": sum(state["inputs"] for state in states),
        "slowest_seconds": max((state["slowest_seconds"] for state in states), default=0),
        "peak_mib": max((state["peak_mib"] for state in states), default=0),
        "processes": len(states),
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
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.out, int(options.minutes))
        return 0
    sys.path.insert(0, str(Path(__file__).parent))
    from fuzzing.targets import TARGETS

    chosen = options.targets or list(TARGETS)
    if unknown := set(chosen) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(TARGETS)}")
    found = 0
    for target in chosen:
        figures = fuzz(target, options.out / target, 60 * options.minutes / len(chosen))
        found += int(bool(figures["findings"]))
        print(json.dumps(figures), flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
