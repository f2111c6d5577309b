"""The loop asks of a stepper what the interface says, and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from torch import Tensor

from mobilenets.datasets.loader import Batch
from mobilenets.models.network import Network
from mobilenets.training.loop import Training
from mobilenets.training.steppers.plain import PlainStepper

WEIGHTS = "model.safetensors"


class Bare:
    """Has only what the interface has, and presses Ctrl-C after every third step."""

    def __init__(self, inner: PlainStepper, stops: bool) -> None:
        self._inner, self._stops, self._made = inner, stops, 0

    @property
    def network(self) -> Network:
        return self._inner.network

    @property
    def result(self) -> Network:
        return self._inner.result

    def step(self, group: Sequence[Batch], number: int, rate: float) -> dict[str, float]:
        self._made += 1
        if self._stops and self._made % 3 == 0:
            signal.raise_signal(signal.SIGINT)
        return self._inner.step(group, number, rate)

    def state_dict(self) -> dict[str, Tensor]:
        return {f"bare.{name}": value for name, value in self._inner.state_dict().items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        self._inner.load_state_dict({name.removeprefix("bare."): value for name, value in tensors.items()})


def test_any_stepper_trains_and_resumes(begin: Callable[..., Training], tmp_path: Path) -> None:
    def bare(run: str, stops: bool) -> Training:
        training = begin(run, ema=0.9, mixup=0.3, dropout=0.2)
        training.stepper = Bare(training.stepper, stops)
        return training

    begin("plain", ema=0.9, mixup=0.3, dropout=0.2).fit()
    bare("whole", stops=False).fit()
    for _ in range(2):  # of eight steps
        with pytest.raises(KeyboardInterrupt):
            bare("parts", stops=True).fit()
    bare("parts", stops=True).fit()
    files = [(tmp_path / run / WEIGHTS).read_bytes() for run in ("plain", "whole", "parts")]
    assert files[0] == files[1] == files[2]
