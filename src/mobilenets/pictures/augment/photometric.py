"""Augmentation that changes pixels where they are: colour and erased boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from PIL import Image

from mobilenets.pictures.augment.transforms import Fill, Transform

Matrix: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

LUMA = np.array([0.299, 0.587, 0.114])
"""The weights of grey, ITU-R BT.601, as Pillow has them."""


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, in random order (Howard 2013, arXiv:1312.5402).

    A strength s of the first three draws a factor from 1 - s to 1 + s: towards black, the picture's mean
    grey, each pixel's grey, or away from it. ``hue`` is the largest turn about the grey axis of the RGB
    cube, to either side, in full turns: a third makes red green. All four are affine in the colour, so
    they are composed and the picture is clipped and rounded once.
    """

    kind: ClassVar[str] = "color_jitter"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self.check_number(name, 0, 1)
        self.check_number("hue", 0, 0.5)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture with its colours changed."""
        changes = rng.uniform(-1, 1, 4) * (self.brightness, self.contrast, self.saturation, self.hue)
        if not changes.any():
            return image
        turned, shifted = np.eye(3), np.zeros(3)
        for step in rng.permutation(4):
            change = float(changes[step])
            if not change:
                continue
            if step == 1:
                # The mean grey at this point: that of the whole picture, carried through the steps before.
                mean = np.array(image.reduce(image.size).getpixel((0, 0)), np.float64)  # in whole levels
                grey = float(LUMA @ (turned @ mean + shifted))
                turned, shifted = turned * (1 + change), shifted * (1 + change) - change * grey
            else:
                by = (brighten, brighten, saturate, turn_hue)[step](change)
                turned, shifted = by @ turned, by @ shifted
        return image.convert("RGB", tuple(np.column_stack([turned, shifted]).ravel().tolist()))


def brighten(change: float) -> Matrix:
    """Return the 3 x 3 colour map for a brightness of ``1 + change``."""
    return np.eye(3) * (1 + change)


def saturate(change: float) -> Matrix:
    """Return the 3 x 3 colour map for a saturation of ``1 + change``; at -1 every colour is its grey."""
    return np.eye(3) * (1 + change) - change * np.tile(LUMA, (3, 1))


def turn_hue(turns: float) -> Matrix:
    """Return the 3 x 3 rotation about the grey axis by that share of the circle: red, green, blue, red."""
    angle = 2 * math.pi * turns
    cosine, sine = math.cos(angle), math.sin(angle) / math.sqrt(3)
    along = (1 - cosine) / 3
    a, b, c = cosine + along, along - sine, along + sine
    return np.array([[a, b, c], [c, a, b], [b, c, a]])


@dataclass(frozen=True)
class RandomErasing(Transform):
    """One box painted over, with a probability (Zhong et al. 2017, arXiv:1708.04896, section 3.2).

    ``area`` is the box's share of the picture, ``ratio`` its height over width (uniform in the logarithm),
    ``fill`` "noise" (each value at random, the paper's best) or a colour. A box that does not fit is drawn
    anew, up to ten times; then the picture stays whole.
    """

    kind: ClassVar[str] = "random_erasing"
    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: Fill = "noise"

    def __post_init__(self) -> None:
        self.check_number("probability", 0, 1)
        self.check_range("area", 0, 1)
        self.check_range("ratio", 0.01, 100)
        self.check_fill("noise")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture, whole or with one box erased."""
        if rng.random() >= self.probability:
            return image
        for _ in range(10):
            area = rng.uniform(*self.area) * image.width * image.height
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            width, height = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < width <= image.width and 0 < height <= image.height:
                left = int(rng.integers(image.width - width + 1))
                top = int(rng.integers(image.height - height + 1))
                return self.erase(image, (left, top, left + width, top + height), rng)
        return image

    def erase(self, image: Image.Image, box: tuple[int, int, int, int], rng: np.random.Generator) -> Image.Image:
        """Return the picture with ``box`` (left, top, right, bottom) painted over."""
        image = image.copy()
        if isinstance(self.fill, str):
            width, height = box[2] - box[0], box[3] - box[1]
            image.paste(Image.frombytes("RGB", (width, height), rng.bytes(3 * width * height)), box)
        else:
            image.paste(self.fill, box)
        return image
