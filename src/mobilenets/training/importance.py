"""What each channel of a network is worth on pictures, by what the loss would change without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mobilenets.datasets.loader import Batch
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.models.prune import Group

Scores = dict[str, npt.NDArray[np.float64]]


def importance(network: Network, loss: nn.Module, batches: Iterable[Batch], groups: Sequence[Group]) -> Scores:
    """Estimate, by group, how much the loss would change without each of its channels: float64, one a channel.

    Every channel gets a gate of 1, and its worth is the mean over the batches of the squared gradient there: the
    first-order Taylor expansion of Molchanov et al. 2019 (arXiv 1906.10771, equation 8). The network is in evaluation
    mode meanwhile; neither its weights nor its statistics change.
    """
    device = next(network.parameters()).device
    gates = {group.name: torch.ones(1, group.channels, 1, 1, device=device, requires_grad=True) for group in groups}
    found = {name: torch.zeros(gate.numel(), dtype=torch.float64) for name, gate in gates.items()}
    handles = [
        network.get_submodule(group.last).register_forward_hook(
            lambda _layer, _given, out, gate=gates[group.name]: out * gate
        )
        for group in groups
    ]
    training, count = network.training, 0
    try:
        network.eval()
        for batch in batches:
            targets = torch.from_numpy(np.asarray(batch.targets)).to(device)
            value = loss(network(to_tensor(batch.images, device)), targets)
            for name, gradient in zip(gates, torch.autograd.grad(value, list(gates.values())), strict=True):
                found[name] += gradient.flatten().cpu().double().square()
            count += 1
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    return {name: (total / max(1, count)).numpy() for name, total in found.items()}
