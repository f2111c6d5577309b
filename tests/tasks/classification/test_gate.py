from __future__ import annotations

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.tasks.classification.gate import Verdict, check_tolerance


def pair(lost: int, gained: int = 0, shift: float = 0.0, total: int = 1000) -> Pair:
    labels = np.zeros(total, np.int64)
    ours, theirs = np.tile(np.float32([3, 0]), (total, 1)), np.tile(np.float32([3 - shift, 0]), (total, 1))
    theirs[:lost] = [0, 3]
    ours[total - gained :] = [0, 3]
    images = tuple(map(str, range(total)))
    return Pair(Evaluation(("a", "b"), images, labels, ours), Evaluation(("a", "b"), images, labels, theirs))


def test_same_answers_pass() -> None:
    verdict = Verdict(pair(0), 0.0, "float32", 0.05)
    assert verdict.passed and verdict.faults == ()
    assert verdict.to_json()["top1_change"] == 0


@pytest.mark.parametrize(("lost", "gained", "passed"), [(5, 0, True), (6, 0, False), (20, 15, True), (20, 14, False)])
def test_int8_may_lose_half_a_point(lost: int, gained: int, passed: bool) -> None:
    verdict = Verdict(pair(lost, gained), 0.5, "int8", check_tolerance(None, "int8"))
    assert verdict.passed is passed
    if not passed:
        assert f"({lost} of 1000 pictures lost, {gained} gained), but --tolerance allows only 0.5" in verdict.faults[0]


def test_float_may_lose_nothing() -> None:
    for precision, lost in (("float32", 1), ("float16", 2)):
        assert not Verdict(pair(lost), 0.0, precision, check_tolerance(None, precision)).passed


def test_one_picture_on_the_edge_is_rounding_in_float16() -> None:
    labels = np.zeros(300, np.int64)
    ours, theirs = np.tile(np.float32([3, 0]), (300, 1)), np.tile(np.float32([3, 0]), (300, 1))
    ours[0], theirs[0] = [0.02, 0], [0, 0.02]
    images = tuple(map(str, range(300)))
    both = Pair(Evaluation(("a", "b"), images, labels, ours), Evaluation(("a", "b"), images, labels, theirs))
    assert Verdict(both, 0.0, "float16", 0.05).passed
    assert not Verdict(both, 0.0, "float32", 0.05).passed


def test_float_gives_the_same_probabilities() -> None:
    """A wrong mean need not cost one picture, and is seen all the same."""
    verdict = Verdict(pair(0, shift=0.1), 0.0, "float32", 0.05)
    assert verdict.pair.top1_change == 0 and not verdict.passed
    assert "a probability differs by 0.00" in verdict.faults[0]
    # Grey pictures alone would not show swapped channels; the generated ones do.
    assert not Verdict(pair(0), 0.1, "float16", 0.05).passed


def test_a_file_that_resizes_in_float32_may_be_a_level_off() -> None:
    assert not Verdict(pair(0), 0.01, "float32", 0.05).passed
    assert Verdict(pair(0), 0.01, "float32", 0.05, resized=True).passed
    assert not Verdict(pair(0), 0.03, "float32", 0.05, resized=True).passed
    assert Verdict(pair(0), 0.03, "float16", 0.05, resized=True).passed


def test_tolerance() -> None:
    assert check_tolerance(2.0, "int8") == 2.0
    for points in (-0.1, 101, float("nan")):
        with pytest.raises(InputError, match="give points"):
            check_tolerance(points, "int8")
