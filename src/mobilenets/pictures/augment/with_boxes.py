"""Seeded augmentation of pictures with boxes: the boxes follow every change of geometry.

All geometry is one resampling: a window of the picture, which may reach beyond it, is stretched to whole pixels of the
result. Colours change afterwards, by the transforms of classification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.pictures.augment.photometric import ColorJitter
from mobilenets.pictures.boxes import Boxes, Corners, joined, overlaps
from mobilenets.pictures.preprocess import INTERPOLATIONS, Preprocessing

Window: TypeAlias = tuple[float, float, float, float]

# Of a box that is cut, the part that must be left for it to be neither learned nor taken for background where its
# centre was cut away; of less, what is left is background.
REMNANT = 0.25
# Liu et al. 2016 (arXiv 1512.02325, section 2.2): the least overlap of the crop with a box; None: no crop.
LEAST_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
# As in torchvision's RandomIoUCrop: shares of the sides, width over height, draws for one least overlap.
SIDES, RATIOS, DRAWS = (0.3, 1.0), (0.5, 2.0), 40
# How far from the middle the four pictures of a mosaic meet, in shares of the side.
MEETING = 0.1


@dataclass(frozen=True)
class Placing:
    """Where a part of a picture goes: ``source`` in its pixels, inside it; ``target`` in whole pixels of the result.

    With ``mirrored`` left and right of the part are exchanged.
    """

    source: Window
    target: tuple[int, int, int, int]
    mirrored: bool = False

    def corners(self, corners: Corners) -> npt.NDArray[np.float64]:
        """Give where corners, N×4 in pixels of the picture, lie in the result, beyond ``target`` also."""
        x0, y0, x1, y1 = self.source
        left, upper, right, lower = self.target
        across, down = (right - left) / (x1 - x0), (lower - upper) / (y1 - y0)
        given = np.asarray(corners, np.float64).reshape(-1, 4)
        moved = (given - (x0, y0, x0, y0)) * (across, down, across, down) + (left, upper, left, upper)
        if self.mirrored:
            moved[:, [0, 2]] = left + right - moved[:, [2, 0]]
        return moved

    def boxes(self, boxes: Boxes) -> Boxes:
        """Give the boxes as they are in the result, cut at the edges of ``target``.

        A box whose centre is cut away is no object any more (SSD); as long as much of it is seen it is ``ignored``, and
        so is one of less than a pixel.
        """
        moved = self.corners(boxes.corners)
        left, upper, right, lower = self.target
        cut = np.clip(moved, (left, upper, left, upper), (right, lower, right, lower))
        sides = cut[:, 2:] - cut[:, :2]
        seen = sides.prod(axis=1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(axis=1), 1e-12)
        centres = (moved[:, :2] + moved[:, 2:]) / 2
        central = ((centres >= (left, upper)) & (centres <= (right, lower))).all(axis=1)
        kept = np.flatnonzero((sides > 0).all(axis=1) & (central | (seen >= REMNANT)))
        ignored = boxes.ignored | ~central | (sides < 1).any(axis=1)
        found = replace(boxes, corners=cut.astype(np.float32), ignored=ignored)
        return found.taken(kept)

    def paste(self, image: Image.Image, whole: tuple[int, int], canvas: Image.Image, interpolation: str) -> None:
        """Draw the part into ``canvas``; ``image`` may be smaller than the ``whole`` picture, width and height."""
        left, upper, right, lower = self.target
        across, down = image.width / whole[0], image.height / whole[1]
        box = (self.source[0] * across, self.source[1] * down, self.source[2] * across, self.source[3] * down)
        box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], image.width), min(box[3], image.height))
        size = (right - left, lower - upper)
        part = image.resize(size, INTERPOLATIONS[interpolation], box=box, reducing_gap=3.0)
        canvas.paste(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else part, (left, upper))


def placing(window: Window, whole: tuple[int, int], target: tuple[int, int, int, int], mirrored: bool) -> Placing:
    """Stretch ``window``, which meets the picture of ``whole`` (width, height), to ``target``.

    What it shows of the picture goes to whole pixels, at least one each way, so that pixels and boxes agree exactly.
    """
    sources, targets = [], []
    for axis in (0, 1):
        start, end, low, high = window[axis], window[axis + 2], target[axis], target[axis + 2]
        inside = max(start, 0.0), min(end, float(whole[axis]))
        scale = (high - low) / (end - start)
        first, last = (low + round((edge - start) * scale) for edge in inside)
        first = min(first, high - 1)
        sources.append(inside)
        targets.append((first, max(last, first + 1)))
    if mirrored:
        targets[0] = (target[0] + target[2] - targets[0][1], target[0] + target[2] - targets[0][0])
    (x0, x1), (y0, y1) = sources
    (left, right), (upper, lower) = targets
    return Placing((x0, y0, x1, y1), (left, upper, right, lower), mirrored)


class Shown(NamedTuple):
    """A picture to draw from: decoded, perhaps smaller than the ``whole`` (width, height); its boxes in its pixels."""

    image: Image.Image
    whole: tuple[int, int]
    boxes: Boxes


@dataclass(frozen=True)
class BoxAugmentation:
    """What is drawn by chance for a picture; all numbers but the colours are probabilities and factors.

    - ``crop``: a crop by SSD (Liu et al. 2016, arXiv 1512.02325, section 2.2): of the choices of least overlap one.
    - ``zoom_out``: the picture on a canvas of up to ``most_zoom`` times its sides, in the mean colour (section 3.6).
    - ``mosaic``: four pictures in one (Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.3).
    - ``flip``: left and right exchanged.
    """

    preprocessing: Preprocessing
    crop: float = 0.0
    zoom_out: float = 0.0
    most_zoom: float = 4.0
    mosaic: float = 0.0
    flip: float = 0.5
    colours: ColorJitter | None = None

    def partners(self, count: int, rng: np.random.Generator) -> list[int]:
        """Draw which pictures of ``count`` join one in a mosaic: three, or none."""
        if not self.mosaic or rng.random() >= self.mosaic:
            return []
        return [int(index) for index in rng.integers(count, size=3)]

    def __call__(self, pictures: Sequence[Shown], rng: np.random.Generator) -> tuple[Image.Image, Boxes]:
        """Draw one picture, or four as a mosaic, at the network's size; the boxes are in its pixels."""
        size = self.preprocessing.size
        canvas = Image.new("RGB", (size, size), mean_of(self.preprocessing))
        found = []
        for picture, target in zip(pictures, self._targets(len(pictures), rng), strict=True):
            window = self._window(picture, rng)
            placed = placing(window, picture.whole, target, bool(rng.random() < self.flip))
            placed.paste(picture.image, picture.whole, canvas, self.preprocessing.interpolation)
            found.append(placed.boxes(picture.boxes))
        image = canvas if self.colours is None else self.colours(canvas, rng)
        return image, joined(found)

    def _targets(self, count: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
        size = self.preprocessing.size
        if count == 1:
            return [(0, 0, size, size)]
        x, y = (min(max(1, round(size * share)), size - 1) for share in rng.uniform(0.5 - MEETING, 0.5 + MEETING, 2))
        return [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]

    def _window(self, picture: Shown, rng: np.random.Generator) -> Window:
        width, height = picture.whole
        window = (0.0, 0.0, float(width), float(height))
        if self.zoom_out and rng.random() < self.zoom_out:
            window = zoomed_out(picture.whole, rng, self.most_zoom)
        if self.crop and rng.random() < self.crop:
            boxes = picture.boxes.corners[~picture.boxes.ignored]
            window = cropped(window, picture.whole, boxes, rng)
        return window

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        names = ("crop", "zoom_out", "most_zoom", "mosaic", "flip")
        colours = None if self.colours is None else self.colours.to_json()
        return {name: getattr(self, name) for name in names} | {"colours": colours}


def zoomed_out(whole: tuple[int, int], rng: np.random.Generator, most: float) -> Window:
    """Draw a window that holds the whole picture somewhere, with sides up to ``most`` times its own."""
    factor = rng.uniform(1.0, most)
    left, upper = ((factor - 1) * side * rng.random() for side in whole)
    return -left, -upper, factor * whole[0] - left, factor * whole[1] - upper


def cropped(window: Window, whole: tuple[int, int], boxes: Corners, rng: np.random.Generator) -> Window:
    """Draw a part of ``window`` as SSD does; ``window`` itself where none is found, or none is the choice.

    It holds the centre of a box, and its overlap with one such box is at least what was drawn; a picture without
    boxes is cut anywhere. What is drawn meets the picture.
    """
    least = LEAST_OVERLAPS[int(rng.integers(len(LEAST_OVERLAPS)))]
    if least is None:
        return window
    start, extent = np.array(window[:2]), np.array(window[2:]) - window[:2]
    sides = rng.uniform(*SIDES, (DRAWS, 2))
    corner = start + rng.random((DRAWS, 2)) * (1 - sides) * extent
    drawn = np.concatenate([corner, corner + sides * extent], axis=1)
    ratios = sides[:, 0] / sides[:, 1]
    good = (ratios >= RATIOS[0]) & (ratios <= RATIOS[1])
    # At least a pixel of the picture is in it.
    good &= (np.minimum(drawn[:, 2:], whole) - np.maximum(drawn[:, :2], 0) >= 1).all(axis=1)
    if len(boxes):
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[None]
        held = ((centres > drawn[:, None, :2]) & (centres < drawn[:, None, 2:])).all(axis=2)
        good &= np.where(held, overlaps(drawn, boxes), 0.0).max(axis=1) >= least
    if not good.any():
        return window
    x0, y0, x1, y1 = drawn[int(np.argmax(good))].tolist()
    return x0, y0, x1, y1


def mean_of(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """Give the colour that becomes 0 in the network: what lies beyond a picture says nothing."""
    red, green, blue = (min(255, max(0, round(mean / preprocessing.scale))) for mean in preprocessing.mean)
    return red, green, blue


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "none": {"flip": 0.0},
        "light": {"colours": ColorJitter(0.1, 0.1, 0.1, 0.01)},
        "photo": {"crop": 0.8, "zoom_out": 0.3, "most_zoom": 2.0, "colours": ColorJitter(0.2, 0.2, 0.2, 0.02)},
        "ssd": {"crop": 1.0, "zoom_out": 0.5, "most_zoom": 4.0, "colours": ColorJitter(0.125, 0.5, 0.5, 0.05)},
        "mosaic": {
            "crop": 0.8,
            "zoom_out": 0.3,
            "most_zoom": 2.0,
            "mosaic": 0.5,
            "colours": ColorJitter(0.2, 0.2, 0.2, 0.02),
        },
    }
)
"""Augmentations with boxes by name: without chance; mirrored, mild colours; our default; SSD's; ours with mosaics."""


def build_boxes(spec: object, preprocessing: Preprocessing) -> BoxAugmentation | None:
    """Return the augmentation of that name, None for ``none``; raises ``InputError`` for another."""
    if not isinstance(spec, str) or spec not in PRESETS:
        shown = spec if isinstance(spec, str) else "a list of transforms"
        raise InputError(f"augment {shown[:40]}: for boxes choose {', '.join(PRESETS)}")
    return None if spec == "none" else BoxAugmentation(preprocessing, **PRESETS[spec])
