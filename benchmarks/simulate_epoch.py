"""An epoch of very many samples with the real planner, and without a picture: workers are lost, disks are slow.

    python benchmarks/simulate_epoch.py                       # 10⁹ samples, 10⁴ workers: a minute, 1.2 GB
    python benchmarks/simulate_epoch.py --samples 1e6 --batch 20000 --buffer 50 --shard 500 --checkpoint 10

What is real: the plan, that is which worker takes which sample at which step, also after a loss, when all go on from
the last checkpoint with one worker less. What is made up, by the settings: time. A step takes as long as the slowest
worker; a stretch of samples is read while the one before it is used; some disks are slow for good, and any may be
slow for once.

Prints a JSON object. Exit status 1 when a sample was not seen just once in the steps that count.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import report

from mobilenets.datasets.shards.plan import EpochPlan

# Up to so many parts (steps × workers) are asked for one by one, as training does; of more, those of a few steps.
EACH_PART = 1_000_000

History = list[tuple[int, int, int]]


class Disks:
    """How long each worker reads for a stretch: some are slow for good, and each time is drawn."""

    def __init__(self, plan: EpochPlan, workers: int, options: argparse.Namespace, rng: np.random.Generator) -> None:
        # Who takes parts of two lanes reads both.
        edges = np.arange(workers + 1) * plan.lanes
        lanes = -(-edges[1:] // workers) - edges[:-1] // workers
        self.read_factor = float(lanes.sum() / plan.lanes)
        slow = np.where(rng.random(workers) < options.slow_share, options.slow_factor, 1.0)
        self._seconds = lanes * plan.buffer * options.sample_kb * 1e3 / (options.disk_mb * 1e6) * slow
        self._rng, self._spread = rng, options.spread

    def slowest(self) -> float:
        times = self._seconds * self._rng.lognormal(0, self._spread, len(self._seconds))
        return float(times.max())


def go_through(plan: EpochPlan, options: argparse.Namespace) -> tuple[dict[str, Any], History]:
    """Return what the epoch took, in seconds, and with how many workers which steps were made that count."""
    rng = np.random.default_rng(options.seed)
    workers = options.workers
    losses = sorted(rng.integers(1, len(plan), options.lost).tolist(), reverse=True)
    waited = done_again = 0.0
    history: History = []
    begun = step = opened = 0
    disks, held = Disks(plan, workers, options, rng), -1
    coming = disks.slowest()
    while step < len(plan):
        stretch = plan.row(step) // plan.buffer
        if stretch != held:
            waited += max(0.0, coming - (step - opened) * options.step_seconds)
            coming, held, opened = disks.slowest(), stretch, step
        step += 1
        if losses and losses[-1] <= step:
            losses.pop()
            checkpoint = max(begun, step // options.checkpoint * options.checkpoint)
            history.append((workers, begun, checkpoint))
            done_again += (step - checkpoint) * options.step_seconds
            workers, begun, step, opened, held = workers - 1, checkpoint, checkpoint, checkpoint, -1
            disks = Disks(plan, workers, options, rng)
            coming = disks.slowest()
    history.append((workers, begun, step))
    hours = {
        "work": len(plan) * options.step_seconds,
        "waiting_for_disks": waited,
        "work_done_again": done_again,
        "restarts": options.lost * options.restart_seconds,
    }
    found = {f"{name}_hours": round(seconds / 3600, 3) for name, seconds in hours.items()}
    return found | {"workers_at_the_end": workers, "read_factor_at_the_end": round(disks.read_factor, 4)}, history


def seen_once(plan: EpochPlan, history: History) -> tuple[bool, str]:
    """Say whether the steps that count saw each sample once, and how that was looked at."""
    ends = [end for _, _, end in history]
    good = [begun for _, begun, _ in history] == [0, *ends[:-1]] and ends[-1] == len(plan)
    seen: npt.NDArray[np.bool_] = np.zeros(plan.samples, bool)
    if len(plan) * plan.lanes <= EACH_PART:
        count = 0
        for workers, begun, end in history:
            for step in range(begun, end):
                for rank in range(workers):
                    part = plan.part(step, rank, workers)
                    seen[part] = True
                    count += len(part)
        return bool(good and seen.all() and count == plan.samples), "every part of every step"
    # With the time of 10⁸ parts: lanes as a whole, which every part is cut from; and the steps beside the losses.
    count = 0
    for lane in range(plan.lanes):
        numbers = plan.rows(lane, 0, plan.samples)
        seen[numbers] = True
        count += len(numbers)
    good = bool(good and seen.all() and count == plan.samples)
    steps = [(workers, step) for workers, begun, end in history for step in (begun, end - 1) if begun < end]
    for workers, step in steps:
        parts = np.concatenate([plan.part(step, rank, workers) for rank in range(workers)])
        lanes = [plan.rows(lane, plan.row(step), plan.row(step + 1)) for lane in range(plan.lanes)]
        good = good and np.array_equal(parts, np.concatenate(lanes))
    return good, f"every lane, and every part of {len(steps)} steps"


def cost(counts: npt.NDArray[np.int64], options: argparse.Namespace) -> dict[str, Any]:
    """Measure what the plan costs one worker: memory, a start in the middle, a step."""
    tracemalloc.start()
    begun = time.process_time()
    plan = plan_of(counts, options)
    middle, worker = len(plan) // 2, options.workers // 2
    plan.part(middle, worker, options.workers)
    first = time.process_time() - begun
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    steps = range(middle, min(middle + 500, len(plan)))
    begun = time.process_time()
    for step in steps:
        plan.part(step, worker, options.workers)
    each = (time.process_time() - begun) / len(steps)
    return {
        "plan_of_one_worker_mb": round(most / 1e6, 1),
        "start_in_the_middle_ms": round(first * 1e3, 1),
        "step_ms": round(each * 1e3, 3),
        "a_permutation_mb": round(plan.samples * 8 / 1e6, 1),
    }


def plan_of(counts: npt.NDArray[np.int64], options: argparse.Namespace) -> EpochPlan:
    return EpochPlan(counts, options.batch, options.seed, epoch=0, buffer=options.buffer, lanes=options.workers)


def main(arguments: list[str] | None = None) -> int:
    parser = report.arguments(__doc__)
    add = parser.add_argument
    add("--samples", type=float, default=1e9)
    add("--workers", type=int, default=10_000)
    add("--shard", type=int, default=10_000, help="samples in a shard, on average")
    add("--batch", type=int, default=80_000, help="samples in a step, of all workers together")
    add("--buffer", type=int, default=4096, help="samples in a stretch of one worker")
    add("--lost", type=int, default=5, help="workers lost in the epoch")
    add("--checkpoint", type=int, default=500, help="steps between two checkpoints")
    add("--step-seconds", type=float, default=0.27, help="a step of 8 pictures at about 30 a second")
    add("--restart-seconds", type=float, default=120, help="until all have started again")
    add("--sample-kb", type=float, default=25)
    add("--disk-mb", type=float, default=20, help="MB a second that a worker reads")
    add("--slow-share", type=float, default=0.01, help="of the workers, how many read slowly for good")
    add("--slow-factor", type=float, default=4, help="so many times")
    add("--spread", type=float, default=0.3, help="sigma of the lognormal time of one stretch")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    # Shards as `pack` leaves them: as large in bytes, so of unequal counts.
    shards = max(1, round(options.samples / options.shard))
    uneven = np.random.default_rng(options.seed).uniform(0.5, 1.5, shards)
    counts = np.diff(np.round(np.cumsum(uneven) / uneven.sum() * options.samples).astype(np.int64), prepend=0)
    result: dict[str, Any] = {"samples": int(counts.sum()), "shards": shards, "workers": options.workers}
    result |= cost(counts, options)
    plan = plan_of(counts, options)
    found, history = go_through(plan, options)
    once, how = seen_once(plan, history)
    steps = [{"workers": workers, "from": begun, "to": end} for workers, begun, end in history]
    result |= {"steps": len(plan)} | found | {"each_sample_once": once, "looked_at": how, "history": steps}
    print(json.dumps(result, indent=1))
    return int(not once)


if __name__ == "__main__":
    sys.exit(main())
