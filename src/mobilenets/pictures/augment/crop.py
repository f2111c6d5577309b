"""A random part of a picture, at the network's size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from mobilenets.pictures.augment.transforms import Transform
from mobilenets.pictures.decode import Decoded
from mobilenets.pictures.preprocess import INTERPOLATIONS, MAX_SIZE

ENOUGH_DRAWN = 2
"""A picture is decoded so that the smallest part, were it square, has this many times the sides it is resized to."""


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A random part of the picture, stretched to ``size`` (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    ``area`` is the part's share of the picture, drawn uniformly; ``ratio`` is its width over height, drawn
    uniformly in the logarithm, so that wide and tall are equally likely. A part that does not fit is drawn
    anew, ten times; then the largest central part within ``ratio`` is taken.
    """

    kind: ClassVar[str] = "random_resized_crop"
    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        self.check_whole("size", 1, MAX_SIZE)
        self.check_range("area", 1e-4, 1)
        self.check_range("ratio", 0.01, 100)
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            raise self.fault("interpolation", " or ".join(INTERPOLATIONS), self.interpolation)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the part at ``size`` x ``size``."""
        return self.drawn(Decoded(image), rng)

    def surplus(self, width: int, height: int) -> float:
        """Say how many times smaller per side a picture may be decoded that every part of has enough."""
        if self.interpolation == "nearest":  # each pixel of its counts
            return 1.0
        return math.sqrt(self.area[0] * width * height) / (ENOUGH_DRAWN * self.size)

    def drawn(self, picture: Decoded, rng: np.random.Generator) -> Image.Image:
        """Return the part at ``size`` x ``size``; it is drawn in pixels of the whole, whatever the picture's scale."""
        left, top, width, height = (side / picture.share for side in self.box(picture.whole, rng))
        # The gap shrinks large photos by whole factors first: several times faster, and no visible change.
        return picture.image.resize(
            (self.size, self.size),
            INTERPOLATIONS[self.interpolation],
            box=(left, top, left + width, top + height),
            reducing_gap=3.0,
        )

    def box(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw the part of a picture of ``size`` (width, height): left, top, width, height in pixels."""
        whole_width, whole_height = size
        low, high = self.ratio
        for _ in range(10):
            area = rng.uniform(*self.area) * whole_width * whole_height
            ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= whole_width and 0 < height <= whole_height:
                left = int(rng.integers(whole_width - width + 1))
                return left, int(rng.integers(whole_height - height + 1)), width, height
        ratio = min(max(whole_width / whole_height, low), high)
        width = max(1, min(whole_width, round(whole_height * ratio)))
        height = max(1, min(whole_height, round(whole_width / ratio)))
        return (whole_width - width) // 2, (whole_height - height) // 2, width, height
