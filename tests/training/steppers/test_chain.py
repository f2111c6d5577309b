"""Chains of convolutions against PyTorch's own modules, in float64, where only a fault can make them differ."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilenets.models.blocks import build
from mobilenets.models.operations import Value
from mobilenets.models.plan import plan_block
from mobilenets.models.rows import Conv as ConvRow
from mobilenets.models.rows import Inverted, Row, Separable
from mobilenets.models.style import Style
from mobilenets.training.steppers import chain, units
from mobilenets.training.steppers.blocks import FusedBlock, FusedChain, fused, fused_block

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def block(row: Row, channels: int, side: int, activation: str = "relu6", padding: str = "symmetric") -> nn.Module:
    style = Style(width=1.0, rounding="floor", norm_epsilon=1e-3, activation=activation, padding=padding)
    plan = plan_block("block", row, Value("x", (channels, side, side)), style)
    torch.manual_seed(0)
    module = build("block", plan.operations).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, 0.2)
            nn.init.normal_(part.bias, 0.5, 0.5)
    return module.train()


def picture(count: int, channels: int, rows: int, columns: int) -> Tensor:
    x = torch.randn(count, channels, rows, columns, dtype=torch.float64) * 2 + 1
    return x.to(memory_format=torch.channels_last)


def results(module: nn.Module, function: Any, x: Tensor) -> list[Tensor]:
    """Give output, the input's gradient, those of the weights, and the norms' statistics."""
    given = x.clone(memory_format=torch.channels_last).requires_grad_()
    out = function(given)
    torch.manual_seed(1)
    out.backward(torch.randn_like(out))
    gradients = [part.grad for part in (given, *module.parameters())]
    return [out.detach(), *(part for part in gradients if part is not None), *module.buffers()]


def close(found: list[Tensor], wanted: list[Tensor]) -> bool:
    assert len(found) == len(wanted)
    return all(
        torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-10 * float(b.abs().max() + 1))
        for a, b in zip(found, wanted, strict=True)
    )


CASES = [
    (Inverted(16, expand=6), 16, 15, "relu6", "symmetric"),
    (Inverted(24, stride=2, expand=6), 16, 15, "relu6", "symmetric"),
    (Inverted(24, stride=2, expand=6), 16, 14, "relu6", "same"),
    (Inverted(16, expand=1), 16, 7, "relu6", "symmetric"),
    (Separable(32, stride=2), 16, 14, "relu6", "after"),
    (Inverted(24, kernel=5, stride=2, expand=3), 16, 13, "hard_swish", "same"),
    (Inverted(16, kernel=5, expand=3), 16, 9, "hard_swish", "symmetric"),
    (Inverted(16, expand=4, squeeze=0.25), 16, 9, "hard_swish", "symmetric"),
    (Inverted(24, stride=2, kernel=5, expand=6, squeeze=0.25), 16, 10, "relu", "symmetric"),
    (Inverted(40, expand=3), 40, 6, "relu6", "symmetric"),  # too wide to be computed again
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_block_computes_what_its_module_does(case: tuple[Row, int, int, str, str], threads: int) -> None:
    row, channels, side, activation, padding = case
    torch.set_num_threads(threads)
    module = block(row, channels, side, activation, padding)
    other = copy.deepcopy(module)
    function = fused_block(other)
    assert function is not None
    x = picture(4, channels, side, side + 2)
    assert close(results(other, function, x), results(module, module, x))


def test_an_expansion_is_computed_again_or_stored_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    module = block(Inverted(16, expand=6), 16, 15)
    x, found = picture(3, 16, 15, 15), []
    for narrow in (32, 0):
        monkeypatch.setattr(chain, "NARROW", narrow)
        other = copy.deepcopy(module)
        found.append(results(other, fused_block(other), x))
    assert close(*found)
    assert not all(torch.equal(a, b) for a, b in zip(*found, strict=True))  # two ways, so two roundings


def test_the_expanded_map_is_not_kept() -> None:
    module = block(Inverted(16, expand=6), 16, 15)
    function = fused_block(module)
    assert function is not None
    out = function(picture(3, 16, 15, 15).requires_grad_())
    kept = [tuple(part.shape) for part in out.grad_fn.saved_tensors]  # type: ignore[union-attr]
    assert kept == [(3, 16, 15, 15), (3, 15, 15, 96), (3, 15, 15, 16)]  # input, filtered, projected


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bytes_for_the_same_number_of_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    module = block(Inverted(24, stride=2, expand=6), 16, 15)
    x, found = picture(5, 16, 15, 15), []
    for _ in range(2):
        other = copy.deepcopy(module)
        found.append(results(other, fused_block(other), x))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_gradient_is_that_of_the_function() -> None:
    module = block(Inverted(8, expand=2), 8, 5)
    function = fused_block(module)
    x = picture(2, 8, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: function(given), (x,), eps=1e-6, atol=1e-5)  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen(value: float) -> None:
    module = block(Inverted(16, expand=6), 16, 15)
    x = picture(2, 16, 15, 15)
    x[1, 3, 4, 5] = value
    function = fused_block(module)
    assert function is not None
    assert not torch.isfinite(function(x)).all()


def test_a_block_is_one_chain_with_its_sum() -> None:
    function = fused_block(block(Inverted(16, expand=6), 16, 15))
    assert isinstance(function, FusedBlock)
    assert [type(run.function) for run in function._runs] == [FusedChain]


@pytest.mark.parametrize("change", ["measuring", "another type", "one value a channel"])
def test_what_the_kernels_do_not_take_is_computed_by_the_modules(change: str) -> None:
    module = block(Inverted(16, expand=6), 16, 15)
    x = picture(2, 16, 15, 15)
    if change == "measuring":
        module.eval()
    elif change == "another type":
        module, x = module.float(), x.float()
        module.double()
    parts = [units.unit_of(part) for part in module.children()]
    assert all(parts)
    if change == "one value a channel":
        x = x[:1, :, :1, :1].contiguous(memory_format=torch.channels_last)
    assert not units.fitting(parts, x)  # type: ignore[arg-type]


def test_channels_that_do_not_fill_vectors_stay_with_pytorch() -> None:
    module = block(Inverted(12, expand=3), 12, 9)
    other = copy.deepcopy(module)
    x = picture(3, 12, 9, 9)
    assert close(results(other, fused_block(other), x), results(module, module, x))
    assert units.unit_of(next(module.children())) is None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_pictures_and_what_follows_are_one_chain(padding: str, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    table = {"norm_epsilon": 1e-3, "activation": "hard_swish", "padding": padding, "width": 1.0, "rounding": "floor"}
    style = Style(**table)  # type: ignore[arg-type]
    first = plan_block("first", ConvRow(24, stride=2), Value("x", (3, 15, 15)), style)
    second = plan_block("second", Separable(16), first.output, style)
    blocks = [build(part.name, part.operations) for part in (first, second)]
    module = nn.Sequential(*blocks).double().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = copy.deepcopy(module)
    functions = fused(list(other))
    assert [type(function) for function in functions] == [FusedChain]
    assert len(fused(list(other), {id(other[0])})) == 2  # what is frozen stays apart
    x, found = picture(3, 3, 15, 13), []
    for network, function in ((other, functions[0]), (module, module)):
        out = function(x)
        torch.manual_seed(1)
        out.backward(torch.randn_like(out))
        found.append([out.detach(), *(part.grad for part in network.parameters()), *network.buffers()])
    assert close(*found)  # type: ignore[arg-type]
