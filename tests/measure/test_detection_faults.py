"""What a detector does wrong, by kind."""

from __future__ import annotations

import numpy as np

from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.detection_faults import BACKGROUND, LOOSE, OTHER_CLASS, TWICE, Faults
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections

CAT, DOG = 0, 1


def faults(
    truths: list[Boxes], answers: list[list[tuple[list[float], float, int]]], sizes: list[tuple[int, int]] | None = None
) -> Faults:
    found = [
        Detections(
            np.array([box for box, _, _ in some], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in some], np.float32),
            np.array([label for _, _, label in some], np.int64),
        )
        for some in answers
    ]
    names = tuple(map(str, range(len(truths))))
    return Faults(DetectionEvaluation(("cat", "dog"), names, truths, found, sizes, threshold=0.5))


def test_kinds() -> None:
    truths = Boxes.of([[0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]], [CAT, DOG, CAT])
    one = faults(
        [truths],
        [
            [
                ([0, 0, 100, 100], 0.95, CAT),  # right
                ([200, 0, 300, 100], 0.9, CAT),  # a dog
                ([0, 0, 100, 90], 0.85, CAT),  # the first once more
                ([460, 0, 560, 100], 0.8, CAT),  # too far to the right
                ([600, 300, 700, 400], 0.7, DOG),  # nothing there
                ([400, 0, 500, 100], 0.4, CAT),  # right, but below the threshold
            ]
        ],
    )
    assert [(alarm.kind, alarm.true) for alarm in one.false_alarms] == [
        (OTHER_CLASS, DOG),
        (TWICE, None),
        (LOOSE, None),
        (BACKGROUND, None),
    ]
    assert [alarm.place for alarm in one.false_alarms] == [1, 2, 3, 4]
    # Rows are true, columns found, background last.
    assert one.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [2, 1, 0]]
    assert [(miss.label, miss.found_as, miss.below is not None) for miss in one.misses] == [
        (CAT, None, True),
        (DOG, CAT, False),
    ]
    assert one.to_json()["false_alarms_by_kind"] == {OTHER_CLASS: 1, LOOSE: 1, TWICE: 1, BACKGROUND: 1}


def test_the_diagonal_is_what_is_right() -> None:
    truths = [Boxes.of([[0, 0, 50, 50], [60, 0, 90, 30]], [CAT, DOG], [False, True], [False, False])]
    one = faults(truths, [[([0, 0, 50, 50], 0.9, CAT), ([60, 0, 90, 30], 0.8, DOG)]])
    # What is ignored is neither right nor wrong nor missed.
    assert one.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert one.false_alarms == () and one.misses == ()


def test_the_largest_share_of_its_picture_is_missed_worst() -> None:
    truths = [Boxes.of([[0, 0, 50, 50]], [CAT]), Boxes.of([[0, 0, 60, 60]], [CAT])]
    assert [miss.image for miss in faults(truths, [[], []]).misses] == [1, 0]
    assert [miss.image for miss in faults(truths, [[], []], [(60, 60), (600, 600)]).misses] == [0, 1]
