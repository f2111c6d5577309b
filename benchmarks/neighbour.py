"""Training beside another busy program: our step and plain PyTorch's, on a quiet machine and on a busy one.

    python benchmarks/neighbour.py [--model mobilenet_v2] [--size 128] [--batch 16] [--threads 2] [--rounds 5]

The busy program is one endless loop at the lowest priority. Plain PyTorch is as one writes it: channels_last, and
nothing told to OpenMP or the C library. Each has a process of its own; they take turns, so that what else the machine
does meets all alike. Prints a table in Markdown: pictures a second of wall time, the median over the rounds, and the
ratio of busy to our own quiet speed. Ours should keep at least 0.45.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

from beside import busy
from report import arguments, heads, load, row

POLICY = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_TUNABLES")


def work(way: str, options: argparse.Namespace) -> None:
    """Be a process that trains for so many seconds whenever it is asked."""
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

    from mobilenets.bench.latency import answer_questions, bursts

    torch.set_num_threads(options.threads)
    for _ in range(3):
        step()
    answer_questions(lambda: ({}, lambda _, seconds: bursts(step, seconds)))


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Give pictures a second of each way, quiet and busy, for each round."""
    from mobilenets.bench.latency import Subject, figures

    kept = {name: value for name, value in os.environ.items() if not name.startswith(POLICY)}
    ways: dict[str, Subject] = {}
    found: dict[tuple[str, str], list[float]] = {}
    try:
        for way in ("ours", "plain"):
            ways[way] = Subject([sys.executable, str(Path(__file__).resolve()), "--be", way, *sys.argv[1:]], kept)
        for number in range(options.rounds):
            for state in ("quiet", "busy"):
                with busy(state == "busy"):
                    for way in sorted(ways, reverse=bool(number % 2)):
                        ms = ways[way].ask(options.batch, options.seconds)["ms"]
                        found.setdefault((way, state), []).append(figures(ms, options.batch)["images_per_second"])
    finally:
        for process in ways.values():
            process.close()
    return found


def main() -> None:
    parser = arguments(__doc__)
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
    if load() > 0.5:
        print(f"this machine is busy already (load {load():.1f}), so nothing below is a quiet speed", file=sys.stderr)
    found = measure(options)
    quiet = statistics.median(found["ours", "quiet"])
    title = f"{options.model}, {options.size} pixels, batch {options.batch}, {options.threads} threads"
    print(heads(title, "pictures/s", "range", "of our quiet speed"))
    for (way, state), speeds in sorted(found.items(), reverse=True):
        middle = statistics.median(speeds)
        over = f"{min(speeds):.1f} to {max(speeds):.1f}"
        print(row(f"{way}, {state}", f"{middle:.1f}", over, f"{middle / quiet:.2f}"))
    return None


if __name__ == "__main__":
    main()
