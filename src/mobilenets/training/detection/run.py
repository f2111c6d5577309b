"""The training of a detector: its steps, and the loop that makes them."""

from __future__ import annotations

from pathlib import Path

import torch

from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.models.detection.detector import Detector
from mobilenets.tasks.base import Task
from mobilenets.tasks.detection.loss import DetectionLoss
from mobilenets.training.checkpoint import State
from mobilenets.training.detection.validation import BoxValidation
from mobilenets.training.loop import Training
from mobilenets.training.pace import Pace
from mobilenets.training.run import pays
from mobilenets.training.stages import Stage
from mobilenets.training.start import frozen_parts
from mobilenets.training.steppers.plain import PlainStepper, precision_of


def fit_boxes(
    network: Detector,
    stage: Stage,
    task: Task,
    train: BoxLoader,
    measuring: BoxValidation,
    run: Path,
    *,
    measure_before: bool,
    began: float,
    pace: Pace | None = None,
) -> tuple[State, float]:
    """Train, from the run's checkpoint if it has one; returns as ``mobilenets.training.run.fit`` does."""
    stage = stage if pace is None else pace.enter(0)
    stepper = build_box_stepper(network, stage, task, measuring.device)
    training = Training(stepper, stage, train, measuring, run, measure_before, began, pace)
    state = training.fit()
    return state, training.began


def build_box_stepper(network: Detector, stage: Stage, task: Task, device: torch.device) -> PlainStepper:
    """Build what makes the steps: in float32 on a CPU, where a long run pays for it, with our kernels for the body."""
    loss, frozen = DetectionLoss(network.detection), frozen_parts(network, stage.recipe.freeze)
    fused = device.type == "cpu" and precision_of(stage.recipe.precision, device) is None
    if fused and pays(network, stage):
        # Only here, for it needs Numba.
        from mobilenets.training.steppers.detector import FusedBoxStepper

        return FusedBoxStepper(network, stage, task, loss, device, frozen)
    return PlainStepper(network, stage, task, loss, device, frozen)
