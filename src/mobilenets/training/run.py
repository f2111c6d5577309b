"""A run from its first stage to its last: the features that each stage trains on, and its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mobilenets.datasets.loader import Batches, Loader
from mobilenets.kernels.compile import available, wished
from mobilenets.models.network import Network
from mobilenets.tasks.base import Task
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.features import FeatureLoader, TrunkOpener, cached_features, pooled_features
from mobilenets.training.loop import Judge, Training
from mobilenets.training.machine import computing_on
from mobilenets.training.pace import Pace
from mobilenets.training.processes import ALONE, Processes
from mobilenets.training.recipe import Recipe
from mobilenets.training.refused import INT8
from mobilenets.training.stages import Stage
from mobilenets.training.start import frozen_blocks, frozen_parts
from mobilenets.training.steppers.plain import PlainStepper, precision_of
from mobilenets.training.validation import Validation

# Kernels take about 30 s to prepare. A long run is one of two minutes or more at 25 billion multiply-accumulates a
# second, three times those of the forward pass for each picture.
LONG_RUN = 3e12
SHORT_MINUTES = 5
SENT_TOGETHER = 1 << 24  # numbers
# Weights times pictures of a step behind a frozen body up to which a second thread takes longer to wake than it saves.
SMALL_STEP = 10_000_000


def fit(
    network: Network,
    plan: Sequence[Stage],
    task: Task,
    train: Loader,
    validation: Loader,
    classes: tuple[str, ...],
    root: Path,
    run: Path,
    device: torch.device,
    *,
    measure_before: bool = False,
    began: float,
    opener: TrunkOpener | None = None,
    pace: Pace | None = None,
    judge: Judge | None = None,
    processes: Processes = ALONE,
) -> tuple[State, float]:
    """Train the stages of ``plan`` one after the other, from the run's checkpoint if it has one.

    Each begins with the weights that the one before it ended with. What the blocks that are frozen in all of them give
    is computed once: of each view of a picture there is one decode.

    ``network`` is trained in place, on ``device``. ``plan`` has the stages of the whole run, also those that the
    checkpoint has behind it. ``train`` is learned from, and ``validation`` chosen by; ``classes`` are the names of the
    class folders, and ``root`` is the folder of DATA, relative to which pictures are named. ``run`` is the folder to
    write. ``measure_before`` says that the network knows its task already, and competes as epoch 0. ``began`` is when
    the run was started, by ``time.monotonic``. ``pace`` moves the ends of the stages where the run has to end by some
    time; it has the same plan, with the moves that the checkpoint knows. ``opener`` is that of ``cached_features``,
    ``judge`` and ``processes`` are those of ``Training``.

    Returns how it went, and the moment up to which its ``total_seconds`` count. Raises as ``Training.fit``.
    """
    state = checkpoint.peek(run) if checkpoint.exists(run) else State()
    lower = frozen_blocks(network, plan[-1].recipe.freeze)
    shared = _shared_features(network, plan[-1].recipe, lower, (train, validation), device, opener, processes)
    for index in range(len(plan)):
        # Before each stage, because the one before it may have moved its end.
        plan = plan if pace is None else pace.plan
        if index >= len(plan) or (state.epoch >= plan[index].last and index + 1 < len(plan)):
            continue
        stage = plan[index] if pace is None else pace.enter(index)
        if stage.first > 0 and checkpoint.exists(run):
            checkpoint.restore_network(run, network)
        (taught, held), start = _batches(network, stage, (train, validation), shared, lower, device, opener, processes)
        stepper = build_stepper(network, stage, task, taught, device, start, processes)
        measuring = Validation(held, taught, task, classes, root, stage.recipe.seed, device, start, processes)
        if processes.count > 1:
            taught = replace(taught, share=processes.places)
        training = Training(stepper, stage, taught, measuring, run, measure_before, began, pace, judge, processes)
        with computing_on(1 if _is_small(network, stage, start, device) else None):
            state = training.fit()
        began = training.began
        if pace is not None and state.finished:
            break
    return state, began


def build_stepper(
    network: Network,
    stage: Stage,
    task: Task,
    train: Batches,
    device: torch.device,
    start: int,
    processes: Processes = ALONE,
) -> PlainStepper:
    """Build what makes the steps of a stage on the pictures of ``train``, behind ``start`` blocks.

    In float32 on a CPU they are made by our kernels where these can be used and a long run pays for preparing them,
    else by PyTorch alone, as always where int8 is trained for.
    """
    loss = task.loss(train.samples, train.outputs, stage.recipe)
    frozen = frozen_parts(network, stage.recipe.freeze)
    wish = stage.recipe.precision
    if device.type == "cpu" and wish != INT8 and precision_of(wish, device) is None and pays(network, stage, start):
        # Only here, for it needs Numba.
        from mobilenets.training.steppers.fused import FusedStepper

        return FusedStepper(network, stage, task, loss, device, frozen, start, processes)
    return PlainStepper(network, stage, task, loss, device, frozen, start, processes)


def _is_small(network: Network, stage: Stage, start: int, device: torch.device) -> bool:
    """Say whether the steps of a stage are best made by one thread: so the number of cores changes no bit of them."""
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return device.type == "cpu" and start == len(network.body) and weights * stage.recipe.batch < SMALL_STEP


def pays(network: Network, stage: Stage, start: int = 0) -> bool:
    """Say whether kernels are there and save more time than they take to prepare: by what the recipe asks for alone.

    So a run that goes on later decides the same. ``MOBILENETS_KERNELS=on`` takes them for any run.
    """
    return available() and (wished() or long_run(network, stage, start))


def long_run(network: Network, stage: Stage, start: int = 0) -> bool:
    """Say whether a stage behind ``start`` blocks is long enough for kernels to pay."""
    recipe = stage.recipe
    if recipe.minutes is not None and recipe.minutes < SHORT_MINUTES:
        return False
    macs = sum(part.macs for block in network.plan.blocks[start:] for part in block.operations)
    pictures = stage.steps_per_epoch * recipe.batch * recipe.accumulate
    return 3 * macs * pictures * (recipe.epochs or 1) > LONG_RUN


def _batches(
    network: Network,
    stage: Stage,
    pictures: tuple[Loader, Loader],
    shared: tuple[FeatureLoader, FeatureLoader] | None,
    lower: int,
    device: torch.device,
    opener: TrunkOpener | None,
    processes: Processes,
) -> tuple[tuple[Loader, Loader] | tuple[FeatureLoader, FeatureLoader], int]:
    """Give what a stage trains on and is measured on, and how many blocks lie behind it."""
    blocks = frozen_blocks(network, stage.recipe.freeze)
    if blocks > lower:
        found = (
            _shared_features(network, stage.recipe, blocks, pictures, device, opener, processes)
            if shared is None
            else pooled_features(shared, network, lower, device)
        )
    else:
        found = shared
    return (pictures, 0) if found is None else (found, blocks)


def _shared_features(
    network: Network,
    recipe: Recipe,
    blocks: int,
    pictures: tuple[Loader, Loader],
    device: torch.device,
    opener: TrunkOpener | None,
    processes: Processes,
) -> tuple[FeatureLoader, FeatureLoader] | None:
    """Give ``cached_features`` to all processes; the first alone computes them, and has their cache on the disk."""
    found = cached_features(network, recipe, blocks, *pictures, device, opener) if processes.first else None
    if processes.count == 1:
        return found
    processes.meet()  # which may take as long as it does
    told = json.dumps(None if found is None else [loader.values.shape for loader in found])
    shapes = json.loads(processes.send(told.encode()))
    if shapes is None:
        return None
    if found is None:
        empty = [
            FeatureLoader(loader.samples, loader.outputs, np.zeros(shape, np.float32), loader.task, recipe.seed)
            for loader, shape in zip(pictures, shapes, strict=True)
        ]
        found = empty[0], empty[1]
    for features in found:
        values = torch.from_numpy(features.values).view(-1)
        for at in range(0, len(values), SENT_TOGETHER):
            processes.add(values[at : at + SENT_TOGETHER])
    return found
