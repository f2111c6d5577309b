"""mobilenets: the stepper that ``mobilenets train`` would use on this machine, with its settings of the process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mobilenets  # noqa: F401 - before PyTorch: it decides how threads wait

# isort: split
import numpy as np
import torch
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, serve

from mobilenets.base.memory import keeping_memory
from mobilenets.bench.hardware import versions

sys.path.append(str(Path(__file__).resolve().parents[1]))
from our_step import stepping

NAMES = {"v1": "mobilenet_v1", "v2": "mobilenet_v2", "v3": "mobilenet_v3_large"}
KEEPING = keeping_memory()  # held to the end of the process


def prepare(options: argparse.Namespace) -> Prepared:
    KEEPING.__enter__()  # as training does
    torch.set_num_threads(options.threads)  # as --threads does
    images, labels = options.case.batch_of_noise()
    settings = {"optimizer": options.optimizer, "lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    name = NAMES[options.case.network]
    stepper, step = stepping(name, np.ascontiguousarray(images), labels, CLASSES, "cpu", **settings)
    about = {"stepper": type(stepper).__name__, "packages": versions()}
    parameters = sum(parameter.numel() for parameter in stepper.network.parameters())
    return Prepared(step, parameters, ("mobilenets", "torch", "numpy", "numba"), about)


if __name__ == "__main__":
    serve(prepare)
