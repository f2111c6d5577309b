"""A small set to try finding things with: drawn shapes, several in a picture, with exact boxes."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mobilenets.datasets.boxes.compose import Piece, compose
from mobilenets.datasets.boxes.write import write_coco
from mobilenets.datasets.shapes import FINE, SHAPES, Point, cloud
from mobilenets.datasets.write import new_folder
from mobilenets.errors import InputError
from mobilenets.pictures.boxes import Boxes

SIZES = ((320, 240), (240, 320), (320, 320))  # width, height in pixels
MOST = 6  # shapes in a picture
LEAST_RADIUS, LARGEST_RADIUS = 12, 80  # pixels
EMPTY = 0.04  # of the pictures show nothing
HELD_OUT = 0.2  # of the pictures are for validation
CLASSES = tuple(sorted(SHAPES))
_ABOUT = "Shapes drawn by mobilenets: a set to try things with, and no measure of anything else"


def draw_boxes_set(
    folder: Path, pictures: int = 300, seed: int = 0, least_radius: float = LEAST_RADIUS
) -> tuple[str, ...]:
    """Draw pictures of the six shapes of ``SHAPES`` at all sizes on cloudy grounds, and write them with their boxes.

    Written are ``images/train``, ``images/validation`` and COCO's JSON in ``annotations``; a fifth of the pictures is
    for validation. No shape is smaller than ``least_radius`` pixels. The same seed gives the same pictures. Returns the
    classes in order. Raises InputError where ``folder`` is not empty or cannot be written.

    >>> draw_boxes_set(Path("shapes"), pictures=10)  # doctest: +SKIP
    ('circle', 'cross', 'ring', 'square', 'star', 'triangle')

    """
    if pictures < 2:
        raise InputError(f"{pictures} pictures: at least two are needed, one to learn from and one to measure on")
    held_out = max(1, round(HELD_OUT * pictures))
    with new_folder(folder) as whole:
        for half, numbers in (("train", range(held_out, pictures)), ("validation", range(held_out))):
            (whole / "images" / half).mkdir(parents=True)
            listed = []
            for place, number in enumerate(numbers, start=1):
                picture, boxes = draw(seed, number, least_radius)
                name = f"images/{half}/{place:05d}.jpg"
                picture.save(whole / name, quality=92)
                listed.append((name, picture.size, boxes))
            write_coco(whole / "annotations" / f"instances_{half}.json", CLASSES, listed, _ABOUT)
    return CLASSES


def draw(seed: int, number: int, least_radius: float = LEAST_RADIUS) -> tuple[Image.Image, Boxes]:
    """Draw one picture of the set: RGB, with the boxes of what is seen in it; a few show nothing."""
    rng = np.random.default_rng((seed, number))
    size = SIZES[int(rng.integers(len(SIZES)))]
    ground = cloud(rng, rng.uniform(30, 225) + rng.normal(0, 12, 3), size)
    many = 0 if rng.random() < EMPTY else int(rng.integers(1, MOST + 1))
    radii = np.exp(rng.uniform(math.log(least_radius), math.log(LARGEST_RADIUS), many))
    pieces = []
    for radius in sorted(radii.tolist(), reverse=True):  # small ones lie on large ones
        label = int(rng.integers(len(CLASSES)))
        image = _shape(rng, label, radius)
        # Up to a fifth of it may lie outside.
        left = rng.uniform(-0.2 * image.width, size[0] - 0.8 * image.width)
        top = rng.uniform(-0.2 * image.height, size[1] - 0.8 * image.height)
        pieces.append(Piece(image, label, round(left), round(top)))
    picture, boxes = compose(ground, pieces)
    pixels = np.asarray(picture, np.float32)
    noise = rng.normal(0, rng.uniform(2, 10), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)), boxes


def _shape(rng: np.random.Generator, label: int, radius: float) -> Image.Image:
    """One shape with alpha, cut to its edges; mostly each has a colour of its own, as things in photos do."""
    name = CLASSES[label]
    side = 2 * math.ceil(radius * 1.05) + 2
    turn, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.0)

    def place(point: Point) -> Point:
        x, y = point[0] * radius, point[1] * radius * squeeze
        along, across = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return ((side / 2 + along) * FINE, (side / 2 + across) * FINE)

    mask = Image.new("L", (side * FINE, side * FINE))
    SHAPES[name](ImageDraw.Draw(mask), place)
    mask = mask.resize((side, side), Image.Resampling.LANCZOS)
    hue = label / len(CLASSES) + rng.normal(0, 0.02)
    colour = 255 * np.array(colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0)))
    front = cloud(rng, colour, (side, side))
    # Less opaque than what belongs to the shape, see ``SEEN``.
    shadow = ImageChops.offset(mask, 2, 2).filter(ImageFilter.GaussianBlur(2)).point(lambda value: value * 0.4)
    image = Image.composite(front, Image.new("RGB", (side, side)), mask)
    image.putalpha(ImageChops.lighter(mask, shadow))
    return image
