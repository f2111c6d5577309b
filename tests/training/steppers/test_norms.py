"""BatchNorm with its activation is what PyTorch's modules compute."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mobilenets.models.blocks import ACTIVATIONS
from mobilenets.training.steppers import norms
from mobilenets.training.steppers.norms import NormActivation, norm_activation

NAMES = ("none", "relu", "relu6", "hard_swish")
SHAPES = [(1, 1, 7, 7), (1, 3, 15, 15), (3, 16, 1, 1), (2, 24, 3, 3), (5, 100, 7, 15), (4, 16, 64, 64), (2, 1280, 1, 1)]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def map_of(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3 + 1
    return drawn.contiguous(memory_format=torch.channels_last)


def norm_of(channels: int, dtype: torch.dtype = torch.float32) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-2, 3, channels))
        norm.bias.copy_(torch.linspace(4, -1, channels))
        norm.running_mean.add_(0.5)  # type: ignore[union-attr]
    return norm


def taken(norm: nn.BatchNorm2d, activation: str, shape: tuple[int, ...], added: bool, ours: bool) -> list[Tensor]:
    """Give output, gradients and statistics."""
    y = map_of(shape, 1).requires_grad_()
    beside = map_of(shape, 2).requires_grad_() if added else None
    if ours:
        out = norm_activation(y, norm, activation, beside)
        assert "NormActivation" in type(out.grad_fn).__name__
    else:
        out = ACTIVATIONS[activation]()(norm(y))
        out = out if beside is None else out + beside
    out.backward(map_of(shape, 3))  # type: ignore[no-untyped-call]
    gradients = [y.grad, norm.weight.grad, norm.bias.grad, *([beside.grad] if beside is not None else [])]
    return [out.detach(), *(g for g in gradients if g is not None), *norm.buffers()]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("added", [False, True])
def test_it_is_pytorchs(activation: str, added: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    for shape in SHAPES:
        norm = norm_of(shape[1])
        expected = taken(copy.deepcopy(norm), activation, shape, added, ours=False)
        found = taken(norm, activation, shape, added, ours=True)
        assert len(found) == len(expected) == 7 + added
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            size = max(float(other.abs().max()), 1.0)
            torch.testing.assert_close(one, other, atol=3e-5 * size, rtol=1e-4)


@pytest.mark.parametrize("activation", NAMES)
def test_the_gradients_are_right(activation: str) -> None:
    norm = norm_of(3, torch.float64)
    number = norms.kernels.ACTIVATIONS[activation]

    def function(y: Tensor, gamma: Tensor, beta: Tensor, residual: Tensor) -> Tensor:
        out: Tensor = NormActivation.apply(y, gamma, beta, residual, norm, number)  # type: ignore[no-untyped-call]
        return out

    y, beside = (map_of((2, 3, 3, 5), seed, torch.float64).requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(function, (y, norm.weight, norm.bias, beside))


@pytest.mark.parametrize("activation", NAMES)
def test_the_corners_are_pytorchs(activation: str) -> None:
    z = torch.tensor([[-4.0], [-3.0], [0.0], [3.0], [6.0], [7.0]])
    expected = z.clone().requires_grad_()
    out = ACTIVATIONS[activation]()(expected)
    out.sum().backward()
    # Lines that leave the map as it is: no mean, scale 1, shift 0.
    lines = torch.tensor([[0.0], [1.0], [0.0]]).numpy()
    number = norms.kernels.ACTIVATIONS[activation]
    found = torch.from_numpy(norms.kernels.apply(z.numpy(), lines, number))
    torch.testing.assert_close(found, out.detach(), atol=1e-6, rtol=1e-6)
    for place, value in enumerate(z):
        one = torch.ones(1, 1).numpy()
        slope = norms.kernels.gradient_sums(value[None].numpy(), one, lines, number)[0, 0]
        assert expected.grad is not None
        assert slope == pytest.approx(expected.grad[place].item(), abs=1e-7)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_threads_give_the_same_bytes(threads: int) -> None:
    torch.set_num_threads(threads)
    one, other = (taken(norm_of(24), "relu6", (4, 24, 41, 41), True, ours=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_gradient_without_memory_of_its_own() -> None:
    y = map_of((2, 8, 3, 3), 1).requires_grad_()
    other = y.detach().clone().requires_grad_()
    norm_activation(y, norm_of(8), "relu").mean(dim=(2, 3)).sum().backward()
    torch.relu(norm_of(8)(other)).mean(dim=(2, 3)).sum().backward()
    assert y.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(y.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_pytorchs() -> None:
    def ours(y: Tensor, norm: nn.BatchNorm2d) -> bool:
        return "NormActivation" in type(norm_activation(y, norm, "relu6").grad_fn).__name__

    y = map_of((2, 8, 4, 4), 1).requires_grad_()
    assert ours(y, norm_of(8))
    assert not ours(y, norm_of(8).eval())
    assert not ours(y, nn.BatchNorm2d(8, momentum=None))
    assert not ours(y, nn.BatchNorm2d(8, track_running_stats=False))
    assert not ours(y.detach().contiguous(), norm_of(8))
    with pytest.raises(ValueError, match="more than 1 value"):
        norm_activation(map_of((1, 8, 1, 1), 1), norm_of(8), "relu6")
    with torch.autocast("cpu", torch.bfloat16):
        conv = nn.Conv2d(8, 8, 1)(y)
        assert not ours(conv, norm_of(8))
