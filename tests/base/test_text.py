from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.base.notes import shown
from mobilenets.base.progress import Progress
from mobilenets.base.text import counted, printable, printable_json, printable_lines, say_boxes

RED = "\x1b[31mred\x1b[0m \x9b2J \u202e \x07"


def commands(text: str) -> bool:
    """Whether a terminal would act on it, or read it the other way round."""
    return any(
        unicodedata.category(c) in ("Cc", "Cs") or c in "\u202a\u202e\u2066\u2028" for c in text.replace("\n", "")
    )


def test_one_and_many() -> None:
    assert [counted(number, "part") for number in (0, 1, 2000)] == ["0 parts", "1 part", "2,000 parts"]


@given(st.text())
def test_nothing_commands_the_terminal(text: str) -> None:
    assert not commands(printable(text)) and "\n" not in printable(text)
    assert printable_lines(text).count("\n") == text.count("\n") and not commands(printable_lines(text))


@given(st.text())
def test_json_means_the_same(text: str) -> None:
    whole = printable_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(whole) == {text: text}
    assert not any(unicodedata.category(c) == "Cc" for c in whole)


def test_names_that_people_use_stay() -> None:
    for name in ("苹果\u3000红", "क\u200cख", "👩\u200d👧", "a\xa0b", "Größe – ½"):
        assert printable(name) == name and printable_json(name) == name


def test_progress_and_notes_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    shown_progress = Progress(f"reading {RED}", 3, "pictures")
    shown_progress.advance(1, best=RED)
    assert not commands(shown_progress.line())
    log = logging.getLogger("mobilenets")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    log.handlers[:], log.propagate = [], False
    log.setLevel(logging.NOTSET)
    try:
        with shown():
            log.warning("the class %s", RED)
    finally:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)
    said = capsys.readouterr().err
    assert "red" in said and not commands(said)


def test_one_box_is_no_boxes() -> None:
    assert [say_boxes(number) for number in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
