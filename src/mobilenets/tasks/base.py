"""What a task is: the one thing that knows what a label means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.datasets.folder import Sample

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats: TypeAlias = npt.NDArray[np.float32]


class LossSettings(Protocol):
    """The settings of a recipe that a loss may follow."""

    @property
    def label_smoothing(self) -> float:
        """The share of each target that is spread over all classes."""

    @property
    def balance(self) -> str:
        """``weights`` where classes of uneven size are to weigh the same."""


class Task(Protocol):
    """What is learned of a picture."""

    def targets(self, samples: Sequence[Sample], outputs: int) -> Floats:
        """Return what the loss compares the outputs for these samples with, N×…."""

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Build the loss of training on ``samples``: from outputs and targets, N×…, to their mean."""

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Sum up over a batch what is shown while training beside the loss, by name."""
