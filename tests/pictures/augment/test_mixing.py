"""Mixup and CutMix: targets tell the truth about the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.errors import InputError
from mobilenets.pictures.augment.mixing import Batch, CutMix, Mixup, mix


def batch(count: int, height: int = 12, width: int = 9) -> tuple[Batch, Batch]:
    """Picture i is the constant i and its own class, so pixels name where they come from."""
    images = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, height, width, 3))
    return images.copy(), np.eye(count, dtype=np.float32)


@given(st.integers(1, 9), st.floats(1e-3, 100), st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_mixup_targets_match_the_pixels(count: int, alpha: float, seed: int) -> None:
    images, targets = batch(count)
    mixed, soft = Mixup(alpha)(images, targets, np.random.default_rng(seed))
    assert mixed.dtype == soft.dtype == np.float32
    assert np.allclose(soft.sum(1), 1, atol=1e-6) and (soft >= -1e-6).all()
    # The mean class under the targets is the pixel value, everywhere in the picture.
    expected = soft @ np.arange(count, dtype=np.float32)
    assert np.allclose(mixed, expected[:, None, None, None], atol=1e-4)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.floats(1e-3, 100), st.integers(0, 999))
@settings(max_examples=120, deadline=None)
def test_cutmix_targets_are_the_pixel_shares(count: int, height: int, width: int, alpha: float, seed: int) -> None:
    images, targets = batch(count, height, width)
    mixed, soft = CutMix(alpha)(images, targets, np.random.default_rng(seed))
    assert mixed.dtype == soft.dtype == np.float32
    for picture, target in zip(mixed, soft, strict=True):
        shares = np.bincount(picture[..., 0].astype(int).ravel(), minlength=count) / (height * width)
        assert np.allclose(target, shares, atol=1e-5)


def test_cutmix_takes_one_box_from_the_same_place() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((6, 16, 16, 3), np.float32)
    mixed, soft = CutMix(1.0)(images, np.eye(6, dtype=np.float32), np.random.default_rng(3))
    foreign = (mixed != images).any(-1)
    rows, columns = np.flatnonzero(foreign[0].any(1)), np.flatnonzero(foreign[0].any(0))
    assert 0 < foreign[0].sum() == len(rows) * len(columns)
    partner = int(np.where(np.arange(6) == 0, 0, soft[0]).argmax())
    assert np.array_equal(mixed[0][foreign[0]], images[partner][foreign[0]])


def test_shares_follow_the_beta_distribution() -> None:
    images, targets = batch(2, 40, 40)
    rng = np.random.default_rng(0)
    # A share is known where the pair is not with itself; for Beta(1, 1) it is uniform.
    drawn = [Mixup(1.0)(images, targets, rng)[1][0] for _ in range(4000)]
    shares = np.array([target[0] for target in drawn if 0 < target[0] < 1])
    assert 1800 < len(shares) < 2200
    assert np.histogram(shares, np.linspace(0, 1, 6))[0].min() > 320
    pale = np.array([Mixup(0.1)(images, targets, rng)[1][0, 0] for _ in range(1000)])
    assert ((pale < 0.05) | (pale > 0.95)).mean() > 0.8


@pytest.mark.parametrize("mixer", [Mixup(0.4), CutMix(1.0)])
def test_same_seed_same_batch_and_the_inputs_stay(mixer: Any) -> None:
    images, targets = batch(5)
    kept = images.copy(), targets.copy()
    first = mixer(images, targets, np.random.default_rng(7))
    again = mixer(images, targets, np.random.default_rng(7))
    other = mixer(images, targets, np.random.default_rng(8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(images, kept[0]) and np.array_equal(targets, kept[1])


def test_soft_targets_stay_distributions() -> None:
    images, _ = batch(4)
    targets = np.full((4, 10), 0.1, np.float32)
    for mixer in (Mixup(1.0), CutMix(1.0)):
        assert np.allclose(mixer(images, targets, np.random.default_rng(0))[1], 0.1, atol=1e-6)


def test_mix_picks_what_is_on() -> None:
    images, targets = batch(8)

    def constant(seed: int, **alphas: float) -> bool:
        mixed, _ = mix(images, targets, np.random.default_rng(seed), **alphas)
        return bool((mixed == mixed[:, :1, :1]).all())

    assert all(constant(seed, mixup=1.0) for seed in range(30))
    assert sum(constant(seed, cutmix=1.0) for seed in range(100)) < 20  # only where the box is empty or all
    assert 40 < sum(constant(seed, mixup=1.0, cutmix=1.0) for seed in range(100)) < 75
    assert mix(images, targets, np.random.default_rng(0)) == (images, targets)


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf"), 1e-300, 1e9, True, "1", None])
def test_hostile_alphas_are_refused_in_one_line(alpha: Any) -> None:
    images, targets = batch(2)
    for call in (
        lambda: Mixup(alpha),
        lambda: CutMix(alpha),
        lambda: mix(images, targets, np.random.default_rng(0), mixup=alpha),
        lambda: mix(images, targets, np.random.default_rng(0), cutmix=alpha),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_zero_is_off_for_mix_alone() -> None:
    with pytest.raises(InputError):
        Mixup(0)


@pytest.mark.parametrize(
    ("images", "targets"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 5), np.float32)),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros((3, 5), np.float32)),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 5), np.float32)),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 5), np.float64)),
    ],
)
def test_malformed_batches_are_refused(images: Any, targets: Any) -> None:
    for mixer in (Mixup(1.0), CutMix(1.0)):
        with pytest.raises(ValueError, match="needs"):
            mixer(images, targets, np.random.default_rng(0))
