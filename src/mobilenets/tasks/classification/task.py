"""Classification: each picture belongs to one class, that of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError
from mobilenets.measure.metric import TOP1
from mobilenets.measure.metrics import Evaluation
from mobilenets.pictures.augment.mixing import blend
from mobilenets.runtime.answers import Classes, log_softmax
from mobilenets.tasks.base import Comparison, Floats, LossSettings
from mobilenets.tasks.base import Evaluation as AnyEvaluation
from mobilenets.tasks.classification.gate import Verdict, check_tolerance, judge

if TYPE_CHECKING:
    from torch import Tensor, nn

# At which ``divergence`` compares.
TEMPERATURE = 4.0


class Classification:
    """Targets are shares of the classes, N×classes, and the network gives logits; see ``Task``."""

    name = "classification"
    metric = TOP1
    answers = Classes()
    has_device_code = True

    def outputs(self, classes: Sequence[str]) -> int:
        """Count the logits: one a class."""
        return len(classes)

    def annotated(self, samples: Sequence[Sample], root: Path) -> tuple[Sample, ...]:
        """Return the samples as they are: the class folder says it all."""
        return tuple(samples)

    def targets(self, samples: Sequence[Sample], outputs: int) -> Floats:
        """Give each picture's share of each class: 1 for its own."""
        shares = np.zeros((len(samples), outputs), np.float32)
        shares[np.arange(len(samples)), [sample.label for sample in samples]] = 1.0
        return shares

    def mix(self, first: Floats, second: Floats, share: float) -> Floats:
        """Blend the shares."""
        return blend(first, second, share)

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Build the cross-entropy.

        With ``balance`` "weights" a class weighs 1 / pictures, so scaled that a training picture weighs 1 on average.
        """
        import torch

        weights = None
        if settings.balance == "weights":
            counts = np.bincount([sample.label for sample in samples], minlength=outputs)
            shares = np.where(counts > 0, len(samples) / ((counts > 0).sum() * np.maximum(counts, 1)), 0.0)
            weights = torch.tensor(shares, dtype=torch.float32)
        return torch.nn.CrossEntropyLoss(weights, label_smoothing=settings.label_smoothing)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Count as ``top1`` the pictures whose target's largest class has the largest logit."""
        return {"top1": int((outputs.argmax(1) == targets.argmax(1)).sum())}

    def evaluation(
        self, classes: Sequence[str], images: Sequence[str], samples: Sequence[Sample], outputs: Floats
    ) -> Evaluation:
        """Compare logits with the class folders."""
        labels = np.array([sample.label for sample in samples], np.int64)
        return Evaluation(tuple(classes), tuple(images), labels, outputs)

    def tolerance(self, asked: float | None, precision: str) -> float:
        """Return the points of top-1 that may be lost."""
        return check_tolerance(asked, precision)

    def compare(self, comparison: Comparison) -> Verdict:
        """Compare top-1 and probabilities."""
        return judge(comparison)

    def divergence(self, wanted: Floats, given: Floats, scores: bool) -> tuple[float, float]:
        """Give the mean Kullback-Leibler divergence of softened probabilities from float's, in nats.

        Training pictures are known too surely for their probabilities to tell quantizers apart: they are softened, as
        in distillation (Hinton et al. 2015, arXiv 1503.02531, section 2).
        """
        both = (wanted.astype(np.float64), given.astype(np.float64))
        ours, theirs = (log_softmax((np.log(np.maximum(one, 1e-30)) if scores else one) / TEMPERATURE) for one in both)
        divergence = float((np.exp(ours) * (ours - theirs)).sum(axis=1).mean())
        return divergence, float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())


def classified(evaluation: AnyEvaluation) -> Evaluation:
    """Return a classifier's evaluation as what it is; raises ``InputError`` for that of another task."""
    if not isinstance(evaluation, Evaluation):
        raise InputError("this needs a model that tells classes apart, and the model was trained for another task")
    return evaluation
