"""Rungs and epochs, by a clock of the test's own."""

from __future__ import annotations

import math

import pytest

from mobilenets.shrinking.halving import Budget, Pace, epochs_of, fitting, rungs


@pytest.mark.parametrize(
    ("count", "expected"), [(12, [12, 4, 2]), (3, [3, 2]), (2, [2]), (1, [1]), (27, [27, 9, 3, 2])]
)
def test_each_rung_has_a_third(count: int, expected: list[int]) -> None:
    assert rungs(count) == expected


@pytest.mark.parametrize(("whole", "number"), [(18, 3), (2, 3), (1, 1), (100, 4), (3, 2)])
def test_the_rungs_are_a_whole_training_together(whole: int, number: int) -> None:
    found = epochs_of(whole, number)
    assert len(found) == number and sum(found) == max(whole, number) and min(found) >= 1


def test_the_time_that_is_left() -> None:
    now = [100.0]
    budget = Budget(600.0, 100.0, lambda: now[0])
    assert budget.left() == 600 and budget.training() == 600 - 90
    now[0] = 650.0
    assert budget.left() == 50 and budget.training() == 0 and budget.spent() == 550
    endless = Budget(None, 0.0, lambda: now[0])
    assert math.isinf(endless.training()) and endless.ending() == 0


def test_as_many_epochs_as_fit_and_fewer_candidates_where_none_does() -> None:
    pace = Pace(work=1e-3, besides=10.0)  # an epoch of 1,000 pictures: a second a multiply-accumulate
    assert fitting(200.0, pace, [10, 10, 10], 1000, 100) == (3, 4)  # 0.85 · 200 − 30 s are 4 epochs of 30 s
    assert fitting(200.0, pace, [10, 10, 10], 1000, 2) == (3, 2)
    assert fitting(60.0, pace, [10, 10, 10], 1000, 100) == (2, 1)
    assert fitting(1.0, pace, [10, 10, 10], 1000, 100) == (1, 1)  # one in any case
    assert fitting(60.0, pace, [], 1000, 100) == (0, 0)
    for seconds in (50.0, 123.0, 900.0):
        count, epochs = fitting(seconds, pace, [7, 9, 11, 13], 1000, 100)
        takes = sum(pace.besides + epochs * pace.epoch(macs, 1000) for macs in [7, 9, 11, 13][:count])
        assert takes <= seconds or count == 1
