"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719): a few of 14 operations, all at one magnitude."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance

from mobilenets.pictures.augment.transforms import Fill, Transform, matrix, resample

Levels: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Enhancer: TypeAlias = Callable[[Image.Image], ImageEnhance._Enhance]
Operation: TypeAlias = Callable[[Image.Image, float, Fill], Image.Image]
"""Picture, level from -1 to 1 (operations without a direction take its size), fill beyond the border."""


LEVELS = np.arange(256)


def _curves(image: Image.Image, *curves: Levels) -> Image.Image:
    """Return the picture with each channel's levels mapped; one curve serves all three."""
    return image.point([level for curve in curves * (3 // len(curves)) for level in curve.tolist()])


def _stretched(low: int, high: int) -> Levels:
    if low >= high:
        return LEVELS
    stretched: Levels = np.clip((LEVELS - low) * 255 / (high - low), 0, 255).astype(np.int64)
    return stretched


def _equalized(histogram: Levels) -> Levels:
    """Return Pillow's equalising curve for a channel."""
    filled = histogram[histogram > 0]
    step = int(histogram.sum() - filled[-1]) // 255
    if len(filled) < 2 or not step:
        return LEVELS
    equalized: Levels = np.minimum((np.cumsum(histogram) - histogram + step // 2) // step, 255)
    return equalized


def _auto_contrast(image: Image.Image) -> Image.Image:
    # Pillow's own ImageOps builds its curves in Python loops: ten times the cost at 32 pixels.
    extrema = np.array(image.getextrema()).tolist()
    return _curves(image, *(_stretched(low, high) for low, high in extrema))


def _solarized(level: float) -> Levels:
    return np.where(round(256 * (1 - abs(level))) > LEVELS, LEVELS, 255 - LEVELS)


def _enhance(image: Image.Image, level: float, enhancer: Enhancer) -> Image.Image:
    return enhancer(image).enhance(1 + 0.9 * level)


def _translate(image: Image.Image, right: float, down: float, fill: Fill) -> Image.Image:
    # AutoAugment's 150 pixels of a picture of 331, as a share.
    reach = 150 / 331
    return resample(image, ((1, 0, -right * reach * image.width), (0, 1, -down * reach * image.height)), fill)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "identity": lambda image, level, fill: image,
        "auto_contrast": lambda image, level, fill: _auto_contrast(image),
        "equalize": lambda image, level, fill: _curves(
            image, *map(_equalized, np.array(image.histogram()).reshape(3, 256))
        ),
        "rotate": lambda image, level, fill: resample(image, matrix(30 * level, (0, 0), 0, (1, 1), image.size), fill),
        "solarize": lambda image, level, fill: _curves(image, _solarized(level)),
        "color": lambda image, level, fill: _enhance(image, level, ImageEnhance.Color),
        "posterize": lambda image, level, fill: _curves(image, LEVELS & -(1 << round(4 * abs(level)))),
        "contrast": lambda image, level, fill: _enhance(image, level, ImageEnhance.Contrast),
        "brightness": lambda image, level, fill: _enhance(image, level, ImageEnhance.Brightness),
        "sharpness": lambda image, level, fill: _enhance(image, level, ImageEnhance.Sharpness),
        "shear_x": lambda image, level, fill: resample(image, ((1, 0.3 * level, 0), (0, 1, 0)), fill),
        "shear_y": lambda image, level, fill: resample(image, ((1, 0, 0), (0.3 * level, 1, 0)), fill),
        "translate_x": lambda image, level, fill: _translate(image, level, 0, fill),
        "translate_y": lambda image, level, fill: _translate(image, 0, level, fill),
    }
)
"""The paper's operations; level 1: 30 degrees, shear 0.3, 0.45 of the side, factor 1.9, 4 bits, inverted."""

_ORDER = tuple(OPERATIONS.values())


@dataclass(frozen=True)
class RandAugment(Transform):
    """``count`` operations drawn with replacement, each at ``magnitude`` of 30 and in a random direction.

    The paper's scale of 0 to 30 (its ImageNet choice for a ResNet-50: 2 operations at 9); at 0 only the two
    without a strength, auto_contrast and equalize, change anything. ``fill`` as in ``Affine``; the paper's
    code fills grey.
    """

    kind: ClassVar[str] = "rand_augment"
    count: int = 2
    magnitude: float = 9
    fill: Fill = (128, 128, 128)

    def __post_init__(self) -> None:
        self.check_whole("count", 0, 14)
        self.check_number("magnitude", 0, 30)
        self.check_fill("nearest", "reflect")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture after the operations drawn."""
        for index in rng.integers(len(_ORDER), size=self.count):
            level = self.magnitude / 30 * (1 if rng.random() < 0.5 else -1)
            image = _ORDER[index](image, level, self.fill)
        return image
