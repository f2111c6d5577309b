from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mobilenets.tasks.classification.task import Classification
from mobilenets.training import estimate as module
from mobilenets.training.estimate import Ending, estimate
from mobilenets.training.loop import Training
from mobilenets.training.stages import Stage, stages


def plan(begin: Callable[..., Training], **settings: object) -> tuple[Training, tuple[Stage, ...]]:
    training = begin(size=64, variant="standard", model="mobilenet_v2", **settings)
    return training, stages(training.recipe, len(training.folders))


def told(training: Training, stages_of_run: tuple[Stage, ...], done: int = 0) -> float:
    """Give what the epochs are expected to take, without the end of the run."""
    loaders = (training.train, training.validation.pictures)
    network = training.stepper.network
    forecast = estimate(
        network,
        stages_of_run,
        done,
        Classification(),
        *loaders,  # type: ignore[arg-type]
        Ending(9, 3),
        torch.device("cpu"),
    )
    return forecast.seconds(stages_of_run, done) - forecast.finish


def test_near_what_it_takes(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    # Both by the processor's time, so that a busy machine changes neither.
    monkeypatch.setattr(module.time, "perf_counter", time.process_time)
    training, run = plan(begin, epochs=6, head_epochs=0)
    seconds = told(training, run)
    began = time.process_time()
    training.fit()
    took = time.process_time() - began
    assert 0.3 < seconds / took < 2


def test_epochs_behind_it_are_left_out(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "timed", lambda work, device: 0.32)
    monkeypatch.setattr(module, "_saving", lambda stepper: 0.0)
    training, run = plan(begin, epochs=10, head_epochs=0)
    whole, half, none = (told(training, run, done) for done in (0, 5, 10))
    assert half - none == pytest.approx((whole - none) / 2)
    assert none == 0


def test_nothing_is_touched(begin: Callable[..., Training], tmp_path: Path) -> None:
    training, run = plan(begin, epochs=2, head_epochs=0, dropout=0.5)
    before = {name: value.clone() for name, value in training.stepper.network.state_dict().items()}
    random, mode = torch.get_rng_state(), training.stepper.network.training
    told(training, run)
    assert all(torch.equal(value, before[name]) for name, value in training.stepper.network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert training.stepper.network.training == mode
    assert all(parameter.grad is None for parameter in training.stepper.network.parameters())
    assert list(tmp_path.iterdir()) == []
