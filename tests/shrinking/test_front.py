"""The front, who is trained longer, and which is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mobilenets.shrinking.candidates import FLOAT, Candidate
from mobilenets.shrinking.front import Point, best, compared, front, latest, survivors
from mobilenets.shrinking.limit import Limit, parse_limit


def point(width: float, ms: float, right: int, of: int = 100, reporting: int | None = None, **others: Any) -> Point:
    answers = "1" * right + "0" * (of - right)
    reported = answers if reporting is None else "1" * reporting + "0" * (of - reporting)
    about = {"rung": 0, "epochs": 1, "estimated": False, "bytes": 10, "macs": 5, "seconds": 1.0, "folder": "x"} | others
    candidate = Candidate("anew", "mobilenet_v2", width, 96)
    return Point(candidate=candidate, precision=FLOAT, ms=ms, choosing=answers, reporting=reported, **about)


SLOW, MIDDLE, FAST, BEATEN = point(1.0, 10, 90), point(0.75, 6, 86), point(0.5, 3, 70), point(0.35, 7, 60)
ALL = [SLOW, MIDDLE, FAST, BEATEN]


def test_the_front_is_what_no_other_beats_in_both() -> None:
    assert front(ALL) == [FAST, MIDDLE, SLOW]
    assert front([point(1.0, 3, 50), point(0.5, 3, 70)])[0].top1 == 0.7  # of two as fast the better
    assert front([]) == []


def test_within_a_limit_the_most_accurate_go_on_and_else_the_front() -> None:
    assert survivors(ALL, 2, limited=True) == [SLOW, MIDDLE]
    assert survivors(ALL, 4, limited=False) == [SLOW, MIDDLE, FAST, BEATEN]
    lone = [point(1.0, 5, 90), point(0.5, 6, 80), point(0.35, 7, 70)]
    assert survivors(lone, 2, limited=False) == lone[:2]  # the front has one, then that of what is left


def test_the_best_within_a_limit_is_chosen_by_the_pictures_to_choose_on() -> None:
    assert best(ALL, parse_limit("6ms")) is MIDDLE
    assert best(ALL, parse_limit("5.99ms")) is FAST
    assert best(ALL, parse_limit("1ms")) is None
    assert best(ALL, Limit("macs", 5, "")) is SLOW and best(ALL, Limit("bytes", 9, "")) is None
    lucky = point(0.6, 5, 60, reporting=99)
    assert best([lucky, MIDDLE], parse_limit("6ms")) is MIDDLE


def test_without_a_limit_the_fastest_within_a_standard_error_is_taken() -> None:
    assert best([SLOW, point(0.75, 6, 87)], None).ms == 6  # type: ignore[union-attr]  # the error is 3 points
    assert best([SLOW, MIDDLE], None) is SLOW


def test_a_point_comes_back_from_json_as_it_was() -> None:
    assert Point.from_json(json.loads(json.dumps(SLOW.to_json()))) == SLOW
    row = SLOW.summary()
    assert row["name"] == "v2-1-96" and row["top1"] == pytest.approx(0.9) and "choosing" not in row
    assert latest([FAST, point(0.5, 3, 75), MIDDLE]) == [point(0.5, 3, 75), MIDDLE]


def test_two_are_compared_picture_by_picture() -> None:
    found = compared(FAST, SLOW)
    low, high = found["change_interval"]
    assert found["change"] == pytest.approx(0.2) and 0 < low < 0.2 < high
