from __future__ import annotations

import io
import logging
import sys

import pytest

from mobilenets.cli import colour
from mobilenets.cli.notes import NoteHandler


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_terminal", "in_a_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_where_it_is_wished(
    environment: dict[str, str], on_terminal: bool, in_a_pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colour.wished(Terminal()) is on_terminal
    assert colour.wished(io.StringIO()) is in_a_pipe


def test_notes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log = logging.getLogger("mobilenets")
    log.addHandler(NoteHandler())
    log.setLevel(logging.INFO)
    log.propagate = False
    log.info("a note of \x1b[31mred.png")
    log.warning("a caveat")
    log.info("1/30", extra={"style": "best"})
    assert sys.stderr.getvalue().splitlines() == [  # type: ignore[attr-defined]
        r"a note of \x1b[31mred.png",
        "\x1b[33ma caveat\x1b[0m",
        "\x1b[32m1/30\x1b[0m",
    ]
