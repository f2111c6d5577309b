"""How long a run will take, from a few real steps on a copy of the network: the run itself is not touched."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mobilenets.datasets.loader import Batch, Loader
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.pictures.stream import default_workers
from mobilenets.tasks.base import Task
from mobilenets.training.features import (
    COMPUTED_TOGETHER,
    Floats,
    TrunkOpener,
    open_trunk,
    shape_behind,
    still_to_compute,
)
from mobilenets.training.recipe import Recipe
from mobilenets.training.run import build_stepper
from mobilenets.training.stages import Stage
from mobilenets.training.start import frozen_blocks

# After the first time, which also prepares kernels, so many more or so many seconds; a long first time is taken as is.
REPEATS = 4
MEASURED = 0.4
LONG = 2.0
DECODED = 16  # pictures
REPORT = 6.0  # seconds for plots and report, as seen


def estimate(
    network: Network,
    run: Sequence[Stage],
    done: int,
    task: Task,
    train: Loader,
    validation: Loader,
    measured: int,
    device: torch.device,
    opener: TrunkOpener | None = None,
) -> float:
    """Estimate the seconds that a run takes: frozen blocks, steps, measuring after each epoch and at the end.

    ``done`` epochs lie behind it, and the final figures are taken on ``measured`` pictures. Nothing that the run
    depends on is changed: the steps are made on a copy of the network, and PyTorch's random state is put back.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        pictures, held_out = len(train.samples), len(validation.samples)
        sample = [index % pictures for index in range(min(DECODED, run[0].recipe.batch))]
        # Threads decode ahead, and share the cores with the network where it computes on them.
        decoding = _timed(lambda: train.batch(sample, 0, 0), device) / len(sample)
        decoding /= min(train.workers or default_workers(), default_workers())
        lower = frozen_blocks(network, run[-1].recipe.freeze)
        whole, full = _forward(network, len(network.body), 0, device), len(network.body)

        def frozen(blocks: int, recipe: Recipe) -> tuple[int | None, float]:
            """Count the outputs of frozen blocks that are to be computed, and give the seconds that they take."""
            if blocks == 0:
                return None, 0.0
            trunk, in_torch = open_trunk(network, blocks, device, opener)
            count = still_to_compute(network, recipe, blocks, train, validation, in_torch)
            images = _made_up(network, COMPUTED_TOGETHER, 0)
            each = _timed(lambda: trunk(images), device) / COMPUTED_TOGETHER if count else 0.0
            if not in_torch:  # as many at once as there are threads that decode
                each /= min(train.workers or default_workers(), default_workers())
            return count, (count or 0) * _together(decoding, each, device)

        missing, computing = frozen(lower, run[-1].recipe)
        seconds = REPORT + measured * _together(decoding, whole, device)
        seconds += computing
        for stage in run:
            left = stage.last - max(stage.first, done)
            if left <= 0:
                continue
            blocks = frozen_blocks(network, stage.recipe.freeze)
            cached = missing
            if blocks > lower and missing is None:
                cached, computing = frozen(blocks, stage.recipe)
                seconds += computing
            elif blocks > lower:
                views = 1 if train.augment is None else stage.recipe.views
                seconds += (pictures * views + held_out) * max(0.0, whole - _forward(network, lower, 0, device))
            start = blocks if cached is not None else 0
            step = _step(network, stage, task, train, start, device)
            forward = _forward(network, full, start, device)
            if start == 0:
                step, forward = _together(decoding, step, device), _together(decoding, forward, device)
            share = (stage.end - stage.begin) / ((stage.last - stage.first) * stage.steps_per_epoch)
            seconds += left * (share * pictures * step + held_out * forward)
        return seconds


def _together(decoding: float, computing: float, device: torch.device) -> float:
    """Give the seconds per picture where both go on at once: on a CPU they share the cores."""
    return decoding + computing if device.type == "cpu" else max(decoding, computing)


def _forward(network: Network, blocks: int, start: int, device: torch.device) -> float:
    """Time the blocks after ``start`` up to ``blocks`` on a batch, in evaluation mode; seconds per picture."""
    if start >= blocks:
        start = len(network.body)
    batch = to_tensor(_made_up(network, COMPUTED_TOGETHER, start), device)
    training = network.training
    network.eval()

    def once() -> None:
        with torch.inference_mode():
            _ = network(batch, start) if blocks == len(network.body) else network.trunk(batch, blocks, start)

    seconds = _timed(once, device) / COMPUTED_TOGETHER
    network.train(training)
    return seconds


def _step(network: Network, stage: Stage, task: Task, train: Loader, start: int, device: torch.device) -> float:
    """Time one step of training on a copy; seconds per picture."""
    stepper = build_stepper(copy.deepcopy(network), stage, task, train, device, start)
    some = train.samples[: stage.recipe.batch]
    batch = Batch(_made_up(network, len(some), start), task.targets(some, network.classes))
    return _timed(lambda: stepper.step([batch], stage.begin, stage.rate(stage.begin)), device) / len(some)


def _made_up(network: Network, count: int, start: int) -> Floats:
    """Make a batch of noise of the shape that ``start`` blocks give, N×H×W×C."""
    return np.random.default_rng(0).standard_normal((count, *shape_behind(network, start)), np.float32)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Time some work: the mean of a few times, without the first unless it was long."""
    times: list[float] = []
    while not times or (times[0] < LONG and len(times) <= REPEATS and sum(times[1:]) < MEASURED):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    later = times[1:] or times
    return sum(later) / len(later)


def about(seconds: float) -> str:
    """Say a time that is only roughly known: ``about 40 s``, ``about 4 min``, ``about 2 h``."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {math.ceil(2 * seconds / 3600) / 2:g} h"
