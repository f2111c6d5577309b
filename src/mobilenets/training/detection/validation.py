"""How good a detector in training is on pictures that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from mobilenets.base.progress import progress
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import in_order
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.detections import Detections, decode
from mobilenets.tasks.base import Task
from mobilenets.tasks.detection.loss import DetectionLoss
from mobilenets.training.norms import free_norms, with_measured_norms

BATCH = 16


@dataclass(frozen=True)
class BoxValidation:
    """Measures detectors as ``Validation`` does classifiers; ``detection`` says how their outputs are read."""

    pictures: BoxLoader
    train: BoxLoader
    task: Task
    classes: Sequence[str]
    root: Path
    seed: int
    device: torch.device
    detection: Detection

    def with_norms(self, network: Network, trained: nn.Module) -> Network:
        """Return a copy of ``network`` with BatchNorm measured anew in the layers that train in ``trained``."""
        still = replace(self.train, augment=None)
        return with_measured_norms(network, free_norms(trained), still, self.seed, self.device)

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
