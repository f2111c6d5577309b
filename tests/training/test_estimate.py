from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.datasets.loader import Loader
from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.classification.task import Classification
from mobilenets.training import estimate as module
from mobilenets.training.distillation import Distilled, Lesson
from mobilenets.training.estimate import Ending, estimate
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import Stage, stages


def plan(begin: Callable[..., Training], **settings: object) -> tuple[Training, tuple[Stage, ...]]:
    training = begin(size=64, variant="standard", model="mobilenet_v2", **settings)
    return training, stages(training.recipe, len(training.folders))


def told(
    training: Training, stages_of_run: tuple[Stage, ...], done: int = 0, task: Classification | None = None
) -> float:
    """Give what the epochs are expected to take, without the end of the run."""
    loaders = (training.train, training.validation.pictures)
    network = training.stepper.network
    forecast = estimate(
        network,
        stages_of_run,
        done,
        task or Classification(),
        *loaders,  # type: ignore[arg-type]
        Ending(9, 3),
        torch.device("cpu"),
    )
    return forecast.seconds(stages_of_run, done) - forecast.finish


def test_near_what_it_takes(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    # Both by the processor's time, so that a busy machine changes neither.
    monkeypatch.setattr(module.time, "perf_counter", time.process_time)
    plan(begin, run="before", epochs=1, head_epochs=0)[0].fit()  # what is prepared once in a process counts for neither
    training, run = plan(begin, epochs=6, head_epochs=0)
    seconds = told(training, run)
    began = time.process_time()
    training.fit()
    took = time.process_time() - began
    assert 0.2 < seconds / took < 3


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


class Silent:
    """A teacher that says nothing of anything."""

    mark = "silent"
    features = 0

    def __call__(self, images: Any, preprocessing: Preprocessing, /) -> Any:
        return np.zeros((len(images), 3), np.float32)


def test_the_teacher_is_asked_about_each_view(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "timed", lambda work, device: 0.32)
    monkeypatch.setattr(module, "_saving", lambda stepper: 0.0)
    training, run = plan(begin, epochs=10, head_epochs=0)
    alone = told(training, run)
    assert isinstance(training.train, Loader)
    settings = Recipe(teacher="big")
    training.train = Lesson(Silent()).of(training.train, settings)
    taught = told(training, run, task=Distilled(settings))
    # A 32nd of 0.32 s for each of 21 pictures in each of 10 epochs.
    assert taught - alone == pytest.approx(10 * len(training.folders) * 0.01)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Else only the time to hand the work over is measured."""
    waits: list[object] = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda *_: waits.append(None))
    worked: list[object] = []
    module.timed(lambda: worked.append(None), torch.device(kind))
    assert len(waits) == len(worked) > 1


def test_a_full_temporary_folder_stops_nothing(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise InputError("there is no room")

    monkeypatch.setattr(module, "timed", lambda work, device: 0.32)
    monkeypatch.setattr(module.checkpoint, "save", full)
    training, run = plan(begin, epochs=1, head_epochs=0)
    assert told(training, run) > 0
