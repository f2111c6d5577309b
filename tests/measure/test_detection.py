"""Figures of a detector: pycocotools' own, intervals, thresholds, and what stands in the JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure import average_precision as ap_module
from mobilenets.measure.average_precision import average_precision, resampled
from mobilenets.measure.detection import AP, DetectionEvaluation
from mobilenets.measure.metrics import wilson_interval
from mobilenets.measure.paired import DetectionPair
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections

FIXTURE = Path(__file__).parents[1] / "fixtures" / "pycocotools.json"
HERE = [[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
AWAY = [0.0, 60, 10, 70]


def found(corners: list[list[float]], scores: list[float], labels: list[int] | None = None) -> Detections:
    names = [0] * len(scores) if labels is None else labels
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(names, np.int64)
    )


def evaluation(truths: list[Boxes], answers: list[Detections], classes: int = 1, **more: float) -> DetectionEvaluation:
    images = tuple(f"{place}.png" for place in range(len(truths)))
    return DetectionEvaluation(tuple("abcdef"[:classes]), images, truths, answers, **more)  # type: ignore[arg-type]


def test_pycocotools_figures(benchmark: ModuleType) -> None:
    """What pycocotools 2.0.11 gave for these cases: ``python benchmarks/average_precision.py fixture FILE``."""
    wanted = json.loads(FIXTURE.read_text())
    assert len(wanted) >= 50
    kinds = {"crowd": 0, "empty": 0, "many": 0, "no class": 0}
    for seed, one in enumerate(wanted):
        classes, truths, answers = benchmark.case(seed)
        given = benchmark.ours(classes, truths, answers)
        assert given["figures"] == pytest.approx(one["figures"], abs=1e-9), seed
        assert given["classes"] == pytest.approx(one["classes"], abs=1e-9), seed
        kinds["crowd"] += any(boxes.crowd.any() for boxes in truths)
        kinds["empty"] += any(not len(boxes) for boxes in truths)
        kinds["many"] += any(np.bincount(some.labels, minlength=1).max() > 100 for some in answers)
        kinds["no class"] += -1 in one["classes"]
    assert min(kinds.values()) >= 2


def test_pycocotools_itself(benchmark: ModuleType) -> None:
    pytest.importorskip("pycocotools")
    for seed in range(200, 260):
        case = benchmark.case(seed)
        assert benchmark.difference(benchmark.ours(*case), benchmark.theirs(*case)) < 1e-9, seed


def test_by_hand() -> None:
    # Right, wrong, right, and one object missed: precision 1 up to a recall of 1/3, then 2/3 up to 2/3.
    one = evaluation([Boxes.of(HERE, [0, 0, 0])], [found([HERE[0], AWAY, HERE[1]], [0.9, 0.8, 0.7])])
    assert one.ap50 == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert one.ap == pytest.approx(one.ap50) and one.ap75 == pytest.approx(one.ap50)
    assert one.ar[1] == pytest.approx(1 / 3) and one.ar[10] == pytest.approx(2 / 3)
    assert one.by_size["small"][0] == pytest.approx(one.ap)
    assert all(math.isnan(value) for value in one.by_size["large"])
    assert one.metrics == {"ap": one.ap, "ap50": one.ap50}
    assert evaluation([Boxes.of(HERE, [0, 0, 0])], [found([], [])], loss=2.5).metrics["loss"] == 2.5
    assert AP.shown(0.25) == "25.0 %"


def test_drawing_a_picture_twice_is_having_it_twice() -> None:
    truths = [Boxes.of(HERE, [0, 0, 1]), Boxes.of(HERE[:1], [0]), Boxes.of(HERE[:2], [1, 1], [False, True])]
    answers = [
        found([HERE[0], AWAY, HERE[2]], [0.9, 0.8, 0.7], [0, 0, 1]),
        found([AWAY, HERE[0]], [0.85, 0.2]),
        found([HERE[1], HERE[0], AWAY], [0.9, 0.6, 0.5], [1, 1, 1]),
    ]
    one = evaluation(truths, answers, 2)
    several = resampled(one.matches, 2, resamples=40, seed=3)
    drawn = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=40)
    for times, given in zip(drawn, several, strict=True):
        places = np.repeat(np.arange(3), times)
        again = evaluation([truths[place] for place in places], [answers[place] for place in places], 2)
        np.testing.assert_allclose(given, average_precision(again.matches, 2)[0], atol=1e-12)
    assert len(np.unique(several[:, 0, 0])) > 3


def test_steps_change_nothing(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    truths, answers = benchmark.drawn(30, classes=3)
    one = evaluation(truths, answers, 3)
    whole = resampled(one.matches, 3, resamples=50)
    monkeypatch.setattr(ap_module, "_AT_ONCE", 700)
    np.testing.assert_array_equal(resampled(one.matches, 3, resamples=50), whole)


def test_interval_by_picture(benchmark: ModuleType) -> None:
    truths, answers = benchmark.drawn(60, classes=3)
    one = evaluation(truths, answers, 3)
    assert one.ap_interval is not None and one.ap50_interval is not None
    assert one.ap_interval[0] < one.ap < one.ap_interval[1]
    assert one.ap50_interval[0] < one.ap50 < one.ap50_interval[1]
    assert one.ap50_interval == evaluation(truths, answers, 3).ap50_interval
    assert "95 % interval" in one.summary()
    few = evaluation(truths[:19], answers[:19], 3)
    assert few.ap50_interval is None and "too few for an interval" in few.summary()
    assert one.to_json()["ap50_interval"] == list(one.ap50_interval)


def test_interval_where_nothing_differs() -> None:
    for score, wanted in ((0.9, wilson_interval(25, 25)), (None, wilson_interval(0, 25))):
        answers = [found([], []) if score is None else found([HERE[0]], [score])] * 25
        assert evaluation([Boxes.of(HERE[:1], [0])] * 25, answers).ap50_interval == pytest.approx(wanted)


def test_threshold() -> None:
    truths = [Boxes.of(HERE, [0, 0, 0])]
    one = evaluation(truths, [found([HERE[0], HERE[1], AWAY, HERE[2], AWAY, AWAY], [0.9, 0.8, 0.6, 0.5, 0.3, 0.2])])
    # Three of four right and all found is the best F1; the threshold lies midway to the next score.
    assert one.shown_from == pytest.approx(0.4)
    assert (one.precision, one.recall, one.f1) == (0.75, 1.0, pytest.approx(6 / 7))
    assert one.threshold_for(1.0) == pytest.approx(0.7)
    assert one.threshold_for(0.75) == pytest.approx(0.4)
    assert one.threshold_for(0.5) == pytest.approx(0.2, abs=1e-5)
    assert evaluation(truths, [found([AWAY], [0.9])]).threshold_for(0.5) is None
    fixed = evaluation(truths, list(one.found), threshold=0.85)
    assert (fixed.precision, fixed.recall) == (1.0, pytest.approx(1 / 3))
    assert fixed.to_json()["threshold_from"] == "the model"


def test_equal_scores_are_shown_together() -> None:
    one = evaluation([Boxes.of(HERE, [0, 0, 0])], [found([HERE[0], AWAY, HERE[1]], [0.9, 0.5, 0.5])])
    assert one.threshold_for(1.0) == pytest.approx(0.7)
    assert one.threshold_for(0.6) == pytest.approx(0.5, abs=1e-5)


def test_json() -> None:
    truths = [Boxes.of(HERE, [0, 0, 1]), Boxes.of()]
    one = evaluation(truths, [found([HERE[0]], [0.9]), found([AWAY], [0.95], [2])], 3)
    said = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert {"images", "ap", "ap50", "ap75", "ap50_interval", "classes"} <= said.keys()
    assert said["images"] == 2 and said["boxes"] == 3 and said["ap50_interval"] is None
    assert {"ap", "precision", "recall", "images", "boxes"} <= said["classes"]["a"].keys()
    assert said["classes"]["a"]["boxes"] == 2 and said["classes"]["a"]["images"] == 1
    assert said["classes"]["c"] == {
        **dict.fromkeys(("ap", "ap50", "ap50_interval", "recall")),
        "precision": 0.0,
        "f1": 0.0,
        "images": 0,
        "boxes": 0,
    }


def test_nothing_to_find() -> None:
    one = evaluation([Boxes.of()], [found([AWAY], [0.9])], threshold=0.5)
    assert math.isnan(one.ap) and one.to_json()["ap"] is None
    assert one.summary() == "no box to find, 1 false alarm"
    assert one.to_json()["recall"] is None
    with pytest.raises(InputError, match="no picture"):
        evaluation([], [])
    with pytest.raises(ValueError, match="one entry"):
        evaluation([Boxes.of()], [])


def test_pair(benchmark: ModuleType) -> None:
    truths, answers = benchmark.drawn(60, classes=3)
    one = evaluation(truths, answers, 3)
    same = DetectionPair(one, evaluation(truths, answers, 3))
    assert same.ap_change == 0 and same.ap_change_interval == (0, 0)
    # Every third picture loses its boxes: worse, and surely so.
    worse = evaluation(truths, [found([], []) if place % 3 == 0 else some for place, some in enumerate(answers)], 3)
    pair = DetectionPair(one, worse)
    assert pair.ap_change < 0 and pair.ap_change_interval is not None and pair.ap50_change_interval is not None
    low, high = pair.ap50_change_interval
    assert low < pair.ap50_change < high < 0
    assert pair.ap_change_interval[0] < pair.ap_change < pair.ap_change_interval[1]
    with pytest.raises(InputError, match="same pictures"):
        DetectionPair(one, evaluation(truths[:50], answers[:50], 3))
