"""Classification: each picture belongs to one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mobilenets.datasets.folder import Sample
from mobilenets.tasks.base import Floats, LossSettings

if TYPE_CHECKING:
    from torch import Tensor, nn


class Classification:
    """Targets are shares of the classes, the network gives logits; see ``Task``."""

    def targets(self, samples: Sequence[Sample], outputs: int) -> Floats:
        """Give each picture's share of each class, N×classes: 1 for its own."""
        shares = np.zeros((len(samples), outputs), np.float32)
        shares[np.arange(len(samples)), [sample.label for sample in samples]] = 1.0
        return shares

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Build the cross-entropy.

        Class weights are 1 / pictures, so scaled that a training picture weighs 1 on average.
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
