"""The fused stepper makes the steps of the plain one."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.datasets.loader import Batch, shuffled
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.training.loop import Training
from mobilenets.training.steppers.blocks import FusedBlock, FusedChain, fused, fused_block
from mobilenets.training.steppers.fused import FusedStepper
from mobilenets.training.steppers.plain import PlainStepper

Begin = Callable[..., Training]


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_KERNELS", "on")  # short runs are made without


def batches_of(training: Training) -> list[Batch]:
    return list(training.train.batches(shuffled(training.folders, 6, 0, 0)))


def losses(training: Training, batches: list[Batch], count: int, rate: float = 0.01) -> list[float]:
    return [training.stepper.step([batches[n % len(batches)]], n, rate)["loss"] for n in range(count)]


def plain_and_fused(architecture: Architecture, steps: int) -> tuple[list[float], list[float]]:
    """Train twice in float64, where rounding does not grow to anything that can be seen."""
    torch.manual_seed(0)
    made = Network(architecture, 5).double().train()
    x, targets = torch.randn(6, 3, 64, 64).double(), torch.arange(6) % 5
    found = []
    for ours in (False, True):
        network = copy.deepcopy(made).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        body = fused(list(network.body)) if ours else list(network.body)
        head = (fused_block(network.head) if ours else None) or network.head
        optimizer, losses = torch.optim.SGD(network.parameters(), 1e-4), []
        for _ in range(steps):
            y = x.contiguous(memory_format=torch.channels_last)
            for block in body:
                y = block(y)
            loss = torch.nn.functional.cross_entropy(network.classifier(head(network.pool(y))), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        found.append(losses)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("model", "width", "steps"),
    [
        ("mobilenet_v1", 0.25, 12),
        ("mobilenet_v2", 0.35, 3),
        ("mobilenet_v3_small", 0.5, 3),
        ("mobilenet_v4_conv_small", 0.5, 3),
    ],
)
def test_losses_are_the_plain_ones(model: str, width: float, steps: int) -> None:
    plain, found = plain_and_fused(describe(model, width, 64, dropout=0.0), steps)
    np.testing.assert_allclose(found, plain, rtol=1e-3)


@pytest.mark.parametrize(("model", "size", "width"), [("mobilenet_v1", 32, 0.25), ("mobilenet_v3_small", 96, 0.5)])
def test_the_first_step_is_the_plain_one(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, model: str, size: int, width: float
) -> None:
    settings: dict[str, Any] = {"model": model, "size": size, "variant": "standard", "width": width}
    training = begin(**settings)
    assert isinstance(training.stepper, FusedStepper)
    batches = batches_of(training)
    found = losses(training, batches, 1)
    monkeypatch.setenv("MOBILENETS_KERNELS", "off")
    plain = begin(**settings)
    assert type(plain.stepper) is PlainStepper
    np.testing.assert_allclose(found, losses(plain, batches, 1), rtol=1e-3)
    state, expected = training.stepper.state_dict(), plain.stepper.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        if "running" in name or "num_batches" in name:
            torch.testing.assert_close(state[name], value, atol=1e-4, rtol=1e-3)


def test_sums_behind_a_convolution_are_folded_into_it() -> None:
    network = Network(describe("mobilenet_v2", 1.0, 32), 3)
    runs = [run.function for f in fused(list(network.body)) if isinstance(f, FusedBlock) for run in f._runs]
    assert [chain.residual for chain in runs if isinstance(chain, FusedChain)].count(True) == 10


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


@pytest.mark.parametrize(
    ("settings", "kernels"),
    [
        ({"epochs": 1}, False),
        ({"epochs": 1_000_000}, True),
        ({"epochs": 1_000_000, "minutes": 2.0}, False),
        ({"epochs": 1_000_000, "precision": "bfloat16"}, False),
    ],
)
def test_a_long_run_is_made_with_kernels(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], kernels: bool
) -> None:
    monkeypatch.delenv("MOBILENETS_KERNELS")
    assert isinstance(begin(model="mobilenet_v2", size=32, **settings).stepper, FusedStepper) is kernels
