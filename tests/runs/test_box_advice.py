"""What is advised follows from what went wrong."""

from __future__ import annotations

import numpy as np

from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.pictures.boxes import Boxes
from mobilenets.runs.detection.advice import BoxOutcome, next_steps_with_boxes
from mobilenets.runtime.detections import Detections

Found = list[tuple[list[float], int]]
MANY = {"cat": 500, "dog": 500}


def outcome(truths: list[Boxes], answers: list[Found], train: dict[str, int] = MANY) -> BoxOutcome:
    found = [
        Detections(
            np.array([box for box, _ in some], np.float32).reshape(-1, 4),
            np.full(len(some), 0.9, np.float32),
            np.array([label for _, label in some], np.int64),
        )
        for some in answers
    ]
    names = tuple(map(str, range(len(truths))))
    evaluation = DetectionEvaluation(("cat", "dog"), names, truths, found, [(640, 640)] * len(truths), threshold=0.5)
    return BoxOutcome(evaluation, train, "validation", "photos", "run")


BOX = [100.0, 100, 300, 300]
GOOD = ([Boxes.of([BOX], [0])] * 40, [[(BOX, 0)]] * 40)


def test_nothing_stands_out() -> None:
    assert next_steps_with_boxes(outcome(*GOOD)) == []


def test_few_boxes_come_first() -> None:
    [step] = next_steps_with_boxes(outcome(*GOOD, train={"cat": 500, "dog": 7}))
    assert "dog 7" in step and "cat" not in step


def test_small_ones_are_missed() -> None:
    small = Boxes.of([BOX, [400, 400, 420, 420]], [0, 1])
    [step] = next_steps_with_boxes(outcome([small] * 40, [[(BOX, 0)]] * 40))
    assert "40 of the 40 objects that it misses take less than 7 %" in step and "parts" in step


def test_kinds_of_false_alarms() -> None:
    truths = GOOD[0]
    steps = next_steps_with_boxes(outcome(truths, [[(BOX, 0), ([400.0, 0, 500, 99], 1)]] * 40))
    assert "40 of 40 lie on nothing that is labelled" in steps[0] and len(steps) == 1
    steps = next_steps_with_boxes(outcome(truths, [[(BOX, place % 2)] for place in range(40)]))
    assert "20 of 20 wrong boxes" in steps[0] and "cat taken for dog" in steps[0]
    loose = [100.0, 100, 300, 180]
    steps = next_steps_with_boxes(outcome(truths, [[(loose if place % 2 else BOX, 0)] for place in range(40)]))
    assert "overlap their object by less than half" in steps[0]


def test_what_finds_nothing_yet() -> None:
    [step] = next_steps_with_boxes(outcome(GOOD[0], [[([400.0, 0, 500, 99], 1)]] * 40))
    assert "hardly anything yet" in step


def test_few_pictures() -> None:
    [step] = next_steps_with_boxes(outcome(GOOD[0][:5], GOOD[1][:5]))
    assert "Only 5 validation pictures have boxes (too few for an interval)" in step
