"""Labels that look wrong: those that cleanlab suspects by the answers alone, and the evidence that is asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mobilenets.measure.wrong_labels import LEAST, sharpened, wrong_labels

# Made by tests/fixtures/make_wrong_labels.py with cleanlab 2.9.0.
CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "wrong_labels.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_without_a_least_score_those_are_suspected_that_cleanlab_suspects(case: dict[str, list[float]]) -> None:
    found = wrong_labels(np.array(case["labels"]), np.array(case["probabilities"]), -math.inf)
    assert case["suspected"]
    assert sorted(one.index for one in found) == sorted(case["suspected"])
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_what_is_often_mixed_up_needs_more_evidence() -> None:
    """Class 0 is half the time taken for class 1 and never for class 2: the same answer says more for class 2."""
    labels = np.repeat([0, 1, 2], 10)
    answers = np.full((30, 3), 0.001)
    answers[:10, 0], answers[:5, 1], answers[5:10, 1] = 0.5, 0.49, 0.3
    answers[10:20, 1] = answers[20:, 2] = 0.998
    answers[3] = [0.0005, 0.999, 0.0005]
    answers[4] = [0.0005, 0.0005, 0.999]
    [likely, possible] = wrong_labels(labels, answers / answers.sum(axis=1, keepdims=True), 0)
    assert (likely.index, likely.given, likely.suggested) == (4, 0, 2)
    assert (possible.index, possible.suggested) == (3, 1)
    assert likely.score > possible.score + 1
    assert wrong_labels(labels, answers, LEAST + 100) == ()


def test_a_probability_of_nought_and_a_class_without_pictures_give_a_finite_score() -> None:
    [one] = wrong_labels(np.array([0, 0]), np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), 0)
    assert (one.index, one.suggested) == (1, 2)
    assert math.isfinite(one.score)


def test_sharpened_undoes_a_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    true = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = np.array([rng.choice(3, p=row) for row in np.exp(true)])
    assert np.abs(sharpened(labels, true / 4) - np.exp(true)).mean() < 0.02
    assert np.abs(sharpened(labels, true * 4) - np.exp(true)).mean() < 0.02
