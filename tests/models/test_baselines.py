"""ResNet-18, ResNet-50 and the plain network against their published figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilenets.measure.cost import cost
from mobilenets.models.architecture import Architecture
from mobilenets.models.baselines import BASELINES
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.verbs.models import create_model


def architecture(name: str, size: int = 224) -> Architecture:
    return Architecture(name, 1.0, size, "standard", BASELINES[name])


@pytest.mark.parametrize(
    ("name", "parameters", "macs"), [("resnet18", 11_689_512, 1.814), ("resnet50", 25_557_032, 4.089)]
)
def test_resnets_have_the_published_costs(name: str, parameters: int, macs: float) -> None:
    # torchvision's page of each network: num_params and GFLOPS (which there are multiply-accumulates).
    found = cost(architecture(name), 1000)
    assert found.parameters == parameters
    assert round(found.macs / 1e9, 3) == macs


def test_plain_is_the_papers_full_convolutions() -> None:
    # arXiv 1704.04861, table 4: 29.3 M parameters and 4866 M multiply-adds, the classifier's not among these.
    found = cost(architecture("plain"), 1000)
    assert round(found.parameters / 1e6, 1) == 29.3
    assert (found.macs - 1024 * 1000) // 10**6 == 4866


def test_plain_has_the_shapes_of_v1() -> None:
    ours, v1 = cost(architecture("plain"), 1000), cost(describe("mobilenet_v1"), 1000)
    assert [(block.channels, block.out_size) for block in ours.blocks] == [
        (block.channels, block.out_size) for block in v1.blocks
    ]


@pytest.mark.parametrize(("name", "width", "size"), [("mobilenet_v1", 0.5, 160), ("mobilenet_v2", 1.0, 96)])
def test_counting_agrees_with_the_modules(name: str, width: float, size: int) -> None:
    network, macs = create_model(name, 10, width, size=size).eval(), 0

    def add(part: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(part.weight, nn.Parameter)
        macs += part.weight.numel() * (output.shape[2] * output.shape[3] if isinstance(part, nn.Conv2d) else 1)

    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.register_forward_hook(add)
    network(torch.zeros(1, 3, size, size))
    table = cost(describe(name, width, size), 10)
    assert (table.parameters, table.macs) == (sum(value.numel() for value in network.parameters()), macs)


def test_bytes_are_those_of_all_values() -> None:
    network = Network(architecture("resnet18"), 3)
    values = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    assert cost(network.architecture, 3).bytes == sum(tensor.numel() * tensor.element_size() for tensor in values)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_run(name: str) -> None:
    network = Network(architecture(name, 96), 7).eval()
    maps: list[torch.Size] = []
    network.body.register_forward_hook(lambda *call: maps.append(call[2].shape))
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 96, 96)).shape == (2, 7)
    assert maps[0][1:] == network.plan.maps.shape
    assert maps[0][2:] == (3, 3)


def test_a_residual_block_adds_its_input() -> None:
    block = Network(architecture("resnet18"), 2).eval().body[2]
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.weight)
    x = torch.randn(1, 64, 5, 5)
    assert torch.equal(block(x), x.relu())
