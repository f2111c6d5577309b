"""Boxes follow their picture, and overlap as they should."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenets.pictures.boxes import Boxes, areas, joined, overlaps


def drawn(rng: np.random.Generator, count: int = 6, width: int = 40, height: int = 30) -> Boxes:
    left, top = rng.integers(0, width - 1, count), rng.integers(0, height - 1, count)
    right, bottom = rng.integers(left + 1, width + 1), rng.integers(top + 1, height + 1)
    return Boxes.of(np.stack([left, top, right, bottom], 1), rng.integers(0, 9, count), rng.random(count) < 0.3)


def painted(box: np.ndarray, width: int = 40, height: int = 30) -> np.ndarray:
    left, top, right, bottom = box.astype(int)
    pixels = np.zeros((height, width), bool)
    pixels[top:bottom, left:right] = True
    return pixels


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_painted_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = drawn(rng), drawn(rng)
    plain = overlaps(one.corners, other.corners)
    for a, first in enumerate(one.corners):
        for b, second in enumerate(other.corners):
            both, either = painted(first) & painted(second), painted(first) | painted(second)
            assert plain[a, b] == pytest.approx(both.sum() / either.sum())


def test_scaling_and_joining() -> None:
    boxes = Boxes.of([[1, 2, 3, 5]], [4])
    assert boxes.scaled(2).corners.tolist() == [[2, 4, 6, 10]]
    assert boxes.scaled(2, 1).corners.tolist() == [[2, 2, 6, 5]]
    both = joined([boxes, Boxes.of(), boxes])
    assert both.labels.tolist() == [4, 4] and areas(both.corners).tolist() == [6, 6]
    assert len(joined([])) == 0 and overlaps(boxes.corners, []).shape == (1, 0)
    assert overlaps([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="N×4"):
        Boxes.of([[1, 2, 3, 4]], [1, 2])
