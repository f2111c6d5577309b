"""The training of a detector: its steps, the loop that makes them, how it is measured, and how long that will take."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from mobilenets.base.progress import progress
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import in_order
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.models.detection.detector import Detector
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.pictures.stream import default_workers
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.detections import Detections, decode
from mobilenets.tasks.base import Task
from mobilenets.tasks.detection.loss import DetectionLoss
from mobilenets.training.checkpoint import State
from mobilenets.training.estimate import timed
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.loop import Training
from mobilenets.training.norms import ENOUGH_STEPS, PICTURES
from mobilenets.training.pace import Pace
from mobilenets.training.run import pays
from mobilenets.training.stages import Stage
from mobilenets.training.start import frozen_parts
from mobilenets.training.steppers.plain import PlainStepper, precision_of
from mobilenets.training.validation import Validation

BATCH = 16
# Decoding a picture's boxes, and the end with its report; in seconds.
BOXES, FINISH = 0.01, 15.0


@dataclass(frozen=True, kw_only=True)
class BoxValidation(Validation):
    """Measures detectors, by unaugmented pictures of ``train``; ``detection`` says how their outputs are read."""

    pictures: BoxLoader
    train: BoxLoader
    detection: Detection

    @torch.inference_mode()
    def measure(self, network: Network) -> DetectionEvaluation:
        """Evaluate on the pictures; raises ``FaultFound`` where the network's output is not finite."""
        pictures, samples = self.pictures, self.pictures.samples
        network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        judge, loss = DetectionLoss(self.detection).to(self.device), 0.0
        found: list[Detections] = []
        # Each picture's numbers become boxes at once: all together they would not fit into memory.
        with progress("evaluating", len(samples), "pictures") as shown:
            for batch in pictures.batches(in_order(len(samples), BATCH)):
                outputs = network(to_tensor(batch.images, self.device)).float()
                loss += float(judge(outputs, torch.from_numpy(batch.targets).to(self.device))) * len(batch)
                for one in outputs.cpu().numpy():
                    size = pictures.sizes[samples[len(found)].path]
                    found.append(decode(one, self.detection, *size, pictures.preprocessing))
                shown.advance(len(batch))
        names = tuple(relative(sample.path, self.root) for sample in samples)
        sizes = [pictures.sizes[sample.path] for sample in samples]
        truths = [sample.target for sample in samples]
        return DetectionEvaluation(tuple(self.classes), names, truths, found, sizes, loss / len(samples))


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
        from mobilenets.training.steppers.fused import FusedBoxStepper

        return FusedBoxStepper(network, stage, task, loss, device, frozen)
    return PlainStepper(network, stage, task, loss, device, frozen)


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
