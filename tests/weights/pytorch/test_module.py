"""Whole modules, whose pickles tell more than weights do, and weights that modules keep in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert
from mobilenets.weights.pytorch.reparametrised import joined

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns where its own classes are saved


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "module.pth"


class Block(nn.Module):
    """torchvision's InvertedResidual, as its names and its state have it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, act: Any, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers = [] if expand == 1 else [unit(inputs, hidden, 1, act=act)]
        last = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=0.002)]
        self.conv = nn.Sequential(*layers, unit(hidden, hidden, kernel, stride, hidden, act=act), *last)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return x + out if self.shortcut else out


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, act: Any) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=0.002), act())


class Net(nn.Module):
    def __init__(self, act: type[nn.Module] = nn.ReLU6, kernel: int = 5) -> None:
        super().__init__()
        blocks = [Block(8, 8, 1, 1, act, 3), Block(8, 12, 2, 6, act, kernel), Block(12, 12, 1, 3, act, kernel)]
        self.features = nn.Sequential(unit(3, 8, 3, 2, act=act), *blocks, unit(12, 40, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(40, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(self.features(x).mean([2, 3]))
        return out


@pytest.fixture
def net() -> Callable[..., Net]:
    def make(*arguments: Any) -> Net:
        torch.manual_seed(0)
        network = Net(*arguments).eval()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, 0, 0.3)
                nn.init.uniform_(part.running_var, 0.5, 2)
        return network

    return make


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m}, nn.DataParallel, lambda m: [m]])
@pytest.mark.parametrize("new", [True, False])
def test_a_whole_module(file: Path, net: Callable[..., Net], wrap: Callable[[Net], Any], new: bool) -> None:
    """Strides, epsilon, kernels and activation are seen, so that even a network of one's own is exact."""
    network = net()
    torch.save(wrap(network), file, _use_new_zipfile_serialization=new)
    converted = convert(file)
    x = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.allclose(converted.model.network(x), network(x), atol=1e-5)
    assert converted.foreign.strides == (2, 1, 2, 1)
    assert converted.foreign.epsilon == 0.002
    assert converted.foreign.assumed == ()


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.Hardswish, nn.PReLU])
def test_a_whole_module_of_another_activation(file: Path, net: Callable[..., Net], act: type[nn.Module]) -> None:
    torch.save(net(act), file)
    with pytest.raises(InputError, match=f"activates with {act.__name__}|no layer of a MobileNet has"):
        convert(file)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(file: Path, net: Callable[..., Net]) -> None:
    torch.jit.script(net(nn.ReLU, 3)).save(file)
    with pytest.raises(InputError, match="activates with ReLU"):
        convert(file)
    # Its strides stand in its program, which is not read.
    torch.jit.script(net()).save(file)
    with pytest.raises(InputError, match="kernels of 5×5"):
        convert(file)


def test_weights_alone_of_a_network_of_ones_own(file: Path, net: Callable[..., Net]) -> None:
    torch.save(net(nn.ReLU6, 3).state_dict(), file)
    with pytest.raises(InputError, match="3 blocks, but mobilenet_v2 has 17"):
        convert(file)


class Holder:
    """What is pickled as a module would be."""

    def __init__(self, **modules: object) -> None:
        self.__dict__.update({"_parameters": {}, "_buffers": {}, "_modules": modules})


def test_modules_that_hold_one_another_end(file: Path) -> None:
    circle = Holder()
    circle.__dict__["_modules"]["again"] = circle
    torch.save(circle, file)
    with pytest.raises(InputError, match="no state dictionary"):
        convert(file)
    # 2 ** 60 ways to the innermost, which is met once.
    inner = Holder()
    inner.__dict__["_parameters"]["weight"] = torch.ones(2, 2)
    for _ in range(60):
        inner = Holder(one=inner, two=inner)
    torch.save({"model": inner, "list": [[inner] * 2] * 2}, file)
    with pytest.raises(InputError, match="it holds 0 convolutions"):
        convert(file)


HEADS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "several may be right": (lambda: nn.Sequential(nn.Linear(40, 4), nn.Sigmoid()), "each class by itself"),
    "behind": (lambda: nn.Sequential(nn.Linear(40, 4), nn.ReLU()), "stands behind the linear layer"),
    "before": (lambda: nn.Sequential(nn.Tanh(), nn.Linear(40, 4)), "stands before the linear layer"),
    "BatchNorm": (lambda: nn.Sequential(nn.BatchNorm1d(40), nn.Linear(40, 4)), "its head has classifier.0 beside"),
    "LayerNorm": (lambda: nn.Sequential(nn.LayerNorm(40), nn.Linear(40, 4)), "its head has classifier.0 beside"),
    "two": (lambda: nn.Sequential(nn.Linear(40, 9), nn.Linear(9, 4)), "its head has 2 linear layers"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_is_not_one_linear_layer(file: Path, net: Callable[..., Net], kind: str) -> None:
    network = net(nn.ReLU6, 3)
    make, reason = HEADS[kind]
    network.classifier = make().eval()  # type: ignore[assignment]
    torch.save(network, file)
    converted = convert(file)
    assert converted.model.bundle.classes == ()
    assert any(reason in note for note in converted.notes), converted.notes


def test_a_module_that_pools_otherwise(file: Path, net: Callable[..., Net]) -> None:
    network = net()
    network.pool = nn.AdaptiveMaxPool2d(1)
    torch.save(network, file)
    converted = convert(file)
    assert converted.model.bundle.classes == ()
    assert any("pools otherwise than by the average" in note for note in converted.notes)


def test_a_module_without_relu6(file: Path, net: Callable[..., Net]) -> None:
    torch.save(net(nn.Identity), file)
    with pytest.raises(InputError, match="its modules show no ReLU6"):
        convert(file)


def test_pruned_weights_and_weight_norm(file: Path, net: Callable[..., Net]) -> None:
    network = net()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            prune.l1_unstructured(part, "weight", 0.3)  # type: ignore[no-untyped-call]
    nn.utils.parametrizations.weight_norm(network.classifier[1])
    torch.save({"model": network.state_dict()}, file)
    with pytest.raises(InputError, match="kernels of 5×5"):  # as of its plain weights
        convert(file)
    network = net(nn.ReLU6, 3)
    prune.l1_unstructured(network.features[0][0], "weight", 0.5)  # type: ignore[no-untyped-call, index]
    nn.utils.parametrizations.weight_norm(network.classifier[1])
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    found = joined(arrays)
    np.testing.assert_allclose(found["features.0.0.weight"], network.features[0][0].weight.detach())  # type: ignore[index, union-attr]
    weight = network.classifier[1].weight.detach()
    np.testing.assert_allclose(found["classifier.1.weight"], weight, atol=1e-6)


def test_weights_in_other_parts_are_refused() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    arrays = {name: value.numpy() for name, value in layer.state_dict().items()}
    with pytest.raises(InputError, match=r"'weight' is computed from parts .*remove_parametrizations"):
        joined(arrays)
