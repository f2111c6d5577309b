from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections
from mobilenets.tasks.base import Comparison
from mobilenets.tasks.detection.gate import check_tolerance, judge, matched, probe_faults
from mobilenets.tasks.detection.task import BoxTask

CLASSES, IMAGES = ("cat", "dog"), tuple(f"{number}.png" for number in range(20))


def scenes(seed: int = 0) -> list[Detections]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in IMAGES:
        starts, sides = rng.uniform(0, 100, (4, 2)), rng.uniform(20, 60, (4, 2))
        scores = np.sort(rng.uniform(0.2, 1, 4))[::-1]
        corners = np.concatenate([starts, starts + sides], 1)
        found.append(Detections(corners.astype(np.float32), scores.astype(np.float32), rng.integers(0, 2, 4)))
    return found


def compared_with(theirs: list[Detections], precision: str = "float32", probes: Any = None, **settings: Any) -> Any:
    truths = [Boxes.of(one.corners, one.labels) for one in scenes()]
    evaluations = [DetectionEvaluation(CLASSES, IMAGES, truths, found) for found in (scenes(), theirs)]
    probes = probes or ([], [])
    return judge(Comparison(*evaluations, probes, precision, False, check_tolerance(None, precision), **settings))


def changed(change: Any) -> list[Detections]:
    return [change(one) for one in scenes()]


def test_the_same_passes() -> None:
    verdict = compared_with(scenes())
    assert verdict.passed
    figures = verdict.to_json()
    assert (figures["ap_reference"], figures["ap_change"], figures["boxes"]) == (1, 0, 80)
    assert (figures["max_difference"], figures["least_overlap"], figures["boxes_without_partner"]) == (0, 1, 0)


def test_what_is_off_is_named() -> None:
    shifted = changed(lambda one: Detections(one.corners + 2, one.scores, one.labels))
    assert any("overlaps the model's" in fault for fault in compared_with(shifted).faults)
    lower = changed(lambda one: Detections(one.corners, one.scores - np.float32(0.01), one.labels))
    assert any("the score of a box differs by 0.0100" in fault for fault in compared_with(lower).faults)
    assert compared_with(lower, "float16").passed
    fewer = changed(lambda one: one.taken(slice(0, 3)))
    faults = compared_with(fewer).faults
    assert any("AP falls by" in fault for fault in faults)
    assert any("20 boxes are found by only one" in fault for fault in faults)
    other = changed(lambda one: Detections(one.corners, one.scores, 1 - one.labels))
    assert any("AP falls" in fault for fault in compared_with(other, "int8").faults)
    assert compared_with(changed(lambda one: one.taken(slice(0, 0)))).matched.lonely == 80


def test_int8_may_move_boxes_as_far_as_ap_allows() -> None:
    rng = np.random.default_rng(1)
    moved = changed(
        lambda one: Detections(one.corners + rng.uniform(-0.3, 0.3, (4, 4)).astype(np.float32), one.scores, one.labels)
    )
    assert compared_with(moved, "int8").passed
    assert not compared_with(moved).passed


def test_int8_of_a_model_that_finds_nothing_cannot_be_checked() -> None:
    truths = [Boxes.of(one.corners + 500, one.labels) for one in scenes()]
    evaluation = DetectionEvaluation(CLASSES, IMAGES, truths, scenes())
    verdict = judge(Comparison(evaluation, evaluation, ([], []), "int8", False, 1.5))  # type: ignore[arg-type]
    assert any("the model's own AP is 0.00 %" in fault for fault in verdict.faults)


def test_int8_is_not_judged_on_pictures_without_boxes() -> None:
    nothing = [Boxes.of([], []) for _ in IMAGES]
    evaluations = [DetectionEvaluation(CLASSES, IMAGES, nothing, scenes()) for _ in range(2)]
    for precision, passed in (("float32", True), ("int8", False)):
        assert judge(Comparison(*evaluations, ([], []), precision, False, 1.5)).passed is passed  # type: ignore[arg-type]


def test_a_lone_box_may_fall_by_rounding() -> None:
    found = scenes()
    found[3] = found[3].taken(slice(0, 3))
    assert matched(scenes(), found).lonely == 1
    assert not any("only one" in fault for fault in compared_with(found).faults)
    # So may another of two that overlap as much as is just allowed.
    found = scenes()
    found[3].corners[0] += 8
    assert not any("overlaps" in fault for fault in compared_with(found).faults)


OURS = np.random.default_rng(0).normal(0, 1, (16, 30, 8)).cumsum(0)
EXCHANGED = np.random.default_rng(1).normal(0, 1, (16, 30, 8)).cumsum(0)


@pytest.mark.parametrize(
    ("theirs", "precision", "said"),
    [
        (OURS * np.nan, "int8", "a number that is none"),
        (OURS * 0, "int8", "nearly the same outputs for every picture"),
        (np.roll(OURS, 1, 0), "int8", None),
        (EXCHANGED, "int8", "red and blue exchanged"),
        (OURS[::-1], "int8", "little to do with the model's"),
        (OURS + 0.01, "float32", None),
        (OURS + 0.5, "float32", "differ by"),
        (OURS, "float32", None),
    ],
)
def test_generated_pictures(theirs: Any, precision: str, said: str | None) -> None:
    faults = probe_faults(OURS, theirs, EXCHANGED, precision)
    if said is None and precision == "float32":
        assert faults == ()
    elif said is not None:
        assert any(said in fault for fault in faults), faults
        verdict = compared_with(scenes(), precision, (OURS, theirs), exchanged=EXCHANGED)
        assert not verdict.passed


def test_divergence() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(0, 1, (5, 30, 8)).astype(np.float32)
    assert BoxTask().divergence(wanted, wanted, False) == (0, 1)
    near, far = (wanted + rng.normal(0, noise, wanted.shape).astype(np.float32) for noise in (0.01, 0.5))
    assert 0 < BoxTask().divergence(wanted, near, False)[0] < BoxTask().divergence(wanted, far, False)[0]
    # What is moved where float sees background counts little.
    wanted[:, 10:, 4] = 15
    background = wanted.copy()
    background[:, 10:, :4] += 5
    assert BoxTask().divergence(wanted, background, False)[0] < 0.05


def test_tolerance() -> None:
    assert check_tolerance(None, "int8") > check_tolerance(None, "float32") > 0
    assert check_tolerance(2, "int8") == 2
    with pytest.raises(InputError, match="points of AP"):
        check_tolerance(-1, "int8")
