from __future__ import annotations

import io
import logging
import sys

import pytest

from mobilenets.base import progress as module
from mobilenets.base.progress import Progress, about, duration, progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_line(clock: list[float]) -> None:
    shown = Progress("epoch 1/2", 300, "pictures")
    clock[0] += 10
    shown.advance(200, loss="0.5", top1="0.9")
    assert shown.line() == "epoch 1/2: 200/300 pictures, 20 per second, 5 s left  loss 0.5  top1 0.9"


def test_what_was_done_before_is_not_speed(clock: list[float]) -> None:
    shown = Progress("epoch", 300, "pictures", already=200)
    clock[0] += 10
    shown.advance(5)
    assert shown.line() == "epoch: 205/300 pictures, 0.5 per second, 3 min 10 s left"


def test_without_a_total(clock: list[float]) -> None:
    shown = Progress("reading", None, "files")
    assert shown.line() == "reading: 0 files, 0.0 per second"
    clock[0] += 2
    shown.advance(100)
    assert shown.line() == "reading: 100 files, 50 per second"


def test_a_line_now_and_then(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"), progress("work", 100, "things") as shown:
        for _ in range(40):
            clock[0] += 1
            shown.advance(1)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "work: 16/100 things",
        "work: 32/100 things",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(RuntimeError, match="stop"), progress("epoch 1/2", 300, "pictures", already=200) as shown:
        # The bar begins where the work does.
        assert "200/300" in terminal.getvalue()
        shown.advance(50, loss="0.5")
        assert (shown._bar.n, shown._bar.postfix) == (250, "loss 0.5")
        raise RuntimeError("stop")
    assert shown._bar.disable or terminal.getvalue().endswith(("\r", " "))


def test_terminal_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress("work", 10, "things") as shown:
        shown.advance(10)
    assert terminal.getvalue() == ""
    assert shown.done == 10


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "about 5 s"),
        (42, "about 40 s"),
        (57, "about 1 min"),
        (250, "about 4 min"),
        (5000, "about 83 min"),
        (6000, "about 2 h"),
        (9500, "about 3 h"),
    ],
)
def test_a_time_that_is_roughly_known(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_a_program_without_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under pythonw on Windows there is no standard error."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress("checking", 10, "pictures") as shown:
        shown.advance(10)
    assert shown.done == 10
