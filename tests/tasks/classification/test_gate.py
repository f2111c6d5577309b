from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobilenets.cli.export import exported
from mobilenets.errors import InputError
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.tasks.base import Comparison
from mobilenets.tasks.classification.gate import Verdict, check_tolerance, judge


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
    for points in (0, 0.1, 2.0, 100):
        assert check_tolerance(points, "int8") == points
    for points in (-0.1, 101, float("nan")):
        with pytest.raises(InputError, match="give points"):
            check_tolerance(points, "int8")


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_one_picture_of_few_is_forgiven_and_no_second(precision: str) -> None:
    points = check_tolerance(None, precision)
    for lost, gained, passed in ((1, 0, True), (2, 0, False), (3, 2, True), (4, 2, False)):
        verdict = Verdict(pair(lost, gained, total=60), 0.0, precision, points)
        # The pictures of ``pair`` move by more than float16 rounds: only what is said of top-1 counts here.
        assert any(fault.startswith("top-1 falls") for fault in verdict.faults) is not passed
    assert any(fault.startswith("top-1") for fault in Verdict(pair(1, total=60), 0.0, "float32", 0.05).faults)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("difference", [float("nan"), float("inf")])
def test_a_difference_that_is_no_number_is_refused(precision: str, difference: float) -> None:
    verdict = Verdict(pair(0), difference, precision, check_tolerance(None, precision))
    assert verdict.faults == ("a probability differs by no number (NaN or infinite)",)
    result = verdict.to_json()
    assert result["probe_difference"] is None
    about = {"format": "onnx", "precision": precision, "runtime": "", "evaluated_on": "", "layer": None, "advice": None}
    assert "failed, nothing was written: a probability differs by no number" in exported(result | about)


def comparison(ours: Any, theirs: Any, precision: str, exchanged: Any = None) -> Comparison:
    """Give a comparison in which the pictures of the user say nothing: all of one class, and all right."""
    both = pair(0, total=20)
    return Comparison(both.reference, both.candidate, (ours, theirs), precision, False, 0.5, exchanged)


def test_the_generated_pictures_are_judged_in_int8_too() -> None:
    rng = np.random.default_rng(0)
    ours, exchanged = (np.eye(2)[rng.permutation(16) % 2] * 0.8 + 0.1 for _ in range(2))
    assert judge(comparison(ours, ours * 0.9 + 0.05, "int8", exchanged)).passed
    [fault] = judge(comparison(ours, exchanged, "int8", exchanged)).faults
    assert "red and blue exchanged" in fault
    for theirs in (np.full((16, 2), 0.5), np.tile(ours[:1], (16, 1))):
        verdict = judge(comparison(ours, theirs, "int8", exchanged))
        assert verdict.pair.top1_change == 0 and "have little to do with the model's" in verdict.faults[0]
    broken = np.where(np.arange(16)[:, None] == 7, np.nan, ours)
    [fault] = judge(comparison(ours, broken, "int8", exchanged)).faults
    assert "no number" in fault


def test_a_float_file_answers_the_generated_pictures_alike() -> None:
    ours = np.eye(2)[np.arange(16) % 2] * 0.8 + 0.1
    assert judge(comparison(ours, ours + 5e-4, "float32")).passed
    [fault] = judge(comparison(ours, ours + 2e-3, "float32")).faults
    assert fault == "a probability differs by 0.0020, and 0.001 is rounding in float32"


def test_a_file_that_resizes_may_be_off_by_more() -> None:
    ours = np.eye(2)[np.arange(16) % 2] * 0.8 + 0.1
    both = pair(0, total=20)
    for resized in (True, False):
        asked = Comparison(both.reference, both.candidate, (ours, ours + 0.01), "float32", resized, 0.5)
        assert judge(asked).passed is resized


def test_what_the_report_of_an_export_has() -> None:
    both = pair(3, 1, total=200)
    assert Verdict(both, 0.25, "int8", 0.5).to_json() == {
        "passed": False,
        "faults": ["top-1 falls by 1.00 points (3 of 200 pictures lost, 1 gained), but --tolerance allows only 0.5"],
        "images": 200,
        "top1_reference": 0.995,
        "top1_exported": 0.985,
        "top1_exported_interval": list(both.candidate.top1_interval),
        "same_answers": 196,
        "top1_change": -0.01,
        "top1_change_interval": list(both.top1_change_interval),
        "pictures_lost": 3,
        "pictures_gained": 1,
        "worst_class": {
            "class": "a",
            "change": pytest.approx(-0.01),
            "reference": 0.995,
            "exported": 0.985,
            "images": 200,
        },
        "max_difference": both.max_difference,
        "probe_difference": 0.25,
        "tolerance": 0.5,
        "distance_difference": None,
    }
