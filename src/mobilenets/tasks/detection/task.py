"""Detection: boxes around things in a picture, each of one class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError
from mobilenets.measure.detection import AP, DetectionEvaluation
from mobilenets.runtime.answers import log_softmax
from mobilenets.runtime.bundle import DETECTION
from mobilenets.runtime.found import Found
from mobilenets.tasks.base import Comparison, Floats, LossSettings
from mobilenets.tasks.detection.gate import BoxVerdict, check_tolerance, judge

if TYPE_CHECKING:
    from torch import Tensor, nn

# What an anchor counts that float takes for background: a quantizer must not find things there either.
BACKGROUND = 1e-3


class BoxTask:
    """Targets are padded boxes N×M×6, and the network gives N × anchors × (4 + 1 + classes); see ``Task``.

    Which anchors there are stands in each model, so that its loss is built where the model is: ``DetectionLoss``.
    """

    name = DETECTION
    metric = AP
    answers = Found()
    has_device_code = True

    def outputs(self, classes: Sequence[str]) -> int:
        """Count the classes: the network adds its background."""
        return len(classes)

    def annotated(self, samples: Sequence[Sample], root: Path) -> tuple[Sample, ...]:
        """Return the samples as they are: the annotations were read with them."""
        return tuple(samples)

    def targets(self, samples: Sequence[Sample], outputs: int) -> Any:
        """Refuse: boxes follow what augmentation does, so a ``BoxLoader`` makes them."""
        raise TypeError("boxes come from a BoxLoader")

    def mix(self, first: Any, second: Any, share: float) -> Any:
        """Refuse: pictures with boxes are not blended."""
        raise InputError("mixup and cutmix blend whole pictures; with boxes use --augment mosaic")

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Refuse: the loss depends on a model's anchors."""
        raise TypeError("the loss of a detector is DetectionLoss, of its anchors")

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Sum up nothing beside the loss: average precision is of a whole set."""
        return {}

    def evaluation(
        self, classes: Sequence[str], images: Sequence[str], samples: Sequence[Sample], outputs: Any
    ) -> DetectionEvaluation:
        """Compare ``outputs``, a ``Detections`` for each picture, with the boxes."""
        return DetectionEvaluation(tuple(classes), tuple(images), [sample.target for sample in samples], outputs)

    def tolerance(self, asked: float | None, precision: str) -> float:
        """Return the points of AP that may be lost."""
        return check_tolerance(asked, precision)

    def compare(self, comparison: Comparison) -> BoxVerdict:
        """Compare AP, and box with box."""
        return judge(comparison)

    def divergence(self, wanted: Floats, given: Floats, scores: bool) -> tuple[float, float]:
        """Compare outputs, N×anchors×(4 + 1 + classes), with those of float.

        The distance is the Kullback-Leibler divergence of the columns, in nats, plus the mean difference of the codes,
        of the anchors in the mean, each weighing as much as float takes it for something. The same answer is a surest
        anchor of the same class.
        """
        distances, same = [], []
        for one, other in zip(wanted, given, strict=True):
            ours, theirs = log_softmax(one[:, 4:]), log_softmax(other[:, 4:])
            there = 1 - np.exp(ours[:, 0]) + BACKGROUND
            divergence = (np.exp(ours) * (ours - theirs)).sum(axis=1)
            moved = np.abs(one[:, :4] - other[:, :4]).mean(axis=1)
            distances.append(float((there * (divergence + moved)).sum() / there.sum()))
            same.append(_surest(ours) == _surest(theirs))
        return float(np.mean(distances)), float(np.mean(same))


def _surest(logarithms: npt.NDArray[np.float64]) -> int:
    return int(logarithms[:, 1:].argmax() % (logarithms.shape[1] - 1))
