"""How long the training of a detector will take, from a few real steps on a copy of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.models.detection.detector import Detector
from mobilenets.models.engine import to_tensor
from mobilenets.pictures.stream import default_workers
from mobilenets.training.detection.run import build_box_stepper
from mobilenets.training.detection.validation import BoxValidation
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.norms import ENOUGH_STEPS, PICTURES
from mobilenets.training.stages import Stage

# After the first time, which also prepares kernels.
REPEATS, MEASURED = 3, 0.5
# Decoding a picture's boxes, and the end with its report; in seconds.
BOXES, FINISH = 0.01, 15.0


def estimate_boxes(network: Detector, stage: Stage, train: BoxLoader, measuring: BoxValidation) -> Forecast:
    """Forecast steps, the end of each epoch, and of the run; nothing that the run depends on is changed."""
    device, count = measuring.device, len(train.samples)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        chosen = [index % count for index in range(stage.recipe.batch)]
        batch = train.batch(chosen, 0, 0)
        decoding = _timed(lambda: train.batch(chosen, 0, 0), device) / min(train.workers or 99, default_workers())
        stepper = build_box_stepper(copy.deepcopy(network), stage, measuring.task, device)
        step = _timed(lambda: stepper.step([batch], stage.begin, stage.rate(stage.begin)), device)
        other = copy.deepcopy(network).to(device).eval()

        def ask() -> None:
            with torch.inference_mode():
                other(to_tensor(batch.images, device))

        asking = _timed(ask, device) / len(batch) + BOXES + decoding / len(batch)
    step = step + decoding if device.type == "cpu" else max(step, decoding)
    measured = len(measuring.pictures.samples)
    again = min(PICTURES, count) if stage.steps_per_epoch < ENOUGH_STEPS else 0
    close = (measured + again) * asking
    return Forecast((Part(0.0, step * stage.recipe.accumulate, close),), measured * asking + FINISH)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Time some work: the mean of a few times without the first."""
    times: list[float] = []
    while len(times) < 2 or (len(times) <= REPEATS and sum(times[1:]) < MEASURED):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return sum(times[1:]) / len(times[1:])
