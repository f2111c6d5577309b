"""A detector's steps by our kernels compute the same network as plain PyTorch's."""

from __future__ import annotations

import pytest
import torch

from mobilenets.models.detection.detector import create_detector
from mobilenets.tasks.detection.loss import DetectionLoss
from mobilenets.tasks.registry import find_task
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import stages
from mobilenets.training.steppers.fused import FusedBoxStepper


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"])
def test_joined_blocks_leave_none_out(name: str) -> None:
    torch.manual_seed(0)
    network = create_detector(name, 0.1, 96, 2).train()
    recipe = Recipe(task="detection", batch=2, epochs=1, lr=1e-3, head_epochs=0, freeze="none", weights="none", views=0)
    [stage] = stages(recipe, 2)
    loss, device = DetectionLoss(network.detection), torch.device("cpu")
    stepper = FusedBoxStepper(network, stage, find_task("detection"), loss, device, ())
    images = torch.randn(2, 3, 96, 96)
    plain, found = network(images), stepper._outputs(images, 0)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)
    assert not [part for head in stepper._parts.heads for part in head if isinstance(part, torch.nn.Module)]
    weights = torch.randn_like(plain)
    gradients = [torch.autograd.grad((out * weights).sum(), list(network.parameters())) for out in (found, plain)]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() <= 1e-2 * other.norm() + 1e-3
