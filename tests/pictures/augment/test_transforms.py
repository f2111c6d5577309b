"""Augmentation: what moves goes where it should, and the same seed gives the same pixels."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.pictures.augment.crop import RandomResizedCrop
from mobilenets.pictures.augment.photometric import ColorJitter, RandomErasing
from mobilenets.pictures.augment.presets import KINDS, from_json
from mobilenets.pictures.augment.randaugment import RandAugment
from mobilenets.pictures.augment.transforms import (
    Affine,
    Compose,
    Fit,
    Flip,
    PadCrop,
    Transform,
    VerticalFlip,
    matrix,
    resample,
)
from mobilenets.pictures.preprocess import Preprocessing

BLACK = (0, 0, 0)
EVERY = (
    Fit(Preprocessing(24, mean=(0.1, 0.2, 0.3), resize="pad")),
    RandomResizedCrop(24, (0.2, 0.9), (0.5, 2.0), "lanczos"),
    PadCrop(24, 3, "reflect"),
    PadCrop(24, 3, (1, 2, 3)),
    Affine(30, 0.1, 5, (0.9, 1.3), "reflect"),
    Flip(0.3),
    VerticalFlip(1),
    ColorJitter(0.1, 0.2, 0.3, 0.4),
    RandomErasing(0.7, (0.1, 0.2), (0.5, 3), (9, 8, 7)),
    RandomErasing(1.0),
    RandAugment(3, 12.5, "nearest"),
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def dot(x: int, y: int, size: int = 33) -> Image.Image:
    image = Image.new("RGB", (size, size))
    image.putpixel((x, y), (255, 255, 255))
    return image


def brightest(image: Image.Image) -> tuple[int, int]:
    y, x = np.unravel_index(np.asarray(image).sum(2).argmax(), (image.height, image.width))
    return int(x), int(y)


def seeded(transform: Transform, image: Image.Image, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray(transform(image, np.random.default_rng(seed)))


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: t.kind)
def test_same_seed_same_pixels_and_the_source_stays(transform: Transform) -> None:
    image = noise(24, 24)
    before = image.tobytes()
    np.random.seed(1)
    first = seeded(transform, image, 5)
    np.random.seed(2)
    assert np.array_equal(first, seeded(transform, image, 5))
    assert image.tobytes() == before
    if transform.kind not in ("fit", "vertical_flip"):
        others = [seeded(transform, image, seed) for seed in range(6, 26)]
        assert any(not np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: t.kind)
def test_global_generator_is_left_alone(transform: Transform) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    seeded(transform, noise(24, 24))
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("transform", [*EVERY, Compose(EVERY)], ids=lambda t: t.kind)
def test_json_round_trip(transform: Transform) -> None:
    assert from_json(json.loads(json.dumps(transform.to_json()))) == transform


def test_every_kind_is_tried() -> None:
    assert {transform.kind for transform in EVERY} | {"compose"} == set(KINDS)


def test_flips_are_exact_mirrors() -> None:
    image = noise(7, 5)
    pixels = np.asarray(image)
    assert np.array_equal(seeded(Flip(1), image), pixels[:, ::-1])
    assert np.array_equal(seeded(VerticalFlip(1), image), pixels[::-1])
    assert np.array_equal(seeded(Flip(0), image), pixels)
    flipped = sum(np.array_equal(seeded(Flip(0.3), image, seed), pixels[:, ::-1]) for seed in range(1000))
    assert 240 < flipped < 360


@pytest.mark.parametrize("fill", [BLACK, "nearest", "reflect"])
@pytest.mark.parametrize("shape", [(1, 1), (31, 18)])
def test_affine_at_rest_is_exact(fill: Any, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    assert np.array_equal(seeded(Affine(fill=fill), image), np.asarray(image))


@pytest.mark.parametrize("fill", [BLACK, "nearest", "reflect"])
@pytest.mark.parametrize(("angle", "quarters"), [(90, 1), (180, 2), (-90, -1)])
def test_quarter_turns_are_counter_clockwise(fill: Any, angle: float, quarters: int) -> None:
    image = noise(16, 16)
    turned = resample(image, matrix(angle, (0, 0), 0, (1, 1), image.size), fill)
    change = np.asarray(turned).astype(int) - np.rot90(np.asarray(image), quarters)
    assert np.abs(change).max() <= 1  # the sine of half a turn is not quite zero, and Pillow rounds down


def test_known_moves_bring_a_point_to_the_right_place() -> None:
    right_of_centre, size = dot(26, 16), (33, 33)  # ten pixels right of the centre (16, 16)

    def moved(angle: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float]) -> Any:
        return brightest(resample(right_of_centre, matrix(angle, shift, shear, zoom, size), BLACK))

    step = 10 / math.sqrt(2)
    assert moved(45, (0, 0), 0, (1, 1)) == (round(16 + step), round(16 - step))  # up is the smaller y
    assert moved(0, (-5 / 33, 4 / 33), 0, (1, 1)) == (21, 20)
    assert moved(90, (3 / 33, 0), 0, (1, 1)) == (19, 6)  # turned first, then shifted
    assert moved(0, (0, 0), 0, (2, 1)) == (21, 16)  # twice as much is seen, so half as far out
    assert moved(0, (0, 0), 30, (1, 1)) == (28, 22)  # x' = 10 / cos 30, y' = x' sin 30


@given(st.floats(-180, 180), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(-80, 80), st.floats(0.2, 5))
@settings(max_examples=60, deadline=None)
def test_matrix_is_keras_product(angle: float, right: float, down: float, shear: float, zoom: float) -> None:
    """Rotation, shift, shear and zoom multiplied in ImageDataGenerator's order, written in x and y."""
    turn, slant = math.radians(angle), math.radians(shear)
    rotate = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    shift = np.array([[1, 0, -right * 40], [0, 1, -down * 30], [0, 0, 1]])
    lean = np.array([[math.cos(slant), 0, 0], [-math.sin(slant), 1, 0], [0, 0, 1]])
    product = rotate @ shift @ lean @ np.diag([zoom, 1.5, 1])
    assert np.allclose(matrix(angle, (right, down), shear, (zoom, 1.5), (40, 30)), product[:2])


def test_fills_go_on_as_promised() -> None:
    row = Image.fromarray(np.array([[[10] * 3, [20] * 3, [30] * 3, [40] * 3]], np.uint8))
    to_the_right = ((1.0, 0.0, -3.0), (0.0, 1.0, 0.0))
    for fill, wanted in (
        ((7, 7, 7), [7, 7, 7, 10]),
        ("nearest", [10, 10, 10, 10]),
        ("reflect", [30, 20, 10, 10]),
    ):
        assert np.asarray(resample(row, to_the_right, fill))[0, :, 0].tolist() == wanted


@given(
    st.floats(0, 180),
    st.floats(0, 1),
    st.floats(0, 89),
    st.integers(0, 99),
    st.sampled_from(["nearest", "reflect"]),
)
@settings(max_examples=60, deadline=None)
def test_edge_fills_leave_no_hole(rotation: float, shift: float, shear: float, seed: int, fill: str) -> None:
    image = Image.new("RGB", (23, 11), (200, 100, 50))
    out = seeded(Affine(rotation, shift, shear, (0.5, 3.0), fill), image, seed)
    assert (out == (200, 100, 50)).all()


@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 99), st.sampled_from(["nearest", "reflect"]))
@settings(max_examples=60, deadline=None)
def test_pad_crop_equals_padding_and_slicing(size: int, padding: int, seed: int, fill: str) -> None:
    image = noise(size, size)
    mode: Any = {"nearest": "edge", "reflect": "symmetric"}[fill]
    padded = np.pad(np.asarray(image), ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    rng = np.random.default_rng(seed)
    left, top = int(rng.integers(2 * padding + 1)), int(rng.integers(2 * padding + 1))
    out = seeded(PadCrop(size, padding, fill), image, seed)
    assert np.array_equal(out, padded[top : top + size, left : left + size])


def test_pad_crop_reaches_every_shift_and_fills_with_the_colour() -> None:
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    outs = [seeded(PadCrop(8, 2, (0, 0, 9)), image, seed) for seed in range(300)]
    assert len({out.tobytes() for out in outs}) == 25
    assert all(set(map(tuple, out.reshape(-1, 3).tolist())) <= {(255, 0, 0), (0, 0, 9)} for out in outs)


def test_pad_crop_refuses_a_picture_too_small() -> None:
    with pytest.raises(InputError, match="fit before"):
        seeded(PadCrop(32, 4), noise(20, 40))
