"""Training that sees int8's rounding: the gradients of it, and what a training for int8 needs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.catalog import describe
from mobilenets.training.int8 import Folded, Int8Network, in_steps, rounded
from mobilenets.training.recipe import Recipe


def rounded_by_hand(x: Tensor, step: Tensor, zero: int) -> Tensor:
    """Round by operations whose gradients PyTorch knows; the rounding itself is passed over."""
    scaled = x / step
    whole = scaled + (scaled.round() - scaled).detach()
    return whole.clamp(-zero, 255 - zero) * step


@pytest.mark.parametrize("zero", [0, 100])
def test_gradients_of_rounding(zero: int) -> None:
    generator = torch.Generator().manual_seed(0)
    wanted, found = (torch.randn(4, 50, generator=generator.manual_seed(0)).requires_grad_() for _ in range(2))
    one, other = (torch.tensor(0.01, requires_grad=True) for _ in range(2))
    weights = torch.randn(4, 50, generator=generator)
    expected = rounded_by_hand(wanted, one, zero)
    (expected * weights).sum().backward()
    out = rounded(found, other, torch.tensor(zero, dtype=torch.int32))
    (out * weights).sum().backward()
    torch.testing.assert_close(out, expected)
    assert found.grad is not None and wanted.grad is not None and one.grad is not None and other.grad is not None
    torch.testing.assert_close(found.grad, wanted.grad)
    # Some are clipped, and some are not.
    assert 0 < int((found.grad == 0).sum()) < found.numel()
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("one", [False, True])
def test_weights_are_whole_steps_and_their_gradient_goes_straight_through(one: bool) -> None:
    weight = torch.tensor([[0.5, -1.27], [0.0, 0.0], [2.54, 0.013]], requires_grad=True)
    bias = torch.tensor([0.1, -0.2, 3.0], requires_grad=True)
    entry = torch.tensor(0.05)
    whole, counted = in_steps(weight, bias, entry, one)
    largest = torch.tensor([2.54, 2.54, 2.54] if one else [1.27, 0.0, 2.54]) / 127
    used = largest[[0, 2]]
    steps = (whole[[0, 2]] / used[:, None]).detach()
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert float((whole - weight).detach().abs().max()) <= float(largest.max()) / 2 + 1e-7
    assert float((counted - bias).detach().abs().max()) <= float(largest.max() * entry) / 2 + 1e-7
    (3 * whole.sum() + 2 * counted.sum()).backward()
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.eq(3).all() and bias.grad.eq(2).all()


def test_it_is_a_network_as_any_other_to_the_state_dictionary() -> None:
    plain = mobilenets.create_model("mobilenet_v3_small", classes=3, width=0.35, size=32)
    made = Int8Network(describe("mobilenet_v3_small", 0.35, 32), 3)
    given, own = plain.state_dict(), made.state_dict()
    assert {name: value.shape for name, value in own.items() if not name.startswith("int8.")} == {
        name: value.shape for name, value in given.items()
    }
    assert not any(isinstance(part, nn.BatchNorm2d) for part in made.modules())
    # Of a BatchNorm only the shift learns, and all steps do.
    learned = {name for name, _ in made.named_parameters()}
    assert {name.rpartition(".")[2] for name in learned if ".norm." in name} == {"bias"}
    assert "int8.logs" in learned and any(isinstance(part, Folded) for part in made.modules())


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "none", "freeze": "none"},
        {"weights": "auto", "freeze": "none"},
        {"weights": "run", "freeze": "backbone"},
        {"weights": "run"},
        {"weights": "run", "freeze": "none", "folds": 3},
        {"weights": "run", "freeze": "none", "task": "detection"},
    ],
)
def test_settings_that_int8_cannot_be_trained_with(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="use mobilenets quantize RUN DATA"):
        Recipe().replace(precision="int8", **settings)


def test_what_is_kept_is_rounded_and_rounds_to_itself() -> None:
    torch.manual_seed(0)
    made = Int8Network(describe("mobilenet_v3_small", 0.35, 32), 3).eval()
    assert made.int8 is not None
    made.int8.logs.data.fill_(-3.5)
    made.int8.one.fill_(1)
    images = torch.randn(2, 3, 32, 32)
    kept = made.kept()
    weight, rounded_weight = (network.get_submodule("body.conv0").conv.weight.detach() for network in (made, kept))
    step = rounded_weight.abs().max() / 127
    assert float((rounded_weight / step - (rounded_weight / step).round()).abs().max()) < 1e-3
    assert not torch.equal(weight, rounded_weight)
    assert float((weight - rounded_weight).abs().max()) <= float(step) / 2 * 1.001
    with torch.inference_mode():
        torch.testing.assert_close(kept(images), made(images), rtol=0.05, atol=0.05)
