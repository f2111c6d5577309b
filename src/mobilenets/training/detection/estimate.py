"""How long the training of a detector will take, from a few real steps on a copy of it."""

from __future__ import annotations

import copy

import torch

from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.models.detection.detector import Detector
from mobilenets.models.engine import to_tensor
from mobilenets.pictures.stream import default_workers
from mobilenets.training.detection.run import build_box_stepper
from mobilenets.training.detection.validation import BoxValidation
from mobilenets.training.estimate import timed
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.norms import ENOUGH_STEPS, PICTURES
from mobilenets.training.stages import Stage

# Decoding a picture's boxes, and the end with its report; in seconds.
BOXES, FINISH = 0.01, 15.0


def estimate_boxes(network: Detector, stage: Stage, train: BoxLoader, measuring: BoxValidation, final: int) -> Forecast:
    """Forecast steps, the end of each epoch, and of the run, where ``final`` pictures are measured.

    Nothing that the run depends on is changed.
    """
    device, count = measuring.device, len(train.samples)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        chosen = [index % count for index in range(stage.recipe.batch)]
        batch = train.batch(chosen, 0, 0)
        decoding = timed(lambda: train.batch(chosen, 0, 0), device) / min(train.workers or 99, default_workers())
        stepper = build_box_stepper(copy.deepcopy(network), stage, measuring.task, device)
        step = timed(lambda: stepper.step([batch], stage.begin, stage.rate(stage.begin)), device)
        other = copy.deepcopy(network).to(device).eval()

        def ask() -> None:
            with torch.inference_mode():
                other(to_tensor(batch.images, device))

        asking = timed(ask, device) / len(batch) + BOXES + decoding / len(batch)
    step = step + decoding if device.type == "cpu" else max(step, decoding)
    measured = len(measuring.pictures.samples)
    again = min(PICTURES, count) if stage.steps_per_epoch < ENOUGH_STEPS else 0
    close = (measured + again) * asking
    return Forecast((Part(0.0, step * stage.recipe.accumulate, close),), final * asking + FINISH)
