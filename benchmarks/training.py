"""How fast a step of training is on a CPU: ours beside those of other frameworks, in turns.

    python benchmarks/training.py --case v2-224x16 v2-96x32 --threads 1 2 --out benchmarks/results/training.json

Every peer is a process of its own, in an environment of its own, with the same network (its parameters are counted),
the same batch of noise, AdamW, and a step that is forward, loss, backward, optimiser and reading the loss. All are
prepared first, then take turns in rounds of an order drawn anew, while the others wait for a line on standard input.
The rate of a turn is its pictures by its seconds; figures are medians over the rounds, ratios are those of medians. The
reference is PyTorch with channels_last as a user writes it: nothing is set for its memory or its threads but how many.
Peers whose environment is missing are named and left out (``--set-up`` makes them in ``.venv-bench``); so is one that
fails. One whose step takes longer than two turns takes part in the first round only.

``--busy`` measures every turn twice, once with another process at the lowest priority beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from beside import busy
from environments import HERE, MACHINE, PEERS, Peer, interpreter, set_up, variables
from floor import floor
from report import arguments, load
from training_report import table

from mobilenets.base.files import write_json
from mobilenets.base.free_memory import free_memory
from mobilenets.bench.latency import Subject, Unusable, describe_machine

sys.path.insert(0, str(HERE / "peers"))
from protocol import CLASSES, Case

# For OpenMP's threads to fall asleep after a turn.
PAUSE = 0.3


class Process(Subject):
    """A peer that waits to be asked; ``about`` is what it said of itself when ready."""

    def __init__(self, peer: Peer, python: Path, arguments: Sequence[str], threads: int, patience: float) -> None:
        self._patience = patience
        words = [*arguments, *peer.arguments, "--threads", str(threads)]
        super().__init__([str(python), str(HERE / "peers" / peer.file), *words], variables(peer, threads))

    def go(self, seconds: float) -> dict[str, Any]:
        """Let it make steps for so long."""
        return self.told(f"go {seconds}")

    def _answer(self) -> dict[str, Any]:
        timer = threading.Timer(self._patience, self._process.kill)
        timer.start()
        try:
            return super()._answer()
        except Unusable as error:
            if timer.is_alive():
                raise
            raise Unusable(f"no answer in {self._patience:.0f} s: {error}") from error
        finally:
            timer.cancel()


class Field:
    """The peers of one case on one number of threads, and what their turns gave."""

    def __init__(self, options: argparse.Namespace, case: str, threads: int, left_out: dict[str, str]) -> None:
        self.options, self.case, self.threads, self.left_out = options, case, threads, left_out
        self.held: dict[str, Process] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self.turns: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def run(self) -> list[dict[str, Any]]:
        """Take all turns; gives a row for each peer and condition."""
        try:
            self._prepare()
            for number in range(self.options.rounds):
                order = list(self.about)
                random.Random(number).shuffle(order)
                for name in order:
                    self._turn(name, number)
        finally:
            for process in self.held.values():
                process.close()
        return [self._row(name, condition, turns) for name, of in self.turns.items() for condition, turns in of.items()]

    def _prepare(self) -> None:
        for name in [*self.options.peers, *([] if self.options.no_floor else ["machine"])]:
            if name in self.left_out:
                continue
            say(f"{self.case}, threads {self.threads}: preparing {name}")
            with self._losing(name):
                process = self._start(name)
                self.about[name], self.turns[name] = process.about, {}
                room = free_memory()
                if self.options.fresh or (room is not None and room / 1e9 < self.options.reserve):
                    process.close()
                else:
                    self.held[name] = process

    def _start(self, name: str) -> Process:
        peer = MACHINE if name == "machine" else PEERS[name]
        python = interpreter(peer, dict(self.options.python))
        assert python is not None
        given = ["--case", self.case, "--optimizer", self.options.optimizer]
        return Process(peer, python, given, self.threads, self.options.patience)

    def _turn(self, name: str, number: int) -> None:
        seconds = self.options.seconds
        if number and self.about[name].get("step_seconds", 0) > 2 * seconds:
            return
        conditions = ("quiet", "busy") if self.options.busy and name != "machine" else ("quiet",)
        with self._losing(name):
            process = self.held[name] if name in self.held else self._start(name)
            try:
                for condition in conditions:
                    time.sleep(PAUSE)
                    with busy(condition == "busy"):
                        self.turns[name].setdefault(condition, []).append(process.go(seconds))
            finally:
                if name not in self.held:
                    process.close()

    @contextlib.contextmanager
    def _losing(self, name: str) -> Iterator[None]:
        """Go on without a peer that fails, and say so."""
        try:
            yield
        except Unusable as reason:
            say(f"left out: {name} ({self.case}, threads {self.threads}): {reason}")
            self.left_out[f"{name} {self.case} {self.threads}"] = str(reason)
            self.about.pop(name, None)
            self.turns.pop(name, None)
            if name in self.held:
                self.held.pop(name).close()

    def _row(self, name: str, condition: str, turns: list[dict[str, Any]]) -> dict[str, Any]:
        rates = [turn["pictures_per_second"] for turn in turns]
        pictures = Case.parse(self.case).batch * sum(turn["steps"] for turn in turns)
        row = {
            "case": self.case,
            "threads": self.threads,
            "peer": name,
            "condition": condition,
            "pictures_per_second": median(rates),
            "step_seconds": median(second for turn in turns for second in turn["step_seconds"]),
            "rates": rates,
            "steps": sum(turn["steps"] for turn in turns),
            "cpu_seconds_per_picture": sum(turn["cpu_seconds"] for turn in turns) / pictures,
            "waiting_cpu_seconds": max(turn["waiting_cpu_seconds"] for turn in turns),
            "peak_rss_mb": max(turn["peak_rss_mb"] for turn in turns),
            "held": name in self.held,
            "about": self.about[name],
        }
        if name == "machine":
            for figure in ("bytes_per_second", "operations_per_second"):
                row[figure] = median(turn[figure] for turn in turns)
        return row


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def add_floor(rows: list[dict[str, Any]], optimizer: str) -> list[dict[str, Any]]:
    """Take the machine's rows out, and give the floor of each case and number of threads."""
    found = []
    for row in [row for row in rows if row["peer"] == "machine"]:
        case = Case.parse(row["case"])
        least = floor(case.network, case.size, case.batch, CLASSES, optimizer)
        traffic, products = least.seconds(row["bytes_per_second"], row["operations_per_second"])
        found.append(
            {
                **{name: row[name] for name in ("case", "threads", "bytes_per_second", "operations_per_second")},
                "bytes": least.bytes,
                "operations": least.operations,
                "parameters": least.parameters,
                "traffic_seconds": traffic,
                "products_seconds": products,
                "pictures_per_second": case.batch / (traffic + products),
            }
        )
    rows[:] = [row for row in rows if row["peer"] != "machine"]
    return found


def check_networks(rows: Sequence[dict[str, Any]], floors: Sequence[dict[str, Any]]) -> list[str]:
    """Say where a peer does not train the network that the table describes."""
    wanted = {row["case"]: row["parameters"] for row in floors}
    told = {(row["peer"], row["case"], row["about"]["parameters"]) for row in rows}
    return [
        f"{peer} has {count} parameters in {case}, and not {wanted[case]}: another network"
        for peer, case, count in sorted(told)
        if count != wanted.get(case, count)
    ]


def read_arguments() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--case", nargs="+", default=["v2-224x16", "v2-96x32"], help="such as v1-224x16 or v3-224x16")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (default: 4)")
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw")
    parser.add_argument("--busy", action="store_true", help="also with another process busy at nice 19")
    parser.add_argument("--fresh", action="store_true", help="start peers anew for each turn, to hold one at a time")
    parser.add_argument("--reserve", type=float, default=3.0, metavar="GB", help="memory to leave free (default: 3)")
    parser.add_argument("--patience", type=float, default=900.0, metavar="S", help="for one answer (default: 900)")
    parser.add_argument("--set-up", action="store_true", help="make the environments that are missing")
    parser.add_argument("--python", nargs="+", default=[], metavar="ENV=PATH", help="an environment's own interpreter")
    parser.add_argument("--no-floor", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON to write; training_report.py draws it")
    options = parser.parse_args()
    try:
        for case in options.case:
            Case.parse(case)
        options.python = [tuple(pair.split("=", 1)) for pair in options.python]
        if any(len(pair) != 2 for pair in options.python):
            raise ValueError("--python takes ENVIRONMENT=PATH, such as keras-tensorflow=/venvs/tf/bin/python")
        if min(*options.threads, options.rounds) < 1 or options.seconds <= 0:
            raise ValueError("threads, rounds and seconds must be above 0")
    except ValueError as error:
        parser.error(str(error))
    return options


def main() -> None:
    options = read_arguments()
    left_out: dict[str, str] = {}
    for environment in {PEERS[name].environment: None for name in options.peers} if options.set_up else {}:
        reason = set_up(environment)
        if reason:
            left_out |= {name: reason for name in options.peers if PEERS[name].environment == environment}
    given = dict(options.python)
    for name in options.peers:
        if name not in left_out and interpreter(PEERS[name], given) is None:
            left_out[name] = f"no environment .venv-bench/{PEERS[name].environment}; --set-up makes it"
    for name, reason in left_out.items():
        say(f"left out: {name}: {reason}")
    before, rows = load(), []
    for case in options.case:
        for threads in options.threads:
            rows += Field(options, case, threads, left_out).run()
    floors = add_floor(rows, options.optimizer)
    faults = check_networks(rows, floors)
    result = {
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "load_when_it_began": None if math.isnan(before) else before,
        "optimizer": options.optimizer,
        "rounds": options.rounds,
        "turn_seconds": options.seconds,
        "rows": rows,
        "floor": floors,
        "left_out": left_out,
        "faults": faults,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, result)
    print(table([result]))
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
