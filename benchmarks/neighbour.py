"""Training beside another busy program: our step and plain PyTorch's, on a quiet machine and on a busy one.

    python benchmarks/neighbour.py [--model mobilenet_v2] [--size 128] [--batch 16] [--threads 2] [--rounds 5]

The busy program is one endless loop at the lowest priority. Plain PyTorch is as one writes it: channels_last, and
nothing told to OpenMP or the C library. Each has a process of its own; they take turns, so that what else the machine
does meets all alike. Prints a table in Markdown: pictures a second of wall time, the median over the rounds, and the
ratio of busy to our own quiet speed. Ours should keep at least 0.45.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLICY = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_TUNABLES")
BUSY = "import os\nos.nice(19) if hasattr(os, 'nice') else None\nprint('busy', flush=True)\nwhile True: pass"


def work(way: str, options: argparse.Namespace) -> None:
    """Be a process that trains for so many seconds whenever a line says so, and answers with pictures a second."""
    from our_step import ours, plain

    if way == "ours":
        import mobilenets.base.memory as memory

        kept = memory.keeping_memory()
        kept.__enter__()
        step = ours(options.model, options.size, options.batch)
    else:
        import torch

        step = plain(options.model, options.size, options.batch)
    import torch

    torch.set_num_threads(options.threads)
    for _ in range(3):
        step()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        times: list[float] = []
        until = time.monotonic() + float(line)
        while not times or time.monotonic() < until:
            began = time.monotonic()
            step()
            times.append(time.monotonic() - began)
        print(json.dumps(options.batch * len(times) / sum(times)), flush=True)


def start(way: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(POLICY)}
    command = [sys.executable, str(Path(__file__).resolve()), "--be", way, *sys.argv[1:]]
    process = subprocess.Popen(command, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answer(process)
    return process


def answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"a process ended before it answered: {process.args}")
    return json.loads(line)


def ask(process: subprocess.Popen[str], seconds: float) -> float:
    assert process.stdin is not None
    print(seconds, file=process.stdin, flush=True)
    return float(answer(process))


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Give pictures a second of each way, quiet and busy, for each round."""
    ways = {}
    found: dict[tuple[str, str], list[float]] = {}
    try:
        for way in ("ours", "plain"):
            ways[way] = start(way)
        for number in range(options.rounds):
            for state in ("quiet", "busy"):
                other = None
                try:
                    if state == "busy":
                        other = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
                        assert other.stdout is not None
                        other.stdout.readline()
                    for way in sorted(ways, reverse=bool(number % 2)):
                        found.setdefault((way, state), []).append(ask(ways[way], options.seconds))
                finally:
                    if other is not None:
                        other.kill()
                        other.wait()
    finally:
        for process in ways.values():
            process.kill()
            process.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--be", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        return work(options.be, options)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        print(f"this machine is busy already (load {load:.1f}), so nothing below is a quiet speed", file=sys.stderr)
    found = measure(options)
    quiet = statistics.median(found["ours", "quiet"])
    title = f"{options.model}, {options.size} pixels, batch {options.batch}, {options.threads} threads"
    print(f"| {title} | pictures/s | range | of our quiet speed |\n| --- | --- | --- | --- |")
    for (way, state), speeds in sorted(found.items(), reverse=True):
        middle = statistics.median(speeds)
        print(f"| {way}, {state} | {middle:.1f} | {min(speeds):.1f} to {max(speeds):.1f} | {middle / quiet:.2f} |")
    return None


if __name__ == "__main__":
    main()
