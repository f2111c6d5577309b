"""How good a network in training is on pictures that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mobilenets.datasets.loader import Batches
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.tasks.base import Evaluation, Task
from mobilenets.tasks.evaluate import evaluate_loader
from mobilenets.training.norms import free_norms, with_measured_norms


@dataclass(frozen=True)
class Validation:
    """Measures networks of one stage.

    ``pictures`` are measured on, and named relative to ``root``; from ``train`` BatchNorm takes its statistics.
    ``start`` counts the blocks that lie behind what both hold.
    """

    pictures: Batches
    train: Batches
    task: Task
    classes: Sequence[str]
    root: Path
    seed: int
    device: torch.device
    start: int = 0

    def with_norms(self, network: Network, trained: nn.Module) -> Network:
        """Return a copy of ``network`` with BatchNorm measured anew in the layers that train in ``trained``."""
        return with_measured_norms(network, free_norms(trained), self.train, self.seed, self.device, self.start)

    def measure(self, network: Network) -> Evaluation:
        """Evaluate on the pictures; raises ``FaultFound`` where the network's output is not finite."""
        engine = NetworkEngine(network, self.device, self.start)
        return evaluate_loader(self.task, engine, self.pictures, self.classes, self.root)
