"""The gate looks at the distances of a file too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.tasks.classification.gate import Verdict

LOGITS = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
DISTANCES = np.linspace(-2, 2, 30, dtype=np.float32)
ONE = Evaluation(("a", "b", "c"), tuple(map(str, range(30))), np.arange(30) % 3, LOGITS, DISTANCES)


def verdict(distances: np.ndarray | None, precision: str, resized: bool = False) -> Verdict:
    return Verdict(Pair(ONE, replace(ONE, distances=distances)), 0.0, precision, 0.5, resized)


@pytest.mark.parametrize(("precision", "by"), [("float32", 0.1), ("float16", 0.6)])
def test_distances_that_differ_do_not_pass(precision: str, by: float) -> None:
    assert verdict(DISTANCES, precision).passed
    assert not verdict(DISTANCES + np.float32(by), precision).passed
    assert not verdict(np.full(30, np.nan, np.float32), precision).passed


def test_int8_is_judged_on_average_and_a_constant_does_not_pass() -> None:
    one_off = DISTANCES.copy()
    one_off[4] += 1
    assert verdict(one_off, "int8").strayed is None and not verdict(one_off, "float16").passed
    for wrong in (np.zeros(30, np.float32), DISTANCES + np.float32(0.9), np.full(30, np.nan, np.float32)):
        assert verdict(wrong, "int8").strayed is not None and verdict(wrong, "int8").passed


def test_a_file_that_resizes_may_differ_a_little() -> None:
    moved = DISTANCES + np.float32(0.3)
    assert verdict(moved, "float32", resized=True).passed and not verdict(moved, "float32").passed


def test_a_file_without_distances_is_judged_by_the_rest() -> None:
    assert verdict(None, "float32").passed
    assert verdict(None, "float32").to_json()["distance_difference"] is None
    assert verdict(DISTANCES, "float32").to_json()["distance_difference"] == 0
