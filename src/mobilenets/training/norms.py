"""BatchNorm's statistics, measured on training pictures as a plain mean over batches.

While training, BatchNorm normalises by each batch and keeps a moving average of its mean and variance for later. In a
short run that average lags behind the weights: after 36 steps on easy pictures a network was right on 98 % of its
training batches, and on 33 % of the same pictures with the moving average.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.datasets.loader import Batches, Loader
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network

# 64 gave statistics as good as 512, and unaugmented pictures no worse ones than augmented: docs/measured/training.md.
PICTURES = 128
TOGETHER = 64
# With so many steps an epoch the moving average, which forgets within some tens of steps, is as good.
ENOUGH_STEPS = 500


def measure_norms(
    forward: Callable[[torch.Tensor], Any],
    norms: Sequence[nn.BatchNorm2d],
    pictures: Batches,
    seed: int,
    device: torch.device,
    most: int = PICTURES,
) -> None:
    """Replace the statistics of ``norms`` by those of up to ``most`` unaugmented pictures, chosen by ``seed``.

    ``forward`` runs a batch through them. Nothing else changes, and nothing is drawn from a global generator.
    Cached features are taken as they are. A single picture has no deviation: then nothing is measured.
    """
    if isinstance(pictures, Loader):
        pictures = replace(pictures, augment=None, mixup=0.0, cutmix=0.0, teacher=None)
    count = min(len(pictures.samples), most)
    chosen = np.random.default_rng((seed, 5)).permutation(len(pictures.samples))[:count]
    plan = [part.tolist() for part in np.array_split(chosen, -(-count // TOGETHER)) if len(part) > 1]
    if not plan:
        return
    former = [(norm.momentum, norm.training, int(norm.num_batches_tracked or 0)) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    with torch.inference_mode():
        for batch in pictures.batches(plan):
            forward(to_tensor(batch.images, device))
    for norm, (momentum, training, tracked) in zip(norms, former, strict=True):
        norm.momentum = momentum
        norm.train(training)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(tracked)


def free_norms(network: nn.Module) -> frozenset[str]:
    """Name the BatchNorm layers of ``network`` that are trained."""
    return frozenset(
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and any(p.requires_grad for p in module.parameters())
    )


def with_measured_norms(
    network: Network, free: Collection[str], pictures: Batches, seed: int, device: torch.device, start: int = 0
) -> Network:
    """Return a copy of ``network``, ready to be measured, whose BatchNorm layers named ``free`` have fresh statistics.

    ``network`` itself stays as it is, so that training goes on as if nothing had been measured; where ``free`` is empty
    it is returned itself. With ``start`` the batches hold what the first ``start`` blocks gave.
    """
    if not free:
        return network
    measured = copy.deepcopy(network).eval()
    norms = [m for n, m in measured.named_modules() if n in free and isinstance(m, nn.BatchNorm2d)]
    measure_norms(lambda images: measured(images, start), norms, pictures, seed, device)
    return measured
