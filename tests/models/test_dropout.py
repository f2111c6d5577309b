"""Dropout with few draws."""

from __future__ import annotations

import pytest
import torch

from mobilenets.models.dropout import Dropout, scales


@pytest.mark.parametrize("share", [0.2, 0.5, 0.875])
def test_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(3)
    drawn = scales((400, 501), share, torch.ones(1))
    assert drawn.shape == (400, 501) and drawn.unique().numel() == 2
    # Five standard deviations of a share of 200,400 draws, and of what a mean of them is then.
    deviation = (share * (1 - share) / drawn.numel()) ** 0.5
    assert (drawn == 0).float().mean().item() == pytest.approx(share, abs=5 * deviation)
    assert drawn.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - share))


def test_follows_from_the_seed_and_says_nothing_of_its_neighbours() -> None:
    dropout, x = Dropout(0.5), torch.ones(64, 1001)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert torch.equal(dropout(x), first) and not torch.equal(first, second)
    kept = (first > 0).float() - 0.5
    for step in (1, 2, 3, 4, 8):
        assert abs((kept[:, step:] * kept[:, :-step]).mean().item()) < 0.01


def test_gradients_flow_through_what_is_kept() -> None:
    x = torch.ones(8, 100, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("share", [0.0, 1e-9, 1 - 1e-9])
def test_any_share_gives_numbers(share: float) -> None:
    assert Dropout(share)(torch.ones(50, 50)).isfinite().all()


def test_nothing_is_dropped_when_not_training() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.9).eval()(x), x)
