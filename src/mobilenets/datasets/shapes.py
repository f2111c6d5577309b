"""Six shapes, drawn: pictures to try things on where there are no photos, no network and no package to install."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]

SIDE = 160  # pixels
FINE = 3  # drawn so many times larger, so that edges are smooth
PICTURES = 25  # of each shape


def _around(radii: tuple[float, ...], corners: int) -> list[Point]:
    """Corners on circles around the middle, one radius after the other."""
    turns = [2 * math.pi * number / corners for number in range(corners)]
    return [
        (radii[number % len(radii)] * math.cos(turn), radii[number % len(radii)] * math.sin(turn))
        for number, turn in enumerate(turns)
    ]


def _polygon(points: list[Point]) -> Callable[[ImageDraw.ImageDraw, Callable[[Point], Point]], None]:
    return lambda pen, place: pen.polygon([place(point) for point in points], fill=255)


def _ring(pen: ImageDraw.ImageDraw, place: Callable[[Point], Point]) -> None:
    for radius, fill in ((1.0, 255), (0.55, 0)):
        pen.polygon([place(point) for point in _around((radius,), 90)], fill=fill)


def _cross(pen: ImageDraw.ImageDraw, place: Callable[[Point], Point]) -> None:
    for long, short in ((1.0, 0.27), (0.27, 1.0)):
        corners = ((-long, -short), (long, -short), (long, short), (-long, short))
        pen.polygon([place(corner) for corner in corners], fill=255)


SHAPES = {
    "circle": _polygon(_around((1.0,), 90)),
    "cross": _cross,
    "ring": _ring,
    "square": _polygon(_around((1.0,), 4)),
    "star": _polygon(_around((1.0, 0.42), 10)),
    "triangle": _polygon(_around((1.0,), 3)),
}


def draw(shape: str, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one of ``SHAPES`` at any place, turn and size on a cloudy ground; returns ``SIDE``×``SIDE``×3.

    Each shape mostly has a colour of its own, as things in photos do, so that few pictures are enough to learn from.
    """
    rng = np.random.default_rng((seed, list(SHAPES).index(shape)))
    side = SIDE * FINE
    radius = side * rng.uniform(0.14, 0.3)
    middle = rng.uniform(radius, side - radius, 2)
    turn, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.0)

    def place(point: Point) -> Point:
        x, y = point[0], point[1] * squeeze
        along, across = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return (middle[0] + radius * along, middle[1] + radius * across)

    mask = Image.new("L", (side, side))
    SHAPES[shape](ImageDraw.Draw(mask), place)
    mask = mask.resize((SIDE, SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    hue = list(SHAPES).index(shape) / len(SHAPES) + rng.normal(0, 0.02)
    colour = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0))
    front = cloud(rng, 255 * np.array(colour))
    ground = cloud(rng, rng.uniform(30, 225) + rng.normal(0, 12, 3))
    shadow = ImageChops.offset(mask, 3, 3).point(lambda value: value * 0.5).filter(ImageFilter.GaussianBlur(3))
    picture = Image.composite(Image.new("RGB", (SIDE, SIDE)), ground, shadow)
    pixels = np.asarray(Image.composite(front, picture, mask), float)
    return np.clip(pixels + rng.normal(0, rng.uniform(2, 12), pixels.shape), 0, 255).astype(np.uint8)


def cloud(
    rng: np.random.Generator, colour: npt.NDArray[np.float64], size: tuple[int, int] = (SIDE, SIDE)
) -> Image.Image:
    """A colour with patches of its neighbours, brighter and darker."""
    light = rng.normal(0, 18, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 1))
    patches = colour + light + rng.normal(0, 6, (*light.shape[:2], 3))
    small = Image.fromarray(np.clip(patches, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)
