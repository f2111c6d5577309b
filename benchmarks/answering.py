"""What answering about one picture costs, in a process of its own: a run, an export of it, and the run in PyTorch.

    python benchmarks/answering.py RUN EXPORT PICTURE [--times 7]

Prints a table in Markdown: seconds of processor time (user and system), the median and the range.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from report import arguments, heads, row

IN_TORCH = "import sys, mobilenets; print(mobilenets.Predictor(sys.argv[1], runtime='torch')(sys.argv[2]))"


def seconds(command: list[str]) -> float:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("run")
    parser.add_argument("export")
    parser.add_argument("picture")
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    predict = [sys.executable, "-m", "mobilenets", "predict"]
    ways = {
        "export": [*predict, options.export, options.picture],
        "run": [*predict, options.run, options.picture],
        "run, in PyTorch": [sys.executable, "-c", IN_TORCH, options.run, options.picture],
    }
    # In turns, so that what else the machine does meets all alike; the first turn fills the caches.
    turns = [{name: seconds(command) for name, command in ways.items()} for _ in range(options.times + 1)][1:]
    base = statistics.median(turn["export"] for turn in turns)
    print(heads("`predict` on one picture", "processor time", "range", "of the export's"))
    for name in ways:
        times = [turn[name] for turn in turns]
        middle = statistics.median(times)
        print(row(name, f"{middle:.2f} s", f"{min(times):.2f} to {max(times):.2f}", f"{middle / base:.2f}"))


if __name__ == "__main__":
    main()
