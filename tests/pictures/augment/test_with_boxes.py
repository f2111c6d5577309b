"""Boxes follow the pixels: a coloured rectangle stays inside its box, whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mobilenets.errors import InputError
from mobilenets.pictures.augment.with_boxes import (
    PRESETS,
    BoxAugmentation,
    Placing,
    Shown,
    build_boxes,
    cropped,
    placing,
    zoomed_out,
)
from mobilenets.pictures.boxes import Boxes, overlaps
from mobilenets.pictures.preprocess import Preprocessing

SIZE = 96
CONTRACT = Preprocessing(SIZE, "stretch", interpolation="bilinear")


def shown(width: int, height: int, box: tuple[int, int, int, int], reduced: int = 1) -> Shown:
    """Give a black picture with a red rectangle."""
    image = Image.new("RGB", (width, height))
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(255, 0, 0))
    small = image.reduce(reduced) if reduced > 1 else image
    return Shown(small, (width, height), Boxes.of([box], [0]))


def red(image: Image.Image) -> tuple[float, float, float, float] | None:
    """Give the box around what is at least half red."""
    there = np.asarray(image)[..., 0].astype(int) - np.asarray(image)[..., 1] > 127
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    return None if not len(rows) else (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


boxes = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(16, 70), st.integers(16, 70)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(max_examples=120, deadline=None)
@given(boxes, st.integers(131, 260), st.integers(131, 260), st.integers(0, 2**31), st.sampled_from(["photo", "ssd"]))
def test_the_rectangle_fills_its_box_to_a_pixel(
    box: tuple[int, int, int, int], width: int, height: int, seed: int, preset: str
) -> None:
    augment = BoxAugmentation(CONTRACT, **{**PRESETS[preset], "colours": None})
    picture = shown(width, height, box)
    image, found = augment([picture], np.random.default_rng(seed))
    assert image.size == (SIZE, SIZE)
    seen = red(image)
    assert len(found) <= 1
    if not len(found):
        # Dropped only where little is left of it: its centre and three quarters are away.
        assert seen is None or (seen[2] - seen[0]) * (seen[3] - seen[1]) < SIZE * SIZE
        return
    assert (found.corners >= 0).all() and (found.corners <= SIZE).all()
    if seen is not None and (found.corners[0, 2:] - found.corners[0, :2]).min() > 3:
        assert np.abs(np.array(seen) - found.corners[0]).max() <= 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=4, max_size=4), st.integers(0, 2**31))
def test_a_mosaic_keeps_each_rectangle_in_its_box(four: list[tuple[int, int, int, int]], seed: int) -> None:
    augment = BoxAugmentation(CONTRACT, mosaic=1.0)
    image, found = augment([shown(140, 150, box) for box in four], np.random.default_rng(seed))
    assert len(found) == 4
    left = np.asarray(image)[..., 0].astype(int) - np.asarray(image)[..., 1] > 127
    for x0, y0, x1, y1 in found.corners:
        inside = left[round(y0 + 0.5) : round(y1 - 0.5), round(x0 + 0.5) : round(x1 - 0.5)]
        assert inside.all()
        left[max(0, int(y0 - 1)) : int(y1 + 2), max(0, int(x0 - 1)) : int(x1 + 2)] = False
    assert not left.any()  # nothing red outside the boxes


def test_a_reduced_picture_gives_the_same_boxes() -> None:
    augment = build_boxes("photo", CONTRACT)
    assert augment is not None
    box = (40, 60, 120, 160)
    whole, small = (augment([shown(200, 240, box, factor)], np.random.default_rng(4)) for factor in (1, 2))
    assert np.array_equal(whole[1].corners, small[1].corners)


def test_a_box_whose_centre_is_cut_away_is_left_out_of_learning() -> None:
    placed = Placing((0, 0, 50, 50), (0, 0, 100, 100))
    truth = Boxes.of([[30, 30, 80, 80], [45, 0, 99, 20], [10, 10, 20, 20], [30, 10, 90, 20]], [0, 1, 2, 3])
    found = placed.boxes(truth)
    # The first's centre is outside and 16 % of it seen: background. The last's too, with a third of it seen: neither.
    assert found.labels.tolist() == [2, 3] and found.ignored.tolist() == [False, True]
    assert found.corners[0].tolist() == [20, 20, 40, 40]


def test_placing_goes_to_whole_pixels() -> None:
    placed = placing((-10, -10, 110, 60), (100, 50), (0, 0, 96, 96), False)
    assert placed.source == (0, 0, 100, 50) and placed.target == (8, 14, 88, 82)
    mirrored = placing((-10, -10, 110, 60), (100, 50), (0, 0, 96, 96), True)
    assert mirrored.target == (8, 14, 88, 82)
    assert mirrored.corners(np.array([[0, 0, 10, 10]], np.float32))[0].round(3).tolist() == [80, 14, 88, 27.6]


@settings(max_examples=100, deadline=None)
@given(st.lists(boxes, max_size=4), st.integers(0, 2**31))
def test_a_crop_holds_a_centre(some: list[tuple[int, int, int, int]], seed: int) -> None:
    rng, whole = np.random.default_rng(seed), (200, 180)
    window = zoomed_out(whole, rng, 4.0)
    assert window[0] <= 0 and window[1] <= 0 and window[2] >= 200 and window[3] >= 180
    corners = np.array(some, np.float32).reshape(-1, 4)
    found = cropped(window, whole, corners, rng)
    assert found[0] >= window[0] - 1e-9 and found[3] <= window[3] + 1e-9
    if found != window and some:
        middles = (corners[:, :2] + corners[:, 2:]) / 2
        held = ((middles > found[:2]) & (middles < found[2:])).all(1)
        assert (overlaps(np.array([found]), corners)[0][held] >= 0.1).any()


def test_presets() -> None:
    assert build_boxes("none", CONTRACT) is None
    assert set(PRESETS) >= {"none", "light", "photo", "ssd", "mosaic"}
    for wrong in ("imagenet", [{"kind": "flip"}]):
        with pytest.raises(InputError, match="for boxes choose none, light, photo"):
            build_boxes(wrong, CONTRACT)
