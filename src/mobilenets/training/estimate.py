"""How long a run will take, from a few real steps on a copy of the network: the run itself is not touched."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch

from mobilenets.datasets.loader import Batch, Loader
from mobilenets.errors import InputError
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.pictures.stream import default_workers
from mobilenets.runtime.engines import TOGETHER
from mobilenets.tasks.base import Task
from mobilenets.training import checkpoint
from mobilenets.training.features import (
    COMPUTED_TOGETHER,
    Floats,
    TrunkOpener,
    open_trunk,
    shape_behind,
    still_to_ask,
    still_to_compute,
)
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.norms import ENOUGH_STEPS, PICTURES, free_norms
from mobilenets.training.recipe import Recipe
from mobilenets.training.run import build_stepper
from mobilenets.training.stages import Stage
from mobilenets.training.start import frozen_blocks
from mobilenets.training.steppers.plain import PlainStepper

# After the first time, which also prepares kernels, so many more or so many seconds.
REPEATS = 4
MEASURED = 0.4
DECODED = 16  # pictures
# What the end takes, counted in small plots: curves, diagrams and page; a hundred cells of a confusion matrix, which is
# drawn three times; and the explained mistakes. The graph of the model is written and read back within GRAPH seconds.
PLOTS, PLOTS_PER_100_CELLS, MOST_CELLS = 11.0, 2.7, 1600
GRAPH = 0.3
MISTAKES = 24
PLOT = 0.12  # seconds, where none was timed
# Seconds a picture, and besides for each class, for the linear classifiers of features.
PROBING, PROBING_CLASS = 3e-4, 6e-6


@dataclass(frozen=True)
class Ending:
    """What follows the last epoch: ``asked`` pictures go through the network once more; plots, a small one in ``plot``.

    The labels of ``looked_at`` pictures are looked at, by their features.
    """

    asked: int
    classes: int
    plot: float = PLOT
    looked_at: int = 0

    def seconds(self, picture: float, known: bool = False) -> float:
        """Give the time of it all, where a picture takes so long to measure; ``known``: its features lie in a cache."""
        cells = min(MOST_CELLS, self.classes**2)
        plots = PLOTS + PLOTS_PER_100_CELLS * cells / 100
        pictures = (not known) * self.asked + 2 * min(MISTAKES, self.asked)
        probing = self.looked_at * (PROBING + PROBING_CLASS * self.classes)
        return GRAPH + plots * self.plot + pictures * picture + probing


def estimate(
    network: Network,
    run: Sequence[Stage],
    done: int,
    task: Task,
    train: Loader,
    validation: Loader,
    ending: Ending,
    device: torch.device,
    opener: TrunkOpener | None = None,
) -> Forecast:
    """Forecast what a run takes: frozen blocks, steps, the end of each epoch, and of the run.

    Of stages that lie before epoch ``done`` nothing is measured. Nothing that the run depends on is changed: the steps
    are made on a copy of the network, and PyTorch's random state is put back.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        probe = _Probe(network, task, train, validation, device, opener)
        decoding, lower = probe.decoding(run[0].recipe.batch), frozen_blocks(network, run[-1].recipe.freeze)
        missing, computing = probe.frozen(lower, run[-1].recipe, decoding)
        # Only what is trained before some block asks the body anew.
        known = missing is not None and lower == len(network.body)
        whole = 0.0 if known else probe.forward(len(network.body), 0)
        parts = []
        for stage in run:
            prepare, computing = computing, 0.0
            if stage.last <= done:
                parts.append(Part(prepare, 0.0, 0.0))
                continue
            blocks, cached = frozen_blocks(network, stage.recipe.freeze), missing
            if blocks > lower and missing is None:
                cached, seconds = probe.frozen(blocks, stage.recipe, decoding)
                prepare += seconds
            elif blocks > lower:
                views = 1 if train.augment is None else stage.recipe.views
                count = len(train.samples) * views + len(validation.samples)
                prepare += count * max(0.0, whole - probe.forward(lower, 0))
            parts.append(probe.part(stage, blocks if cached is not None else 0, prepare, decoding))
        return Forecast(tuple(parts), ending.seconds(_together(decoding, whole, device), known))


class _Probe:
    """Times what a run is made of; seconds per picture where nothing else is said."""

    def __init__(
        self,
        network: Network,
        task: Task,
        train: Loader,
        validation: Loader,
        device: torch.device,
        opener: TrunkOpener | None,
    ) -> None:
        self._network, self._task, self._device, self._opener = network, task, device, opener
        self._train, self._validation = train, validation
        self.forward = cache(self._forward)

    def decoding(self, batch: int) -> float:
        """Time the decoding of pictures of a batch."""
        train = replace(self._train, teacher=None)
        sample = [index % len(train.samples) for index in range(min(DECODED, batch))]
        seconds = timed(lambda: train.batch(sample, 0, 0), self._device) / len(sample)
        # Threads decode ahead, and share the cores with the network where it computes on them.
        return seconds / self._at_once

    @property
    def _at_once(self) -> int:
        return min(self._train.workers or default_workers(), default_workers())

    @cached_property
    def asking(self) -> float:
        """Time the teacher, who is asked on the threads that decode; 0 where there is none."""
        teacher, contract = self._train.teacher, self._train.preprocessing
        if teacher is None:
            return 0.0
        images = np.zeros((COMPUTED_TOGETHER, contract.size, contract.size, 3), np.float32)
        return timed(lambda: teacher(images, contract), self._device) / COMPUTED_TOGETHER / self._at_once

    def frozen(self, blocks: int, recipe: Recipe, decoding: float) -> tuple[int | None, float]:
        """Count the outputs of frozen blocks that are to be computed, and give the seconds that they take in all."""
        if blocks == 0:
            return None, 0.0
        trunk, in_torch = open_trunk(self._network, blocks, self._device, self._opener)
        count = still_to_compute(self._network, recipe, blocks, self._train, self._validation, in_torch)
        images = _made_up(self._network, COMPUTED_TOGETHER if in_torch else TOGETHER, 0)
        each = timed(lambda: trunk(images), self._device) / len(images) if count else 0.0
        if not in_torch:  # as many at once as there are threads that decode
            each /= self._at_once
        seconds = (count or 0) * _together(decoding, each, self._device)
        if count is not None and self._train.teacher is not None:
            seconds += still_to_ask(recipe, self._train) * (decoding + self.asking)
        return count, seconds

    def part(self, stage: Stage, start: int, prepare: float, decoding: float) -> Part:
        """Time the steps of a stage behind ``start`` blocks, and what ends each of its epochs."""
        network = copy.deepcopy(self._network)
        stepper = build_stepper(network, stage, self._task, self._train, self._device, start)
        step, forward = self._step(stepper, stage, start), self.forward(len(network.body), start)
        if start == 0:
            step, forward = (_together(decoding, seconds, self._device) for seconds in (step, forward))
            step += self.asking
        count = len(self._validation.samples)
        if stage.steps_per_epoch < ENOUGH_STEPS and free_norms(network):
            count += min(PICTURES, len(self._train.samples))
        pictures = len(self._train.samples) / stage.steps_per_epoch
        return Part(prepare, pictures * step, count * forward + _saving(stepper))

    def _forward(self, blocks: int, start: int) -> float:
        """Time the blocks after ``start`` up to ``blocks`` on a batch, in evaluation mode."""
        network = self._network
        if start >= blocks:
            start = len(network.body)
        batch = to_tensor(_made_up(network, COMPUTED_TOGETHER, start), self._device)
        training = network.training
        network.eval()

        def once() -> None:
            with torch.inference_mode():
                _ = network(batch, start) if blocks == len(network.body) else network.trunk(batch, blocks, start)

        seconds = timed(once, self._device) / COMPUTED_TOGETHER
        network.train(training)
        return seconds

    def _step(self, stepper: PlainStepper, stage: Stage, start: int) -> float:
        some = self._train.samples[: stage.recipe.batch]
        batch = Batch(_made_up(self._network, len(some), start), self._task.targets(some, self._network.classes))
        return timed(lambda: stepper.step([batch], stage.begin, stage.rate(stage.begin)), self._device) / len(some)


def _saving(stepper: PlainStepper) -> float:
    """Time the writing of a checkpoint; in seconds."""
    began = time.perf_counter()
    # The run is written elsewhere: where no temporary file can be, it is no less possible.
    with suppress(OSError, InputError), tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), checkpoint.State(), stepper.state_dict())
    return time.perf_counter() - began


def _together(decoding: float, computing: float, device: torch.device) -> float:
    """Give the seconds per picture where both go on at once: on a CPU they share the cores."""
    return decoding + computing if device.type == "cpu" else max(decoding, computing)


def _made_up(network: Network, count: int, start: int) -> Floats:
    """Make a batch of noise of the shape that ``start`` blocks give, N×H×W×C."""
    return np.random.default_rng(0).standard_normal((count, *shape_behind(network, start)), np.float32)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Time some work: the mean of a few times without the first, which may have to prepare kernels."""
    times: list[float] = []
    while len(times) < 2 or (len(times) <= REPEATS and sum(times[1:]) < MEASURED):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - began)
    return sum(times[1:]) / len(times[1:])
