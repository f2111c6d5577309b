"""What a channel is worth: the squared change of the loss by its gate, and nothing of the network changes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.models.prune import groups
from mobilenets.training.importance import importance


def test_it_is_the_squared_slope_of_the_loss() -> None:
    torch.manual_seed(0)
    network = Network(describe("mobilenet_v1_cifar", 0.25, 32), 3).train()
    rng = np.random.default_rng(0)
    batch = SimpleNamespace(images=rng.standard_normal((4, 32, 32, 3), np.float32), targets=np.array([0, 1, 2, 0]))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        network(torch.randn(16, 3, 32, 32))  # BatchNorm has seen something
        network.classifier.weight.mul_(100)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    group = groups(network.architecture, network.plan)[1]
    found = importance(network, nn.CrossEntropyLoss(), [batch], [group])[group.name]  # type: ignore[list-item]
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    images, targets = torch.from_numpy(batch.images).permute(0, 3, 1, 2), torch.from_numpy(batch.targets)
    network.eval().double()
    losses = []
    for gate in (1 - 1e-6, 1 + 1e-6):

        def scaled(_module: nn.Module, _inputs: object, output: torch.Tensor, gate: float = gate) -> torch.Tensor:
            return torch.cat([output[:, :5], gate * output[:, 5:6], output[:, 6:]], 1)

        handle = network.get_submodule(group.last).register_forward_hook(scaled)
        with torch.no_grad():
            losses.append(float(nn.CrossEntropyLoss()(network(images.double()), targets)))
        handle.remove()
    slope = (losses[1] - losses[0]) / 2e-6
    assert abs(slope) > 1e-6
    np.testing.assert_allclose(found[5], slope**2, rtol=1e-2)
