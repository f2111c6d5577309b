from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mobilenets.measure.calibration import (
    FEW_PICTURES,
    calibrate,
    cross_fitted,
    ece_by_chance,
    fit_temperature,
    tempered,
)
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.answers import softmax


def drawn(pictures: int, temperature: float, classes: int = 5, seed: int = 0, spread: float = 3.0) -> Evaluation:
    """Draw logits, and labels that are as probable as these logits, divided by the temperature, say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (pictures, classes)).astype(np.float32)
    sums = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    labels = (rng.random((pictures, 1)) > sums).sum(axis=1).clip(0, classes - 1)
    return named(logits, labels)


def named(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    names = tuple(f"{number}.png" for number in range(len(labels)))
    return Evaluation(tuple("abcdefgh"[: logits.shape[1]]), names, labels.astype(np.int64), logits)


def all_right(pictures: int, seed: int = 0) -> Evaluation:
    one = drawn(pictures, 1.0, seed=seed)
    return named(one.logits, one.logits.argmax(axis=1))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    one = drawn(20_000, temperature)
    found = fit_temperature(one.logits, one.labels)
    assert found == pytest.approx(temperature, rel=0.04)
    # No other does better.
    assert tempered(one, found).loss < min(tempered(one, found * factor).loss for factor in (0.9, 1.1))
    assert found == float(f"{found:.4g}")


def test_pictures_that_are_all_right_speak_for_no_more_than_they_are() -> None:
    sure = [0.9]
    for pictures in (20, 100, 1000):
        one = all_right(pictures)
        sure.append(tempered(one, fit_temperature(one.logits, one.labels)).confidences.mean())
        assert sure[-2] < sure[-1] <= (pictures + 1) / (pictures + 2)


def test_logits_that_say_nothing_and_logits_that_are_far_apart() -> None:
    assert fit_temperature(np.zeros((30, 3), np.float32), np.zeros(30, np.int64)) == 1
    far = np.eye(3, dtype=np.float32)[np.arange(30) % 3] * 1e4
    assert fit_temperature(far, np.arange(30) % 3) == 20.0
    assert fit_temperature(-far, np.arange(30) % 3) == 20.0


def test_before_and_after_of_a_cautious_model() -> None:
    found = calibrate(drawn(1000, 0.4))
    assert found.cross_fitted and found.why is None and found.fitted_on == 1000
    assert found.before.ece > 0.1 > 0.04 > found.after.ece
    assert found.before.top1 == found.after.top1
    said = found.to_json()
    assert said["loss_after"] < said["loss_before"]
    assert (said["ece_before"], said["ece_after"]) == (found.before.ece, found.after.ece)


def test_a_picture_is_never_answered_with_a_temperature_that_it_gave() -> None:
    one = drawn(100, 0.5)
    labels = one.labels.copy()
    labels[::5] = (labels[::5] + 1) % 5  # those of the first fold
    other = cross_fitted(replace(one, labels=labels)).logits
    np.testing.assert_array_equal(cross_fitted(one).logits[::5], other[::5])
    assert (cross_fitted(one).logits[1::5] != other[1::5]).any()


def test_other_pictures_are_measured_where_there_are_some() -> None:
    held, measured = drawn(500, 0.4), drawn(400, 0.4, seed=1)
    found = calibrate(held, measured)
    assert not found.cross_fitted and found.temperature == fit_temperature(held.logits, held.labels)
    assert found.before is measured
    np.testing.assert_array_equal(found.after.logits, tempered(measured, found.temperature).logits)


def test_few_pictures_change_nothing() -> None:
    one = drawn(FEW_PICTURES - 1, 0.3)
    found = calibrate(one)
    assert found.temperature == 1 and found.after is one
    assert found.why == "19 held-out pictures are too few to fit a temperature on (20 are enough)"
    assert calibrate(drawn(FEW_PICTURES, 0.3)).temperature < 0.9


def test_a_temperature_that_does_not_help_is_not_taken() -> None:
    # Calibrated already: what these few pictures ask for helps no others.
    kept = [calibrate(drawn(40, 1.0, seed=seed)) for seed in range(20)]
    assert sum(found.temperature == 1 for found in kept) >= 8
    assert all(
        found.why == "no temperature lowers the loss on pictures that it was not fitted on"
        for found in kept
        if found.temperature == 1
    )


def test_the_error_of_a_perfect_model_is_above_zero() -> None:
    perfect = [drawn(200, 1.0, seed=seed) for seed in range(60)]
    expected = np.mean([ece_by_chance(one.confidences) for one in perfect])
    assert np.mean([one.ece for one in perfect]) == pytest.approx(expected, rel=0.1)
    assert 0 < ece_by_chance(np.full(2000, 0.8)) < ece_by_chance(np.full(20, 0.8))
    assert ece_by_chance(np.ones(20)) == 0
