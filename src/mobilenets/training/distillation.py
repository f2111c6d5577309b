"""Distillation: a network learns from what a trained one, the teacher, says of each view, beside or without a label.

Soft targets are the teacher's logits at a temperature, mixed with the hard labels: Hinton, Vinyals and Dean 2015,
arXiv:1503.02531, section 2. The teacher sees the very view that the student sees, blended pictures too ("consistent
teaching": Beyer et al. 2022, arXiv:2106.05237, section 3).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, softmax

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.loader import Loader, Teacher
from mobilenets.models.network import Network
from mobilenets.tasks.base import Floats, LossSettings, Task
from mobilenets.tasks.classification.task import Classification

UNLABELLED = -1
"""The label of a picture that has none."""


class SoftSettings(Protocol):
    """The settings of a recipe that soft targets follow."""

    @property
    def temperature(self) -> float:
        """What the logits of both are divided by."""

    @property
    def soft_share(self) -> float:
        """The share of the soft targets in the loss; the rest is that of the labels."""

    @property
    def soft_loss(self) -> str:
        """``kl`` or ``dist``."""

    @property
    def feature_weight(self) -> float:
        """What the cosine distance of the features is multiplied by; 0: they are not compared."""


class Distilled(Classification):
    """Classification with a teacher: targets are N×(2 classes + ``features``), the shares of the labels first.

    Those of a picture without a label are 0. The teacher's logits and features follow; the loader fills them in,
    because they depend on the view.
    """

    def __init__(self, settings: SoftSettings, features: int = 0) -> None:
        self._settings, self._features = settings, features

    def targets(self, samples: Sequence[Sample], outputs: int) -> Floats:
        """Give each picture's share of each class, and room for what the teacher says."""
        targets = np.zeros((len(samples), 2 * outputs + self._features), np.float32)
        known = [row for row, sample in enumerate(samples) if sample.label != UNLABELLED]
        targets[known, [samples[row].label for row in known]] = 1.0
        return targets

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Build the loss of both; label smoothing and class weights are for the labels alone."""
        hard = super().loss([sample for sample in samples if sample.label != UNLABELLED], outputs, settings)
        return DistillationLoss(hard, self._settings)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Count as ``top1`` the pictures where network and label agree; without a label, network and teacher."""
        classes = outputs.shape[1]
        shares, soft = targets[:, :classes], targets[:, classes : 2 * classes]
        wanted = torch.where(shares.sum(1) > 0, shares.argmax(1), soft.argmax(1))
        return {"top1": int((outputs.argmax(1) == wanted).sum())}


class DistillationLoss(nn.Module):
    """``(1 - soft_share) hard + soft_share T² soft``, the mean over a batch.

    ``hard`` is the cross-entropy of the labels, which a picture has a part in by as much of it as is labelled. ``soft``
    is the Kullback-Leibler divergence from the teacher's probabilities at temperature T, or with ``dist`` one minus
    the correlation of the probabilities, over the classes of each picture and over the pictures of each class: Huang
    et al. 2022, arXiv:2205.10536, equations 8 to 10. T² keeps the gradients as large at any temperature.

    Where targets have the teacher's features, ``feature_weight`` times the mean cosine distance from them is added: a
    hint (FitNets, arXiv:1412.6550, section 2.2) by the distance of DistilBERT (arXiv:1910.01108, section 3).
    """

    def __init__(self, hard: nn.Module, settings: SoftSettings) -> None:
        super().__init__()
        hard.reduction = "none"  # type: ignore[assignment]
        self._hard, self._share = hard, settings.soft_share
        self._temperature, self._kind = settings.temperature, settings.soft_loss
        self._feature_weight, self._features = settings.feature_weight, list[Tensor]()

    def watch(self, network: Network) -> None:
        """Have the features of ``network`` compared, which are what its classifier reads, before dropout."""
        own = weakref.ref(self)

        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            loss = own()
            if loss is not None and torch.is_grad_enabled():
                loss._features = [inputs[0]]

        if self._feature_weight:
            network.dropout.register_forward_pre_hook(see)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compare logits N×classes with targets as ``Distilled`` gives them."""
        classes, heat = logits.shape[1], self._temperature
        shares, teacher = targets[:, :classes], targets[:, classes : 2 * classes]
        labelled = shares.sum(1)
        hard = (self._hard(logits, shares / labelled.clamp_min(1e-6)[:, None]) * labelled).mean()
        if self._kind == "dist":
            given, wanted = softmax(logits / heat, 1), softmax(teacher / heat, 1)
            soft = _unlike(given, wanted) + _unlike(given.t(), wanted.t())
        else:
            logs = log_softmax(logits / heat, 1), log_softmax(teacher / heat, 1)
            soft = kl_div(*logs, reduction="batchmean", log_target=True)
        total: Tensor = (1 - self._share) * hard + self._share * heat**2 * soft
        if self._features:
            own = self._features.pop().float()
            total = total + self._feature_weight * (1 - cosine_similarity(own, targets[:, 2 * classes :])).mean()
        return total


def _unlike(given: Tensor, wanted: Tensor) -> Tensor:
    """Give one minus Pearson's correlation of the rows, on average."""
    one, other = given - given.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    found: Tensor = 1 - ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1) + 1e-8)).mean()
    return found


@dataclass(frozen=True, eq=False)
class Lesson:
    """What teaches beside the labels: a ``teacher``, and pictures that have no label, with their contents' hashes."""

    teacher: Teacher
    unlabelled: tuple[Sample, ...] = ()
    contents: Mapping[Path, str] = field(default_factory=dict)

    def of(self, train: Loader, settings: SoftSettings) -> Loader:
        """Give the training pictures, and those without a label after them, with what the teacher says of each view."""
        return replace(
            train,
            samples=(*train.samples, *self.unlabelled),
            task=Distilled(settings, self.teacher.features),
            teacher=self.teacher,
            contents={**train.contents, **self.contents} if train.contents else {},
        )


def taught(lesson: Lesson | None, task: Task, train: Loader, settings: SoftSettings) -> tuple[Task, Loader]:
    """Give task and training pictures with what teaches beside the labels, if anything does."""
    if lesson is None:
        return task, train
    return Distilled(settings, lesson.teacher.features), lesson.of(train, settings)
