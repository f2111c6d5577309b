"""The fused stepper makes the steps of the plain one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.datasets.loader import Batch, shuffled
from mobilenets.models.baselines import RESNETS
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.training.loop import Training
from mobilenets.training.steppers.blocks import FusedBlock, fused
from mobilenets.training.steppers.fused import FusedStepper
from mobilenets.training.steppers.plain import PlainStepper

Begin = Callable[..., Training]


def batches_of(training: Training) -> list[Batch]:
    return list(training.train.batches(shuffled(training.folders, 6, 0, 0)))


def losses(training: Training, batches: list[Batch], count: int, rate: float = 0.01) -> list[float]:
    return [training.stepper.step([batches[n % len(batches)]], n, rate)["loss"] for n in range(count)]


@pytest.mark.parametrize(
    ("model", "size", "steps"),
    [
        ("mobilenet_v1", 32, 50),
        ("mobilenet_v2", 32, 10),
        ("mobilenet_v3_small", 32, 10),
        ("mobilenet_v3_large", 32, 6),
        ("mobilenet_v4_small", 64, 6),
    ],
)
def test_losses_are_the_plain_ones(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, model: str, size: int, steps: int
) -> None:
    settings = {"model": model, "size": size, "variant": "standard", "width": 0.25 if "v4" not in model else 1.0}
    training = begin(**settings)
    assert isinstance(training.stepper, FusedStepper)
    batches = batches_of(training)
    # A rate at which rounding does not grow.
    found = losses(training, batches, steps, 1e-4)
    monkeypatch.setenv("MOBILENETS_KERNELS", "off")
    plain = begin(**settings)
    assert type(plain.stepper) is PlainStepper
    np.testing.assert_allclose(found, losses(plain, batches, steps, 1e-4), rtol=1e-3)
    state, expected = training.stepper.state_dict(), plain.stepper.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        if "num_batches" in name:
            assert torch.equal(state[name], value)


def test_sums_behind_a_convolution_are_folded_into_it() -> None:
    for name in ("mobilenet_v2", "resnet18", "resnet50"):
        architecture = describe(name, 1.0, 32)
        network = Network(architecture, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        plain, x = network.train(), torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        functions = fused(list(network.body))
        folded = [len(run.inputs) for f in functions if isinstance(f, FusedBlock) for run in f._runs]
        assert folded.count(2) >= 8
        for module, function in zip(plain.body, functions, strict=True):
            torch.testing.assert_close(function(x), module(x), atol=1e-4, rtol=1e-4)
            x = module(x).detach()
    assert RESNETS


def test_resume_gives_the_same_bytes(begin: Begin) -> None:
    settings: dict[str, Any] = {"model": "mobilenet_v2", "size": 32, "ema": 0.9}
    training = begin(**settings)
    batches = batches_of(training)
    losses(training, batches, 2)
    kept = {name: tensor.clone() for name, tensor in training.stepper.state_dict().items()}
    losses(training, batches, 2)
    other = begin(**settings)
    other.stepper.load_state_dict(kept)
    losses(other, batches, 2)
    found = other.stepper.state_dict()
    for name, tensor in training.stepper.state_dict().items():
        assert torch.equal(tensor, found[name]), name


def test_what_diverges_is_seen(begin: Begin) -> None:
    training = begin()
    batches = batches_of(training)
    with torch.no_grad():
        next(training.stepper.network.parameters()).fill_(float("nan"))
    assert not np.isfinite(losses(training, batches, 1)).any()


def test_without_numba_steps_are_plain(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert type(begin().stepper) is PlainStepper


def test_mixed_precision_is_plain(begin: Begin) -> None:
    assert type(begin(precision="bfloat16").stepper) is PlainStepper
