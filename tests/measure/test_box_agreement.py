"""Shuffled boxes and shuffled classes are told from right ones, and right ones are left in peace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobilenets.measure.box_agreement import agreement, regions
from mobilenets.pictures.boxes import Boxes


def drawn(seed: int, count: int = 100, side: int = 20, classes: int = 3) -> tuple[list[Any], list[Boxes]]:
    """Give maps with noise in which boxes stand out, each class in a channel of its own."""
    rng = np.random.default_rng(seed)
    maps, boxes = [], []
    for _ in range(count):
        map_ = rng.normal(size=(side, side, 8)).astype(np.float32)
        corners, labels = [], []
        for _ in range(int(rng.integers(1, 4))):
            x, y, width, height = (int(v) for v in rng.integers((0, 0, 3, 3), (14, 14, 7, 7)))
            label = int(rng.integers(classes))
            map_[y : y + height, x : x + width, label] += 1.0
            map_[y : y + height, x : x + width, 7] += 0.5
            corners.append([x / side, y / side, (x + width) / side, (y + height) / side])
            labels.append(label)
        maps.append(map_)
        boxes.append(Boxes.of(corners, labels))
    return maps, boxes


@pytest.mark.parametrize("seed", range(4))
def test_right_boxes_pass(seed: int) -> None:
    found = agreement(*drawn(seed), seed)
    assert found.faults == ()
    assert found.auc is not None and found.auc > 0.9
    assert found.accuracy is not None and found.accuracy > 0.8 and found.probability == pytest.approx(1 / 201)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_other_pictures_are_named(seed: int) -> None:
    maps, boxes = drawn(seed)
    found = agreement(maps, boxes[9:] + boxes[:9], seed)
    assert found.auc is not None and abs(found.auc - 0.5) < 0.15
    assert any("little to do with the pictures" in fault for fault in found.faults)


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_classes_are_named(seed: int) -> None:
    maps, boxes = drawn(seed)
    rng = np.random.default_rng(seed)
    found = agreement(maps, [Boxes.of(one.corners, rng.integers(0, 3, len(one))) for one in boxes], seed)
    assert found.auc is not None and found.auc > 0.9
    assert [fault[:11] for fault in found.faults] == ["the classes"]


def test_few_pictures_say_nothing() -> None:
    maps, boxes = drawn(0, 6)
    found = agreement(maps, boxes[1:] + boxes[:1])
    assert found.auc is None and found.accuracy is None and found.faults == ()
    assert agreement([], []).faults == ()


def test_regions_are_means_and_what_surrounds_them() -> None:
    map_ = np.zeros((10, 10, 1), np.float32)
    map_[4:6, 4:6] = 3.0
    mean, spread, beside, spread_beside = regions(map_, np.array([[0.4, 0.4, 0.6, 0.6]]))[0]
    assert (mean, spread, beside, spread_beside) == (3.0, 0.0, 3.0, 0.0)
