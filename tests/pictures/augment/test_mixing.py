"""Mixup and CutMix: targets tell the truth about the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.errors import InputError
from mobilenets.pictures.augment.mixing import Batch, blend, draw


def batch(count: int, height: int = 12, width: int = 9) -> tuple[Batch, Batch]:
    """Picture i is the constant i and its own class, so pixels name where they come from."""
    images = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, height, width, 3))
    return images.copy(), np.eye(count, dtype=np.float32)


def mixed_by(images: Batch, targets: Batch, rng: np.random.Generator, **alphas: float) -> tuple[Batch, Batch]:
    count, height, width, _ = images.shape
    drawn = draw(count, height, width, rng, **alphas)
    assert drawn is not None
    other = drawn.partner
    return drawn.apply((images, images[other]), (targets, targets[other]), blend)


@given(st.integers(1, 9), st.floats(1e-3, 100), st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_mixup_targets_match_the_pixels(count: int, alpha: float, seed: int) -> None:
    images, targets = batch(count)
    mixed, soft = mixed_by(images, targets, np.random.default_rng(seed), mixup=alpha)
    assert mixed.dtype == soft.dtype == np.float32
    assert np.allclose(soft.sum(1), 1, atol=1e-6) and (soft >= -1e-6).all()
    # The mean class under the targets is the pixel value, everywhere in the picture.
    expected = soft @ np.arange(count, dtype=np.float32)
    assert np.allclose(mixed, expected[:, None, None, None], atol=1e-4)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.floats(1e-3, 100), st.integers(0, 999))
@settings(max_examples=120, deadline=None)
def test_cutmix_targets_are_the_pixel_shares(count: int, height: int, width: int, alpha: float, seed: int) -> None:
    images, targets = batch(count, height, width)
    mixed, soft = mixed_by(images, targets, np.random.default_rng(seed), cutmix=alpha)
    assert mixed.dtype == soft.dtype == np.float32
    for picture, target in zip(mixed, soft, strict=True):
        shares = np.bincount(picture[..., 0].astype(int).ravel(), minlength=count) / (height * width)
        assert np.allclose(target, shares, atol=1e-5)


def test_cutmix_takes_one_box_from_the_same_place() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((6, 16, 16, 3), np.float32)
    mixed, soft = mixed_by(images, np.eye(6, dtype=np.float32), np.random.default_rng(3), cutmix=1.0)
    foreign = (mixed != images).any(-1)
    rows, columns = np.flatnonzero(foreign[0].any(1)), np.flatnonzero(foreign[0].any(0))
    assert 0 < foreign[0].sum() == len(rows) * len(columns)
    partner = int(np.where(np.arange(6) == 0, 0, soft[0]).argmax())
    assert np.array_equal(mixed[0][foreign[0]], images[partner][foreign[0]])


def test_shares_follow_the_beta_distribution() -> None:
    images, targets = batch(2, 40, 40)
    rng = np.random.default_rng(0)
    # A share is known where the pair is not with itself; for Beta(1, 1) it is uniform.
    drawn = [mixed_by(images, targets, rng, mixup=1.0)[1][0] for _ in range(4000)]
    shares = np.array([target[0] for target in drawn if 0 < target[0] < 1])
    assert 1800 < len(shares) < 2200
    assert np.histogram(shares, np.linspace(0, 1, 6))[0].min() > 320
    pale = np.array([mixed_by(images, targets, rng, mixup=0.1)[1][0, 0] for _ in range(1000)])
    assert ((pale < 0.05) | (pale > 0.95)).mean() > 0.8


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_same_seed_same_batch_and_the_inputs_stay(alphas: dict[str, float]) -> None:
    images, targets = batch(5)
    kept = images.copy(), targets.copy()
    first = mixed_by(images, targets, np.random.default_rng(7), **alphas)
    again = mixed_by(images, targets, np.random.default_rng(7), **alphas)
    other = mixed_by(images, targets, np.random.default_rng(8), **alphas)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(images, kept[0]) and np.array_equal(targets, kept[1])


def test_soft_targets_stay_distributions() -> None:
    images, _ = batch(4)
    targets = np.full((4, 10), 0.1, np.float32)
    for name in ("mixup", "cutmix"):
        mixed = mixed_by(images, targets, np.random.default_rng(0), **{name: 1.0})[1]
        assert np.allclose(mixed, 0.1, atol=1e-6)


def test_mix_picks_what_is_on() -> None:
    images, targets = batch(8)

    def constant(seed: int, **alphas: float) -> bool:
        mixed, _ = mixed_by(images, targets, np.random.default_rng(seed), **alphas)
        return bool((mixed == mixed[:, :1, :1]).all())

    assert all(constant(seed, mixup=1.0) for seed in range(30))
    assert sum(constant(seed, cutmix=1.0) for seed in range(100)) < 20  # only where the box is empty or all
    assert 40 < sum(constant(seed, mixup=1.0, cutmix=1.0) for seed in range(100)) < 75
    assert draw(8, 12, 9, np.random.default_rng(0)) is None


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf"), 1e-300, 1e9, True, "1", None])
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_hostile_alphas_are_refused_in_one_line(name: str, alpha: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be 0") as caught:
        draw(2, 4, 4, np.random.default_rng(0), **{name: alpha})
    assert "\n" not in str(caught.value)
