"""The network as a device runs it: folded, and with what the options put inside; for converters that trace PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.exports.fold import fold
from mobilenets.models.rows import shrink

if TYPE_CHECKING:
    from mobilenets.exports.job import Job
    from mobilenets.models.network import Network


class Deployed(nn.Module):
    """A network with BatchNorm folded, perhaps with the preprocessing's numbers before it and a softmax after it.

    Takes N×S×S×3: uint8 pixels with ``options.pixels``, else float32 after the whole preprocessing. Gives N×classes:
    probabilities with ``options.probabilities``, else logits. The job's own network stays as it is. Raises
    ``InputError`` where network and preprocessing disagree about the size.
    """

    factor: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, job: Job) -> None:
        super().__init__()
        size, preprocessing = job.network.architecture.size, job.preprocessing
        if preprocessing.size != size:
            raise InputError(
                f"the network takes {size} pixels a side, but its preprocessing gives {preprocessing.size}"
            )
        self.network = fold(job.network)
        if isinstance(self.network.pool, nn.Sequential):
            self.network.pool = _Mean()
        else:
            self.network.pool = _Flat()
            _reorder(self.network)
        self.pixels, self.probabilities = job.options.pixels, job.options.probabilities
        self.register_buffer("factor", torch.tensor(preprocessing.scale))
        self.register_buffer("mean", torch.tensor(preprocessing.mean))
        self.register_buffer("deviation", torch.tensor(preprocessing.std))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Answer for a batch."""
        if self.pixels:
            # Step by step as Preprocessing.normalise does it, so that the roundings are the same.
            images = (images.float() * self.factor - self.mean) / self.deviation
        scores: Tensor = self.network(images.permute(0, 3, 1, 2))
        return scores.softmax(1) if self.probabilities else scores


class _Mean(nn.Module):
    """The mean over all places, in the one operator that every converter knows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True).flatten(1)


class _Flat(nn.Module):
    """The whole map as one vector, place by place: in a runtime that keeps channels last nothing has to move."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def _reorder(network: Network) -> None:
    """Bring the classifier's weights from the order of C×H×W into that of H×W×C."""
    classifier, side = network.classifier, network.architecture.size
    assert isinstance(classifier, nn.Linear)
    for row in network.architecture.table.body:
        side = shrink(side, row, network.architecture.table.padding)
    weight = classifier.weight.detach()
    weight = weight.reshape(len(weight), -1, side, side).permute(0, 2, 3, 1).flatten(1)
    classifier.weight = nn.Parameter(weight.contiguous(), requires_grad=False)


def sample(job: Job, batch: int) -> Tensor:
    """Give a batch of the kind that the deployed network takes, all zeros."""
    size = job.network.architecture.size
    return torch.zeros(batch, size, size, 3, dtype=torch.uint8 if job.options.pixels else torch.float32)
