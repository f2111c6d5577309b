"""Random crops, and those of large JPEGs, cut from a scaled decoding."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mobilenets.pictures.augment.crop import ENOUGH_DRAWN, RandomResizedCrop
from mobilenets.pictures.augment.presets import PRESETS
from mobilenets.pictures.augment.transforms import Compose, Flip
from mobilenets.pictures.decode import Decoded, decode_scaled
from mobilenets.pictures.preprocess import Preprocessing


def photo(width: int, height: int) -> bytes:
    """As a camera gives it: soft colours, edges that are not sharper than its lens, some grain."""
    rng = np.random.default_rng((width, height))
    soft = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    edges = Image.fromarray(rng.integers(-40, 41, (height // 20, width // 20)).astype(np.float32))
    pixels = np.asarray(soft) + np.asarray(edges.resize(soft.size, Image.Resampling.BILINEAR))[..., None]
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("size", [(1600, 1200), (1200, 1600)])
@pytest.mark.parametrize(("smallest", "pixels", "share"), [(0.35, 96, 4), (0.08, 96, 2), (0.08, 48, 4), (0.35, 48, 8)])
def test_the_same_part_and_nearly_the_same_pixels(
    size: tuple[int, int], smallest: float, pixels: int, share: int
) -> None:
    crop = RandomResizedCrop(pixels, (smallest, 1.0), interpolation="bicubic")
    content = photo(*size)
    whole, scaled = decode_scaled(content, None), decode_scaled(content, crop.surplus)
    assert (scaled.share, scaled.whole) == (share, size)
    for seed in range(12):
        given = crop(whole.image, np.random.default_rng(seed))
        drawn = crop.drawn(scaled, np.random.default_rng(seed))
        assert drawn.size == (pixels, pixels)
        apart = np.abs(np.asarray(given, np.int16) - np.asarray(drawn, np.int16))
        assert apart.max() <= 8 and apart.mean() < 0.8


def test_the_smallest_part_has_enough() -> None:
    crop = RandomResizedCrop(10, (0.25, 1.0))
    assert crop.surplus(40 * ENOUGH_DRAWN, 40 * ENOUGH_DRAWN) == 2
    assert crop.surplus(20 * ENOUGH_DRAWN, 80 * ENOUGH_DRAWN) == 2
    assert crop.surplus(39 * ENOUGH_DRAWN, 40 * ENOUGH_DRAWN) < 2
    assert RandomResizedCrop(10, interpolation="nearest").surplus(9000, 9000) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_two_steps_give_what_one_gives(name: str) -> None:
    """Where nothing is decoded smaller, a preset draws and gives what it did on the whole picture."""
    augment = PRESETS[name](Preprocessing(32))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    begun = augment.before_chance(Decoded(image))
    for seed in range(5):
        expected = augment(image, np.random.default_rng(seed))
        assert augment.drawn(begun, np.random.default_rng(seed)).tobytes() == expected.tobytes()


def test_without_a_crop_in_front_all_pixels_are_decoded() -> None:
    assert Compose((Flip(),)).surplus(9000, 9000) == Compose(()).surplus(9000, 9000) == 1
    image = Image.new("RGB", (4, 4))
    assert Compose(()).drawn(Compose(()).before_chance(Decoded(image)), np.random.default_rng(0)) is image


def test_crop_areas_and_ratios_are_uniform_in_their_ranges() -> None:
    crop, rng = RandomResizedCrop(8, (0.2, 0.4), (0.5, 2.0)), np.random.default_rng(0)
    boxes = np.array([crop.box((1000, 1000), rng) for _ in range(4000)])
    left, top, width, height = boxes.T
    area, ratio = width * height / 1e6, np.log(width / height) / math.log(2)
    assert (left >= 0).all() and (top >= 0).all()
    assert (left + width <= 1000).all() and (top + height <= 1000).all()
    for share, low, high in ((area, 0.2, 0.4), (ratio, -1, 1)):
        counts = np.histogram(share, np.linspace(low, high, 11))[0]
        assert counts.sum() > 3950  # a few fall out at the ends by whole pixels
        assert counts.min() > 320 and counts.max() < 480


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_crop_stays_inside_any_picture(width: int, height: int, seed: int) -> None:
    left, top, across, down = RandomResizedCrop(8).box((width, height), np.random.default_rng(seed))
    assert across > 0 and down > 0 and 0 <= left <= width - across and 0 <= top <= height - down


def test_crop_of_everything_is_a_resize() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    out = RandomResizedCrop(8, (1, 1), (1, 1), "bicubic")(image, np.random.default_rng(0))
    assert np.array_equal(np.asarray(out), np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC)))


def test_crop_falls_back_to_the_middle_of_a_strip() -> None:
    assert RandomResizedCrop(8, (0.9, 1)).box((300, 30), np.random.default_rng(0)) == (130, 0, 40, 30)
