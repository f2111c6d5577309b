"""The network as a device runs it: folded, and with what the options put inside; for converters that trace PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.exports.formats.distance import Distance
from mobilenets.exports.graph.fold import fold
from mobilenets.exports.int8.qdq import Scheme
from mobilenets.exports.int8.search import find_scheme
from mobilenets.exports.int8.selection import Model, divided, select
from mobilenets.models.int8 import block_named
from mobilenets.models.operations import MeanPool
from mobilenets.runtime.engines import Array

if TYPE_CHECKING:
    from mobilenets.exports.job import Job
    from mobilenets.models.network import Network

# What a framework's own quantizer makes of a scheme, pictures to take ranges from, and pictures to answer for.
Candidates: TypeAlias = Callable[
    [Scheme, Array, Array], Iterable[tuple[dict[str, Any], Model, npt.NDArray[np.float32]]]
]


class Deployed(nn.Module):
    """A network with BatchNorm folded, perhaps with the preprocessing's numbers before it and a softmax after it.

    With ``scheme`` its weights and biases are the numbers of int8, see ``settle``. Takes N×S×S×3: uint8 pixels with
    ``options.pixels``, else float32 after the whole preprocessing. Gives N×classes: probabilities with
    ``options.probabilities``, else logits; and where the job has a ``space`` the distances, float32 N, after them. The
    job's own network stays as it is. Raises ``InputError`` where network and preprocessing disagree about the size.
    """

    factor: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, job: Job, scheme: Scheme | None = None) -> None:
        super().__init__()
        size, preprocessing = job.network.architecture.size, job.preprocessing
        if preprocessing.size != size:
            raise InputError(
                f"the network takes {size} pixels per side, but its preprocessing produces {preprocessing.size}"
            )
        self.network = fold(job.network)
        if scheme is not None:
            settle(self.network, scheme)
        space = job.space if self.network.plan.classifier is not None else None
        pool = self.network.plan.pool
        if pool and not isinstance(pool[0], MeanPool):
            self.network.pool = _Flat()
            order = _reorder(self.network)
            if space is not None:
                space = replace(space, centre=space.centre[order], axes=space.axes[order])
        self.distance = None if space is None else Distance(space, job.network.classes)
        self.pixels, self.probabilities = job.options.pixels, job.options.probabilities
        self.register_buffer("factor", torch.tensor(preprocessing.scale))
        self.register_buffer("mean", torch.tensor(preprocessing.mean))
        self.register_buffer("deviation", torch.tensor(preprocessing.std))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Answer for a batch."""
        if self.pixels:
            # Step by step as Preprocessing.normalise does it, so that the roundings are the same.
            images = (images.float() * self.factor - self.mean) / self.deviation
        # Called as a whole, because converters name tensors by the modules that were called.
        taken: list[Tensor] = []
        if self.distance is not None:
            watch = self.network.classifier.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        logits: Tensor = self.network(images.permute(0, 3, 1, 2))
        scores = logits.softmax(1) if self.probabilities else logits
        if self.distance is None:
            return scores
        watch.remove()
        return scores, self.distance(taken[0], logits)

    def answers(self, images: Array) -> npt.NDArray[np.float32]:
        """Answer for N pictures, each alone."""
        with torch.no_grad():
            found = [scores_of(self(torch.from_numpy(np.ascontiguousarray(image[None])))) for image in images]
        return np.asarray(torch.cat(found).numpy())


def scores_of(given: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Take the scores out of what a deployed network gave."""
    return given[0] if isinstance(given, tuple) else given


class _Flat(nn.Module):
    """The whole map as one vector, place by place: in a runtime that keeps channels last nothing has to move."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def _reorder(network: Network) -> npt.NDArray[np.int64]:
    """Bring the classifier's weights from the order of C×H×W into that of H×W×C, and return that order."""
    classifier = network.classifier
    assert isinstance(classifier, nn.Linear)
    channels, height, width = network.plan.maps.shape
    order = torch.arange(channels * height * width).reshape(channels, height, width).permute(1, 2, 0).flatten()
    classifier.weight = nn.Parameter(classifier.weight.detach()[:, order].contiguous(), requires_grad=False)
    return order.numpy()


def settle(network: Network, scheme: Scheme) -> None:
    """Give a folded network the weights and biases that a scheme for int8 has for them, as float32.

    Every channel's largest weight then is 127 steps, so a quantizer that takes its steps from that finds just these.
    """
    with torch.no_grad():
        for name, layer in network.named_modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            name = name.removesuffix(".conv")
            if block_named(name) in scheme.left:
                continue
            steps = torch.from_numpy(scheme.steps[f"{name}.weight"]).reshape(-1, *[1] * (layer.weight.dim() - 1))
            whole = (layer.weight / steps.clamp_min(1e-30)).round().clamp(-127, 127)
            layer.weight.copy_(whole * steps)
            if f"{name}.bias" in scheme.biases:
                assert layer.bias is not None
                layer.bias.copy_(torch.from_numpy(scheme.biases[f"{name}.bias"]))


def fed(job: Job, pictures: npt.NDArray[np.uint8]) -> Array:
    """Give pictures, uint8 N×S×S×3, as the deployed network takes them."""
    return pictures if job.options.pixels else job.preprocessing.normalise(pictures)


def quantized(job: Job, candidates: Candidates[Model]) -> tuple[Model, dict[str, Any]]:
    """Quantize by a framework's own tools: the candidate that is closest to float, and what was tried.

    Weights, biases and what stays in float are those found by this package's search; of the candidates see ``select``.
    """
    assert job.calibration is not None and len(job.calibration)
    scheme, searched = find_scheme(job)
    fitted, judged = (fed(job, pictures) for pictures in divided(job.calibration))
    made, tried = select(candidates(scheme, fitted, judged), Deployed(job).answers(judged), job)
    return made, {
        "weights": "int8, one scale per output channel",
        "activations": "int8, one scale per tensor",
        "pictures": len(job.calibration),
        "plan": searched["chosen"],
        **tried,
    }


def sample(job: Job, batch: int) -> Tensor:
    """Give a batch of the kind that the deployed network takes, all zeros."""
    size = job.network.architecture.size
    return torch.zeros(batch, size, size, 3, dtype=torch.uint8 if job.options.pixels else torch.float32)
