"""Mixup and CutMix on whole batches, in numpy.

Images are float32 (N, H, W, 3), targets arrays of N. One share and one pairing are drawn for the batch, as the papers
do.
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


def check_alpha(name: str, alpha: float) -> None:
    """Raise InputError unless ``alpha`` can shape a Beta(alpha, alpha), or is 0 (off)."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha)
    # Far below 1e-3 every draw is 0 or 1, and the generator's powers underflow.
    if not number or not (1e-3 <= alpha <= LARGEST_ALPHA or alpha == 0):
        raise InputError(f"{name} must be 0 (off), or a number from 0.001 to {LARGEST_ALPHA:g}, not {repr(alpha)[:40]}")


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


def draw(
    count: int, height: int, width: int, rng: np.random.Generator, mixup: float = 0.0, cutmix: float = 0.0
) -> Mixing | None:
    """Draw what happens to a batch of ``count`` pictures: Mixup or CutMix with these alphas, None with both 0 (off).

    With both on, a fair coin decides. Raises InputError on an alpha that is negative or not a number.
    """
    check_alpha("mixup", mixup)
    check_alpha("cutmix", cutmix)
    if not (mixup or cutmix):
        return None
    if mixup and (not cutmix or rng.random() < 0.5):
        return draw_mixup(count, rng, mixup)
    return draw_cutmix(count, height, width, rng, cutmix)


def draw_mixup(count: int, rng: np.random.Generator, alpha: float) -> Mixing:
    """Draw whom each picture is blended with, and the share, by Beta(alpha, alpha).

    Zhang et al. 2018, arXiv:1710.09412; their alpha on ImageNet is 0.2, on CIFAR 1.
    """
    share = rng.beta(alpha, alpha)
    return Mixing(rng.permutation(count), share)


def draw_cutmix(count: int, height: int, width: int, rng: np.random.Generator, alpha: float) -> Mixing:
    """Draw the box of each picture that is taken from another; targets mix by the pixels that each gave.

    Yun et al. 2019, arXiv:1905.04899; their alpha is 1. The box is clipped at the border, so the share is
    counted from the box and not from the draw.
    """
    side = math.sqrt(1 - rng.beta(alpha, alpha))
    top, bottom = span(height, side, rng)
    left, right = span(width, side, rng)
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixing(rng.permutation(count), share, (slice(top, bottom), slice(left, right)))


def span(length: int, fraction: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw where a box of that fraction of a side begins and ends: uniform centre, clipped to the side."""
    extent = int(length * fraction)
    start = int(rng.integers(length)) - extent // 2
    return max(0, start), min(length, start + extent)
