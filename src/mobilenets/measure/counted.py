"""Parameters and multiply-accumulates of any network of convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Counted:
    """What a network costs for one picture; as in ``mobilenets.measure.cost``.

    ``parameters`` counts every learned value; ``macs`` those of convolutions and linear layers; ``bytes`` is what all
    values take in float32, BatchNorm's running statistics among them.
    """

    parameters: int
    macs: int
    bytes: int


def counted(build: Callable[[], nn.Module], size: int) -> Counted:
    """Count the network that ``build`` makes, for a picture of ``size`` pixels per side; it takes no memory."""
    with torch.device("meta"):
        network = build().eval()
    macs = 0

    def add(part: Any, _inputs: Any, output: Tensor) -> None:
        nonlocal macs
        places = output.shape[2] * output.shape[3] if isinstance(part, nn.Conv2d) else 1
        macs += part.weight.numel() * places

    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.register_forward_hook(add)
    with torch.no_grad():
        network(torch.empty(1, 3, size, size, device="meta"))
    values = sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())
    return Counted(sum(parameter.numel() for parameter in network.parameters()), macs, 4 * values)
