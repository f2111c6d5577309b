"""How good a network in training is on pictures that it does not learn from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import Batches, in_order
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.tasks.base import Evaluation, Task
from mobilenets.tasks.evaluate import VALIDATION_BATCH, evaluate_loader
from mobilenets.training.norms import free_norms, with_measured_norms
from mobilenets.training.processes import ALONE, Processes


@dataclass(frozen=True)
class Validation:
    """Measures networks of one stage.

    ``pictures`` are measured on, and named relative to ``root``; from ``train`` BatchNorm takes its statistics.
    ``start`` counts the blocks that lie behind what both hold. Of several ``processes`` each measures a share of the
    batches that one alone would, and all come to the same.
    """

    pictures: Batches
    train: Batches
    task: Task
    classes: Sequence[str]
    root: Path
    seed: int
    device: torch.device
    start: int = 0
    processes: Processes = ALONE

    def with_norms(self, network: Network, trained: nn.Module) -> Network:
        """Return a copy of ``network`` with BatchNorm measured anew in the layers that train in ``trained``."""
        free = free_norms(trained)
        if self.processes.first or not free:
            measured = with_measured_norms(network, free, self.train, self.seed, self.device, self.start)
        else:
            measured = copy.deepcopy(network).eval()
        if free:
            # Sorted: a set has another order in each process.
            self.processes.spread([b for name in sorted(free) for b in measured.get_submodule(name).buffers()])
        return measured

    def measure(self, network: Network) -> Evaluation:
        """Evaluate on the pictures; raises ``FaultFound`` where the network's output is not finite."""
        engine = NetworkEngine(network, self.device, self.start)
        if self.processes.count > 1:
            return self._measure_together(engine)
        return evaluate_loader(self.task, engine, self.pictures, self.classes, self.root)

    def _measure_together(self, engine: NetworkEngine) -> Evaluation:
        """Give what ``evaluate_loader`` does: the batches are the same, and each output is one process's own."""
        samples, processes = self.pictures.samples, self.processes
        outputs = np.zeros((len(samples), engine.network.classes), np.float32)
        own = in_order(len(samples), VALIDATION_BATCH)[processes.rank :: processes.count]
        with (
            closing(self.pictures.batches(own)) as batches,
            progress("evaluating", sum(map(len, own)), "pictures") as shown,
        ):
            for places, batch in zip(own, batches, strict=True):
                outputs[places] = engine(batch.images)
                shown.advance(len(places))
        processes.add(torch.from_numpy(outputs))
        processes.total({})  # whether any was asked to stop meanwhile
        images = [relative(sample.path, self.root) for sample in samples]
        return self.task.evaluation(tuple(self.classes), images, samples, outputs)
