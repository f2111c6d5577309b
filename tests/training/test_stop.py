from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilenets.datasets.loader import Batch
from mobilenets.training import checkpoint
from mobilenets.training.loop import Training
from mobilenets.training.stop import stop_requests

WEIGHTS = "model.safetensors"


def test_stop_in_the_last_validation(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    close = Training._close_epoch

    def pressed(self: Training, state: checkpoint.State, lr: float) -> None:
        signal.raise_signal(signal.SIGINT)
        close(self, state, lr)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_close_epoch", pressed)
        with pytest.raises(KeyboardInterrupt):
            begin(epochs=1).fit()
    assert checkpoint.peek(tmp_path / "run").finished
    weights = (tmp_path / "run" / WEIGHTS).read_bytes()
    assert begin(epochs=1).fit().epoch == 1
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == weights


def test_second_ctrl_c_acts_at_once(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def twice(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was not met")

    monkeypatch.setattr(Training, "_step", twice)
    with pytest.raises(KeyboardInterrupt):
        begin().fit()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_both_signals_at_once_are_one_request(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    step = Training._step

    def both(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        # Kept back and let through together, as they come when a terminal is closed.
        signals = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for number in signals:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return step(self, state, group)

    monkeypatch.setattr(Training, "_step", both)
    with pytest.raises(KeyboardInterrupt):
        begin().fit()
    assert checkpoint.peek(tmp_path / "run").step == 1
    assert capfd.readouterr().err == ""


def test_what_a_program_around_python_handles_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python cannot give back a handler that is not Python's."""
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None)
        with stop_requests() as asked:
            patch.undo()
            assert signal.getsignal(signal.SIGTERM) is before
            assert not asked()
    assert signal.getsignal(signal.SIGTERM) is before
