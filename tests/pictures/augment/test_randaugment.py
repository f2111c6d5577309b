"""The operations of RandAugment, beside Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mobilenets.pictures.augment.randaugment import OPERATIONS

BLACK = (0, 0, 0)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_papers_fourteen_operations() -> None:
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_at_level_zero_change_nothing_unless_without_strength(name: str) -> None:
    image = Image.fromarray((np.asarray(noise(20, 20)) // 2 + 30).astype(np.uint8))
    out = OPERATIONS[name](image, 0.0, BLACK)
    assert (out.tobytes() == image.tobytes()) == (name not in ("auto_contrast", "equalize"))


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_operations_at_full_level_change_much(name: str) -> None:
    image = Image.fromarray((np.asarray(noise(20, 20)) // 2 + 30).astype(np.uint8))
    for level in (1.0, -1.0):
        out = OPERATIONS[name](image, level, BLACK)
        assert out.size == image.size
        assert (np.asarray(out) != np.asarray(image)).mean() > 0.5


@given(st.integers(0, 1000), st.integers(1, 255), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_curves_agree_with_pillow(seed: int, spread: int, base: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, spread, (30, 30, 3)) + base
    image = Image.fromarray(np.minimum(pixels, 255).astype(np.uint8))
    equal = OPERATIONS["equalize"](image, 0, BLACK)
    assert equal.tobytes() == ImageOps.equalize(image).tobytes()
    stretched = np.asarray(OPERATIONS["auto_contrast"](image, 0, BLACK)).astype(int)
    assert np.abs(stretched - np.asarray(ImageOps.autocontrast(image))).max() <= 1
    solarized = OPERATIONS["solarize"](image, 0.5, BLACK)
    assert solarized.tobytes() == ImageOps.solarize(image, 128).tobytes()
    assert OPERATIONS["posterize"](image, -1, BLACK).tobytes() == ImageOps.posterize(image, 4).tobytes()
