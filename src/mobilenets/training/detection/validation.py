"""How good a detector in training is on pictures that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mobilenets.base.progress import progress
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import in_order
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.detections import Detections, decode
from mobilenets.tasks.detection.loss import DetectionLoss
from mobilenets.training.validation import Validation

BATCH = 16


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
