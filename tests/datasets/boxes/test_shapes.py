"""Drawn pictures have exact boxes, of what is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.boxes.compose import Piece, compose
from mobilenets.datasets.boxes.read import read_boxes
from mobilenets.datasets.boxes.shapes import CLASSES, draw, draw_boxes_set
from mobilenets.errors import InputError


def block(width: int, height: int, margin: int = 2) -> Image.Image:
    image = Image.new("RGBA", (width + 2 * margin, height + 2 * margin))
    image.paste((255, 0, 0, 255), (margin, margin, margin + width, margin + height))
    return image


def test_boxes_are_of_what_is_seen_of_each_piece() -> None:
    ground = Image.new("RGB", (100, 60))
    pieces = [
        Piece(block(40, 20), 3, 8, 8),  # seen from 10, 10 to 50, 30
        Piece(block(10, 30), 1, 38, 3),  # hides its right end
        Piece(block(20, 20), 2, -12, 38),  # half of it sticks out
        Piece(block(30, 30), 0, 8, 8),  # would hide most of the first: left away
        Piece(block(30, 30), 0, 95, 8),  # hardly seen: left away
    ]
    picture, boxes = compose(ground, pieces)
    assert boxes.corners.tolist() == [[10, 10, 40, 30], [40, 5, 50, 35], [0, 40, 10, 60]]
    assert boxes.labels.tolist() == [3, 1, 2]
    seen = np.asarray(picture)[..., 0] > 0
    expected = np.zeros((60, 100), bool)
    for left, top, right, bottom in boxes.corners.astype(int):
        expected[top:bottom, left:right] = True
    assert (seen == expected).all()


def test_a_piece_that_is_cut_in_the_middle_is_boxed_by_what_is_left() -> None:
    _, boxes = compose(Image.new("RGB", (50, 50)), [Piece(block(20, 20), 0, 0, 0), Piece(block(10, 30), 1, 10, 0)])
    assert boxes.corners.tolist() == [[2, 2, 12, 22], [12, 2, 22, 32]]


def test_the_same_seed_draws_the_same_and_every_class_comes() -> None:
    first, again = draw(3, 4), draw(3, 4)
    assert first[0].tobytes() == again[0].tobytes() and first[1].to_bytes() == again[1].to_bytes()
    drawn = [draw(0, number)[1] for number in range(40)]
    assert {label for boxes in drawn for label in boxes.labels.tolist()} == set(range(len(CLASSES)))
    sides = np.concatenate([boxes.corners[:, 2:] - boxes.corners[:, :2] for boxes in drawn])
    assert sides.min() >= 8 and sides.max() > 100


def test_the_set_is_read_without_a_fault(tmp_path: Path) -> None:
    assert draw_boxes_set(tmp_path / "shapes", 10, 5) == CLASSES
    dataset = read_boxes(tmp_path / "shapes", max_bad=0)
    assert (len(dataset.train), len(dataset.validation), dataset.classes) == (8, 2, CLASSES)
    assert not dataset.problems and dataset.bad == 0
    with pytest.raises(InputError, match="not empty"):
        draw_boxes_set(tmp_path / "shapes", 10, 5)
    with pytest.raises(InputError, match="at least two"):
        draw_boxes_set(tmp_path / "other", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
