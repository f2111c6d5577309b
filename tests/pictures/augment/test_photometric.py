"""Colours and erased boxes change as they are asked to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from mobilenets.pictures.augment.photometric import ColorJitter, RandomErasing
from mobilenets.pictures.augment.transforms import Transform

BLACK = (0, 0, 0)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def seeded(transform: Transform, image: Image.Image, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray(transform(image, np.random.default_rng(seed)))


class Fixed(np.random.Generator):
    """A generator whose uniform draws are all at one end, in a fixed order of steps."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, high, float)


def test_hue_by_a_third_makes_red_green_and_leaves_grey() -> None:
    image = Image.fromarray(np.array([[[200, 0, 0], [0, 200, 10], [90, 90, 90]]], np.uint8))
    out = np.asarray(ColorJitter(hue=1 / 3)(image, Fixed()))
    assert out.tolist() == [[[0, 200, 0], [10, 0, 200], [90, 90, 90]]]


@pytest.mark.parametrize(
    ("setting", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_single_colour_changes_agree_with_pillow(setting: str, enhancer: Any) -> None:
    image = noise(40, 30)
    ours = np.asarray(ColorJitter(**{setting: 0.4})(image, Fixed())).astype(int)
    assert np.abs(ours - np.asarray(enhancer(image).enhance(1.4))).max() <= 2  # its grey is rounded first


def test_colour_jitter_covers_its_range_evenly() -> None:
    image = Image.new("RGB", (4, 4), (100, 100, 100))
    levels = [int(seeded(ColorJitter(brightness=0.5), image, seed)[0, 0, 0]) for seed in range(2000)]
    counts = np.histogram(levels, np.linspace(50, 150, 6))[0]
    assert counts.sum() == 2000 and counts.min() > 320 and counts.max() < 480


def test_composed_steps_equal_one_after_the_other_in_any_order() -> None:
    pixels = np.random.default_rng(0).integers(80, 130, (20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    strengths = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.4, "hue": 0.1}
    seen = set()
    for order in itertools.permutations(range(4)):
        rng = Fixed()
        rng.permutation = lambda *_, order=order: np.array(order)  # type: ignore[method-assign, assignment]
        at_once = ColorJitter(**strengths)(image, rng)
        stepwise = image
        for step in order:
            name = list(strengths)[step]
            stepwise = ColorJitter(**{name: strengths[name]})(stepwise, Fixed())
        assert np.abs(np.asarray(at_once).astype(int) - np.asarray(stepwise)).max() <= 4
        seen.add(at_once.tobytes())
    assert len(seen) > 3
    rng = Fixed()
    assert {ColorJitter(**strengths)(image, rng).tobytes() for _ in range(200)} == seen


@given(st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_erased_box_is_one_rectangle_within_area_and_ratio(seed: int) -> None:
    image = Image.new("RGB", (100, 100), (255, 255, 255))
    gone = (seeded(RandomErasing(1, (0.05, 0.3), (0.5, 2), BLACK), image, seed) == 0).all(2)
    rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert gone.sum() == height * width
    assert 0.045 < gone.mean() < 0.31
    assert 0.45 < height / width < 2.2


def test_erasing_happens_as_often_as_asked_and_with_noise() -> None:
    image = Image.new("RGB", (30, 30), (1, 2, 3))
    outs = [seeded(RandomErasing(0.25), image, seed) for seed in range(1000)]
    changed = [out for out in outs if (out != (1, 2, 3)).any()]
    assert 200 < len(changed) < 300
    assert len(np.unique(changed[0])) > 20


def test_a_box_that_cannot_fit_leaves_the_picture() -> None:
    image = noise(50, 1)
    assert np.array_equal(seeded(RandomErasing(1, (0.5, 0.9), (1, 1)), image), np.asarray(image))
