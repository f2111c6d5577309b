from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from mobilenets.training.optimizer import build_optimizer
from mobilenets.training.recipe import OPTIMIZERS, Recipe
from mobilenets.verbs.models import create_model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_where_it_belongs(name: str) -> None:
    network = create_model("mobilenet_v2", classes=3, width=0.25, size=32)
    optimizer = build_optimizer(Recipe(optimizer=name, lr=0.1, weight_decay=0.03), network)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    decayed, free = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.03, 0.0]
    assert decayed == {key for key in names.values() if key.endswith(("conv.weight", "classifier.weight"))}
    assert free == {key for key in names.values() if key.endswith(("norm.weight", "norm.bias", "classifier.bias"))}
    assert decayed | free == set(names.values())


def test_frozen_parameters_are_left_out() -> None:
    network = create_model("mobilenet_v1_cifar", classes=3, width=0.25)
    network.body.requires_grad_(False)
    optimizer = build_optimizer(Recipe(lr=0.1), network)
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert [id(p) for p in given] == [id(network.classifier.weight), id(network.classifier.bias)]


def one_step(recipe: Recipe, weight: float, gradient: float) -> float:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, weight)
    optimizer = build_optimizer(recipe, layer)
    layer.weight.grad = torch.full_like(layer.weight, gradient)
    optimizer.step()
    return layer.weight.item()


def test_decay_is_coupled_but_for_adamw() -> None:
    settings = {"lr": 0.1, "weight_decay": 0.5}
    # The first step of SGD is lr * (gradient + decay * weight); Adam's is lr whatever the size of the gradient.
    assert one_step(Recipe(optimizer="sgd", **settings), 2.0, 3.0) == pytest.approx(2 - 0.1 * (3 + 0.5 * 2))
    assert one_step(Recipe(optimizer="adam", **settings), 2.0, 3.0) == pytest.approx(2 - 0.1)
    assert one_step(Recipe(optimizer="adamw", **settings), 2.0, 3.0) == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)
    rms = (0.1 * 4.0**2) ** 0.5
    assert one_step(Recipe(optimizer="rmsprop", **settings), 2.0, 3.0) == pytest.approx(
        2 - 0.1 * 4 / (rms + 1e-3), rel=1e-6
    )


def test_momentum_is_beta1_of_adam() -> None:
    layer = nn.Linear(1, 1)
    for name in ("adam", "adamw"):
        assert build_optimizer(Recipe(optimizer=name, lr=0.1, momentum=0.8), layer).defaults["betas"] == (0.8, 0.999)
    for name in ("sgd", "rmsprop"):
        assert build_optimizer(Recipe(optimizer=name, lr=0.1, momentum=0.8), layer).defaults["momentum"] == 0.8
    nesterov = build_optimizer(Recipe(optimizer="sgd", lr=0.1, nesterov=True), layer)
    assert nesterov.defaults["nesterov"] is True


def test_l2_of_the_light_v1() -> None:
    network = create_model("mobilenet_v1_cifar", classes=5)
    penalty = network.l2_penalty()
    assert penalty is not None
    penalty.backward()
    weight = network.classifier.weight
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 0.004 * weight.detach(), rtol=1e-6, atol=0)
    assert all(p.grad is None for p in network.parameters() if p is not weight)
    assert create_model("mobilenet_v1", classes=5, width=0.25, size=32).l2_penalty() is None


def test_nothing_for_compiling_is_loaded() -> None:
    script = (
        "import sys\n"
        "from mobilenets.training.optimizer import build_optimizer\n"
        "from mobilenets.training.recipe import OPTIMIZERS, Recipe\n"
        "from torch import nn, ones\n"
        "for name in OPTIMIZERS:\n"
        "    layer = nn.Linear(2, 1)\n"
        "    optimizer = build_optimizer(Recipe(optimizer=name, lr=0.1), layer)\n"
        "    layer(ones(1, 2)).sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
