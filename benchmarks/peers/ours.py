"""mobilenets: the stepper that ``mobilenets train`` would use on this machine, with its settings of the process."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import mobilenets  # before PyTorch: it decides how threads wait

# isort: split
import numpy as np
import torch
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, serve

from mobilenets.base.memory import keeping_memory
from mobilenets.bench.hardware import versions
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.loader import Batch
from mobilenets.models.device import pick_device
from mobilenets.tasks.registry import find_task
from mobilenets.training.recipe import Recipe
from mobilenets.training.run import build_stepper
from mobilenets.training.stages import stages

NAMES = {"v1": "mobilenet_v1", "v2": "mobilenet_v2", "v3": "mobilenet_v3_large"}


@dataclass(frozen=True)
class Fixed:
    """The pictures as the stepper's loss sees them."""

    samples: tuple[Sample, ...]
    outputs: int


KEEPING = keeping_memory()  # held to the end of the process


def prepare(options: argparse.Namespace) -> Prepared:
    KEEPING.__enter__()  # as training does
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)  # as --threads does
    case, device = options.case, pick_device("cpu")
    name = NAMES[case.network]
    recipe = Recipe(
        model=name,
        size=case.size,
        batch=case.batch,
        epochs=1_000_000,
        head_epochs=0,
        freeze="none",
        weights="none",
        views=0,
        optimizer=options.optimizer,
        lr=LEARNING_RATE,
        head_lr=LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        label_smoothing=0.0,
        threads=options.threads,
    )
    network = mobilenets.create_model(name, CLASSES, size=case.size, variant="standard")
    images, labels = case.batch_of_noise()
    samples = tuple(Sample(Path(f"{place}.png"), int(label)) for place, label in enumerate(labels))
    task, [stage] = find_task("classification"), stages(recipe, case.batch)
    batch = Batch(np.ascontiguousarray(images), task.targets(samples, CLASSES))
    stepper = build_stepper(network, stage, task, Fixed(samples, CLASSES), device, 0)
    made = 0

    def step() -> float:
        nonlocal made
        made += 1
        return stepper.step([batch], made - 1, LEARNING_RATE)["loss"] / case.batch

    about = {"stepper": type(stepper).__name__, "packages": versions()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Prepared(step, parameters, ("mobilenets", "torch", "numpy", "numba"), about)


if __name__ == "__main__":
    serve(prepare)
