"""The interface between the training loop and what makes its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from mobilenets.datasets.loader import Batch
from mobilenets.models.network import Network


class Stepper(Protocol):
    """Makes the steps of one stage, and owns all that they change.

    These are the network, its moving average and the optimiser, with precision and device. The loop owns the plan of
    batches, so a stepper that makes the same step from the same batches resumes exactly.
    """

    @property
    def network(self) -> Network:
        """The network in training."""

    @property
    def result(self) -> Network:
        """What training gives so far: the moving average where there is one, else ``network``; not to be changed."""

    def step(self, group: Sequence[Batch], number: int, rate: float) -> dict[str, float]:
        """Make one step of the optimiser, at the learning rate ``rate``, by the mean loss over the pictures of a group.

        ``number`` is the step's place in the run, from 0: all that is drawn at random follows from it and the seed.
        Returns the sums over the pictures of ``loss`` and of the task's other measures. Where ``loss`` is not finite,
        the weights may be spoilt.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, by name; the network's tensors begin with ``network.``."""

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what ``state_dict`` gave; raises ``KeyError`` or ``RuntimeError`` for tensors that do not fit."""
