"""Mixup and CutMix on whole batches, in numpy.

Images are float32 (N, H, W, 3), targets arrays of N: by default float32 (N, K), blended as the images are. Each call
draws one share and one pairing for the batch, as the papers do. The inputs are left as they were; the results are new
arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from mobilenets.errors import InputError

Batch: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
MixTargets: TypeAlias = Callable[[Any, Any, float], Any]
"""Makes targets of pictures that are a share of the first and else of the second; may write over the second."""

LARGEST_ALPHA = 100.0


def check_alpha(name: str, alpha: float, *, off: bool = False) -> None:
    """Raise InputError unless ``alpha`` can shape a Beta(alpha, alpha); ``off`` allows 0."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha)
    # Far below 1e-3 every draw is 0 or 1, and the generator's powers underflow.
    if not number or not (1e-3 <= alpha <= LARGEST_ALPHA or (off and alpha == 0)):
        allowed = f"{'0 (off), or ' if off else ''}a number from 0.001 to {LARGEST_ALPHA:g}"
        raise InputError(f"{name} must be {allowed}, not {repr(alpha)[:40]}")


def check_batch(images: Batch, targets: Any) -> None:
    """Raise ValueError unless the images are a float32 batch, with as many targets."""
    if images.ndim != 4 or len(images) != len(targets):
        raise ValueError(f"needs images (N, H, W, C) and targets (N, …), not {images.shape} and {targets.shape}")
    if images.dtype != np.float32:
        raise ValueError(f"needs float32 images, not {images.dtype}")


def blend(first: Batch, second: Batch, share: float) -> Batch:
    """Return ``share * first + (1 - share) * second``, float32, written over ``second``."""
    if second.dtype != np.float32:
        raise ValueError(f"needs float32, not {second.dtype}")
    second -= first
    second *= np.float32(1 - share)
    second += first
    return second


@dataclass(frozen=True, eq=False)
class Mixing:
    """What was drawn for a batch of N: each picture's ``partner``, N places, and the ``share`` that the picture keeps.

    With a ``box`` of rows and columns these are taken from the partner; else all pixels are blended.
    """

    partner: Any
    share: float
    box: tuple[slice, slice] | None = None

    def apply(
        self, images: tuple[Batch, Batch], targets: tuple[Any, Any], mix_targets: MixTargets
    ) -> tuple[Batch, Any]:
        """Mix some pictures of the batch with their partners; both pairs hold theirs second, and may be written over.

        Whoever has only a part of the batch mixes it as it is mixed in the whole.
        """
        first, second = images
        if self.box is None:
            mixed = blend(first, second, self.share)
        else:
            mixed, box = first.copy(), (slice(None), *self.box)
            mixed[box] = second[box]
        return mixed, mix_targets(*targets, self.share)


@dataclass(frozen=True)
class Mixup:
    """Each picture blended with another, and the targets alike, by Beta(alpha, alpha).

    Zhang et al. 2018, arXiv:1710.09412; their alpha on ImageNet is 0.2, on CIFAR 1.
    """

    alpha: float
    mix_targets: MixTargets = blend

    def __post_init__(self) -> None:
        check_alpha("mixup", self.alpha)

    def __call__(self, images: Batch, targets: Any, rng: np.random.Generator) -> tuple[Batch, Any]:
        """Return blended images and targets."""
        return _mixed(self.draw(*_shape(images, targets), rng), images, targets, self.mix_targets)

    def draw(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mixing:
        """Draw share and partners for a batch of ``count`` pictures."""
        share = rng.beta(self.alpha, self.alpha)
        return Mixing(rng.permutation(count), share)


@dataclass(frozen=True)
class CutMix:
    """One box of each picture taken from another; the targets mix by the pixels each gave.

    Yun et al. 2019, arXiv:1905.04899; their alpha is 1. The box is clipped at the border, so the share is
    counted from the box and not from the draw.
    """

    alpha: float
    mix_targets: MixTargets = blend

    def __post_init__(self) -> None:
        check_alpha("cutmix", self.alpha)

    def __call__(self, images: Batch, targets: Any, rng: np.random.Generator) -> tuple[Batch, Any]:
        """Return images with a foreign box and the mixed targets."""
        return _mixed(self.draw(*_shape(images, targets), rng), images, targets, self.mix_targets)

    def draw(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mixing:
        """Draw box and partners for a batch of ``count`` pictures of these sides."""
        side = math.sqrt(1 - rng.beta(self.alpha, self.alpha))
        top, bottom = span(height, side, rng)
        left, right = span(width, side, rng)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return Mixing(rng.permutation(count), share, (slice(top, bottom), slice(left, right)))


def _shape(images: Batch, targets: Any) -> tuple[int, int, int]:
    check_batch(images, targets)
    count, height, width = images.shape[:3]
    return count, height, width


def _mixed(drawn: Mixing, images: Batch, targets: Any, mix_targets: MixTargets) -> tuple[Batch, Any]:
    partner = drawn.partner
    return drawn.apply((images, images[partner]), (targets, targets[partner]), mix_targets)


def span(length: int, fraction: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw where a box of that fraction of a side begins and ends: uniform centre, clipped to the side."""
    extent = int(length * fraction)
    start = int(rng.integers(length)) - extent // 2
    return max(0, start), min(length, start + extent)


def mix(
    images: Batch,
    targets: Any,
    rng: np.random.Generator,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    mix_targets: MixTargets = blend,
) -> tuple[Batch, Any]:
    """Return the batch after Mixup or CutMix with these alphas (0: off); with both on, a fair coin decides.

    With both off the same two arrays come back. Raises InputError on an alpha that is negative or not a
    number.
    """
    drawn = draw(*_shape(images, targets), rng, mixup, cutmix)
    return (images, targets) if drawn is None else _mixed(drawn, images, targets, mix_targets)


def draw(
    count: int, height: int, width: int, rng: np.random.Generator, mixup: float = 0.0, cutmix: float = 0.0
) -> Mixing | None:
    """Draw what ``mix`` does with a batch of ``count`` pictures; None with both off."""
    check_alpha("mixup", mixup, off=True)
    check_alpha("cutmix", cutmix, off=True)
    if not (mixup or cutmix):
        return None
    mixer = Mixup(mixup) if mixup and (not cutmix or rng.random() < 0.5) else CutMix(cutmix)
    return mixer.draw(count, height, width, rng)
