"""Labels that look wrong: the answers of cleanlab, and which of them are said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mobilenets.measure.wrong_labels import confident_thresholds, wrong_labels

# Made by tests/fixtures/make_wrong_labels.py with cleanlab 2.9.0.
CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "wrong_labels.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_confident_learning_suspects_what_cleanlab_does_in_its_order(case: dict[str, list[float]]) -> None:
    found = wrong_labels(np.array(case["labels"]), np.array(case["probabilities"]))
    assert case["suspected"]
    assert [one.index for one in found] == case["suspected"]


def test_thresholds_are_the_mean_of_a_class_and_out_of_reach_without_pictures() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    assert confident_thresholds(np.array([0, 0, 1]), probabilities).tolist() == pytest.approx([0.6, 0.6, 1.0])
