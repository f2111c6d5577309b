"""Weights that become 0 while a network trains: how many, which, and that none comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.models.saved import load_file
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.training.sparsity import Masks, kept, prunable, share_at
from mobilenets.training.stages import stages
from mobilenets.training.steppers.fused import FusedStepper
from mobilenets.training.steppers.plain import PlainStepper

SPARSE: dict[str, Any] = {"sparsity": 0.6, "keep": "last", "epochs": 3, "weight_decay": 0.1, "clip": 0.5, "ema": 0.5}


def test_the_share_follows_the_paper() -> None:
    # Equation 1 with s_i = 0, t_0 = 0: half of the way leaves an eighth of the rest.
    assert [share_at(step, 8, 0.8) for step in (0, 4, 8, 9)] == pytest.approx([0, 0.8 * 7 / 8, 0.8, 0.8])


def test_the_smallest_go() -> None:
    weight = torch.tensor([[0.1, -0.5, 0.3, 0.2], [-0.05, 0.9, 0.8, 0.7]])
    assert kept(weight, 0.25).tolist() == [[False, True, True, True], [False, True, True, True]]
    assert kept(weight, 0.0).all()


def test_of_equal_weights_no_more_go_than_are_wanted() -> None:
    """Weights that were trained for int8 lie on 255 steps, and a layer of equals would be left empty."""
    torch.manual_seed(0)
    for weight in (torch.full((8, 16), 0.5), torch.randn(64, 64).mul(9).round(), torch.zeros(4, 4)):
        for share in (0.1, 0.5, 0.9):
            left = kept(weight, share)
            assert int((~left).sum()) == round(share * weight.numel())
            assert weight[~left].abs().max() <= weight[left].abs().min()


def test_zeros_that_were_there_stay_though_there_are_more_than_are_wanted() -> None:
    layer = nn.Linear(10, 10, bias=False)
    with torch.no_grad():
        layer.weight[:8] = 0
    stage = stages(Recipe(sparsity=0.5, keep="last", epochs=3, batch=1, head_epochs=0, lr=1.0), 1)[-1]
    masks = Masks(layer, stage)
    for number in range(3):
        with torch.no_grad():
            layer.weight += 1
        masks.apply(number, None)
    assert int((layer.weight == 0).sum()) == 80


def test_two_of_every_four_input_channels_go_one_after_the_other() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 8, 1, 1)
    last = torch.zeros_like(weight, dtype=torch.bool)
    for share, least in ((0.5, 2), (0.3, 2), (0.1, 2)):
        left = kept(weight, share, "2:4")
        assert int((~left).sum()) == round(share * 48)
        assert bool((left.reshape(6, 2, 4).sum(-1) >= least).all())
        assert bool((left | ~last).all())  # who goes early goes late too
        last = left
    fours = weight.abs().reshape(6, 2, 4)
    assert torch.equal(kept(weight, 0.5, "2:4").reshape(6, 2, 4), fours >= fours.topk(2).values[..., -1:])
    same = torch.ones(2, 4)  # of equal ones, two
    assert kept(same, 0.5, "2:4").sum(1).tolist() == [2, 2]


def test_the_first_convolution_and_the_depthwise_ones_stay_whole() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.Linear(6, 2))
    assert [(name, fits) for name, _, fits in prunable(network, "2:4")] == [("2", True), ("3", False)]
    assert all(fits for _, _, fits in prunable(network))
    stage = stages(Recipe(sparsity_pattern="2:4", keep="last", epochs=1, batch=4, head_epochs=0, lr=1.0), 4)[0]
    with pytest.raises(InputError, match="no layer that learns"):
        Masks(nn.Sequential(nn.Linear(6, 2)), stage)


def zeros(network: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight.detach() == 0 for name, layer, _ in prunable(network)}


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("sgd", PlainStepper), ("adamw", FusedStepper), ("rmsprop", PlainStepper)]
)
def test_no_zero_comes_back(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type, optimizer: str
) -> None:
    monkeypatch.setenv("MOBILENETS_KERNELS", "on" if kind is FusedStepper else "off")
    training = begin(optimizer=optimizer, **SPARSE)
    stepper = training.stepper
    assert type(stepper) is kind and isinstance(stepper, PlainStepper)
    step, seen = stepper.step, []

    def watched(*given: Any) -> dict[str, float]:
        sums = step(*given)
        now = zeros(stepper.network)
        for name, before in (seen[-1] if seen else {}).items():
            assert bool((now[name] | ~before).all())
            gradient = dict(stepper.network.named_modules())[name].weight.grad
            assert isinstance(gradient, Tensor) and not gradient[before].any()
        seen.append(now)
        return sums

    monkeypatch.setattr(stepper, "step", watched)
    training.fit()
    assert not any(zero.all() for zero in seen[0].values())  # they go little by little
    written = load_file(tmp_path / "run/model.safetensors")
    for name, zero in seen[-1].items():
        assert int(zero.sum()) == round(0.6 * zero.numel())
        assert torch.equal(written[f"{name}.weight"] == 0, zero)  # the moving average, which is kept
    assert all(value.ne(0).all() for name, value in written.items() if "depthwise.conv" in name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.5}, "give --keep last"),
        ({"sparsity_pattern": "2:4"}, "give --keep last"),
        ({"sparsity": 0.75, "sparsity_pattern": "2:4"}, "leave --sparsity out"),
        ({"sparsity": 1.0}, "sparsity 1"),
        ({"sparsity": 0.5, "keep": "last", "minutes": 3}, "not with minutes"),
        ({"sparsity": 0.5, "keep": "last", "patience": 3}, "not with patience"),
        ({"sparsity": 0.5, "keep": "last", "folds": 3}, "not with folds"),
        ({"sparsity": 0.5, "keep": "last", "task": "detection"}, "not with boxes"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**settings)
