"""The figures against scikit-learn, against values worked by hand, and against their own definitions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn

from mobilenets.errors import FaultFound, InputError
from mobilenets.measure.metrics import Evaluation, wilson_interval


def evaluation(logits: object, labels: object) -> Evaluation:
    values = np.asarray(logits, np.float32)
    names = tuple(f"class {k}" for k in range(values.shape[1]))
    images = tuple(f"{i}.jpg" for i in range(len(values)))
    return Evaluation(names, images, np.asarray(labels, np.int64), values)


def noisy(n: int = 400, width: int = 7, seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, width, n)
    logits = rng.normal(0, 1, (n, width))
    logits[np.arange(n), labels] += 1.5
    return evaluation(logits, labels)


cases = st.integers(1, 8).flatmap(
    lambda width: st.integers(1, 20).flatmap(
        lambda n: st.tuples(
            # Whole numbers, so that ties are common.
            arrays.arrays(np.float32, (n, width), elements=st.integers(-3, 3).map(float)),
            arrays.arrays(np.int64, n, elements=st.integers(0, width - 1)),
        )
    )
)


def test_wilson_interval_equals_the_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)


def test_wilson_interval_ends_exactly_at_0_and_1() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(3, 2)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate_and_its_ends_solve_the_score_equation(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = wilson_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-5)
    mirrored = wilson_interval(n - hits, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


def test_everything_agrees_with_scikit_learn() -> None:
    one = noisy()
    names = np.arange(7)
    predicted = one.logits.argmax(axis=1)
    assert one.loss == pytest.approx(sklearn.log_loss(one.labels, one.probabilities, labels=names))
    assert one.top1 == sklearn.accuracy_score(one.labels, predicted)
    assert one.top5 == sklearn.top_k_accuracy_score(one.labels, one.logits, k=5, labels=names)
    assert one.macro_f1 == pytest.approx(sklearn.f1_score(one.labels, predicted, average="macro"))
    np.testing.assert_array_equal(one.confusion, sklearn.confusion_matrix(one.labels, predicted, labels=names))
    expected = zip(*sklearn.precision_recall_fscore_support(one.labels, predicted, labels=names), strict=True)
    for score, values in zip(one.per_class.values(), expected, strict=True):
        assert (score.precision, score.recall, score.f1, score.images) == pytest.approx(values)


def test_calibration_error_by_hand() -> None:
    # Two pictures at confidence 0.75 of which one is right, and two at 0.95, both right.
    sure, surer = math.log(3), math.log(19)
    one = evaluation([[sure, 0], [sure, 0], [surer, 0], [surer, 0]], [0, 1, 0, 0])
    assert one.ece == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    filled = [part for part in one.reliability if part.images]
    assert [(part.images, part.accuracy) for part in filled] == [(2, 0.5), (2, 1.0)]
    assert [part.confidence for part in filled] == pytest.approx([0.75, 0.95])
    assert all(part.confidence is None and part.accuracy is None for part in one.reliability if not part.images)


def test_bins_are_closed_above_and_hold_certainty() -> None:
    # Softmax of five equal logits is 0.2, the upper edge of the third bin of width 1/15.
    third = evaluation([[0, 0, 0, 0, 0]], [0]).reliability
    assert [part.images for part in third].index(1) == 2
    assert evaluation([[500, 0]], [0]).reliability[-1].images == 1


def test_loss_interval_by_hand() -> None:
    one = evaluation([[0, 0], [0, 0], [math.log(3), 0], [math.log(3), 0]], [0, 1, 0, 1])
    losses = [math.log(2), math.log(2), math.log(4 / 3), math.log(4)]
    np.testing.assert_allclose(one.losses, losses, rtol=1e-6)
    half = 1.959964 * np.std(losses, ddof=1) / 2
    assert one.loss_interval == pytest.approx((np.mean(losses) - half, np.mean(losses) + half))
    assert evaluation([[1, 0]], [0]).loss_interval is None


def test_the_largest_class_is_the_baseline() -> None:
    labels = np.array([0, 0, 0, 1, 2])
    one = Evaluation(("a", "b", "c", "none"), tuple("12345"), labels, np.zeros((5, 4), np.float32))
    assert one.baseline_top1 == one.to_json()["baseline_top1"] == 3 / 5


def test_a_network_that_always_says_the_same_scores_nothing() -> None:
    one = evaluation(np.zeros((12, 10)), np.arange(12) % 10)
    assert one.top1 == one.top5 == 0
    assert one.confusion.trace() == 0
    # With five classes or fewer the first five are all of them.
    assert evaluation(np.zeros((4, 5)), [0, 1, 2, 3]).top5 == 1


@settings(deadline=None)
@given(cases)
def test_the_figures_agree_with_each_other(case: tuple[np.ndarray, np.ndarray]) -> None:
    one = evaluation(*case)
    n = len(one.labels)
    assert one.confusion.sum() == n
    assert one.top1 == one.confusion.trace() / n == (one.predicted == one.labels).mean()
    assert one.top1 <= one.top5
    assert one.top1_interval[0] <= one.top1 <= one.top1_interval[1]
    assert 0 <= one.ece <= 1
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1)
    # The answer given is always among the highest.
    assert (one.logits[np.arange(n), one.predicted] == one.logits.max(axis=1)).all()
    assert len(one.mistakes(n)) == n - round(one.top1 * n)
    assert sum(part.images for part in one.reliability) == n
    text = json.dumps(one.to_json(), allow_nan=False)
    assert json.loads(text)["images"] == n


def test_a_class_without_pictures() -> None:
    # Class 2 has no picture but was predicted once; class 3 has neither.
    one = evaluation([[1, 0, 0, 0], [0, 0, 1, 0]], [0, 1])
    never, missed = one.per_class["class 3"], one.per_class["class 2"]
    assert (missed.precision, missed.recall, missed.f1, missed.images) == (0.0, None, 0.0, 0)
    assert (never.precision, never.recall, never.f1, never.images) == (None, None, None, 0)
    assert one.per_class["class 1"].precision is None
    assert one.macro_f1 == pytest.approx((1 + 0 + 0) / 3)
    assert one.to_json()["classes"]["class 3"] == {"precision": None, "recall": None, "f1": None, "images": 0}


def test_extreme_logits_stay_finite() -> None:
    one = evaluation([[3e38, -3e38], [-3e38, 3e38]], [0, 0])
    assert one.top1 == 0.5
    assert math.isfinite(one.loss)
    json.dumps(one.to_json(), allow_nan=False)


def test_mistakes_come_surest_first() -> None:
    one = evaluation([[3, 0, 0], [0, 5, 0], [0, 0, 9], [4, 0, 0]], [1, 0, 2, 2])
    found = one.mistakes(10)
    assert [(m.index, m.true, m.predicted) for m in found] == [(1, 0, 1), (3, 2, 0), (0, 1, 0)]
    assert [m.probability for m in found] == sorted((m.probability for m in found), reverse=True)
    assert found[0].probability == pytest.approx(math.exp(5) / (math.exp(5) + 2))
    assert one.mistakes(1) == found[:1]


def test_the_json_has_the_contract_s_keys() -> None:
    value = noisy().to_json()
    assert {"images", "loss", "top1", "top5", "top1_interval", "ece", "classes", "confusion"} <= value.keys()
    assert {"loss_interval", "top5_interval", "macro_f1"} <= value.keys()
    assert list(value["classes"]["class 0"]) == ["precision", "recall", "f1", "images"]


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(InputError, match="no picture"):
        evaluation(np.zeros((0, 3)), [])
    with pytest.raises(InputError, match="two classes are called 'crane'"):
        Evaluation(("crane", "crane"), ("a",), np.zeros(1, np.int64), np.zeros((1, 2), np.float32))
    with pytest.raises(FaultFound, match="1 of 2 pictures"):
        evaluation([[0, np.nan], [0, 1]], [0, 1])
    with pytest.raises(ValueError, match="labels must be"):
        evaluation([[0, 1]], [2])
    with pytest.raises(ValueError, match="do not fit"):
        evaluation([[0, 1]], [0, 1])
