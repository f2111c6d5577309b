"""Boxes on a picture, with their names: for ``predict``, for ``check`` and for the report."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mobilenets.drawing.lettering import drawable, fitting, length, write
from mobilenets.drawing.style import DARK, LIGHT

LEAST = 480
"""A picture whose longer side has fewer pixels is enlarged by a whole factor: names could not be read on it."""

_FIRST = (LIGHT.orange, LIGHT.sky, LIGHT.green, "#f0e442", LIGHT.blue, LIGHT.purple, DARK.orange)
_GOLDEN = (math.sqrt(5) - 1) / 2

Color = str
Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A box to be drawn: corners in pixels of the picture, the words at it, its colour, and whether it is dashed."""

    corners: Sequence[float] | npt.NDArray[np.floating]
    words: str = ""
    color: Color = LIGHT.orange
    dashed: bool = False


def color_of(label: int) -> Color:
    """The colour of a class by its place: Okabe and Ito's first, then hues as far apart as they can be.

    >>> color_of(0) != color_of(1)
    True

    """
    if label < len(_FIRST):
        return _FIRST[label]
    red, green, blue = colorsys.hls_to_rgb(label * _GOLDEN % 1, 0.55, 0.75)
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def words_of(name: str, score: float | None = None, otherwise: str = "object") -> str:
    """What stands at a box: its class, by ``otherwise`` where no font can draw the name, and its score in per cent."""
    shown = name if drawable(name) else otherwise
    return shown if score is None else f"{shown} {100 * score:.0f} %"


def draw_boxes(picture: Image.Image, boxes: Sequence[Drawn], least: int = LEAST, emphasis: float = 1.0) -> Image.Image:
    """Draw boxes on a copy of a picture, RGB; the first of them end up on top.

    The copy is larger by a whole factor where the picture's longer side is less than ``least``. Lines and letters grow
    with the picture, and are ``emphasis`` times as large where it will be shown small; each line has an edge that shows
    on any ground, and names keep out of each other's way as far as there is room.
    """
    factor = max(1, math.ceil(least / max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    image = picture.convert("RGB")
    image = image.copy() if factor == 1 else image.resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    line = max(2, round(emphasis * max(size) / 240))
    placed = [(box, _corners(box, factor, size)) for box in boxes]
    for box, corners in reversed(placed):
        _outline(draw, corners, box.color, line, box.dashed)
    letters = max(13, round(emphasis * max(size) / 40))
    used: list[Area] = []
    labels = []
    for box, corners in placed:
        if box.words:
            labels.append((box, _label(box.words, corners, size, line, letters, used)))
    for box, (area, text) in reversed(labels):
        _write_label(draw, area, text, letters, box.color)
    return image


def _corners(box: Drawn, factor: int, size: tuple[int, int]) -> Area:
    """The corners on the enlarged picture, inside of it, at least a pixel wide."""
    x0, y0, x1, y1 = (float(value) * factor for value in box.corners)
    x0, y0 = min(max(x0, 0), size[0] - 1), min(max(y0, 0), size[1] - 1)
    return x0, y0, max(min(x1, size[0]) - 1, x0), max(min(y1, size[1]) - 1, y0)


def _outline(draw: ImageDraw.ImageDraw, corners: Area, color: Color, line: int, dashed: bool) -> None:
    x0, y0, x1, y1 = corners
    edge = _contrast(color)
    if not dashed:
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=edge, width=line + 2)
        draw.rectangle(corners, outline=color, width=line)
        return
    step = 4 * line
    for low, high, flat in ((x0, x1, True), (y0, y1, False)):
        for side in (y0, y1 - line + 1) if flat else (x0, x1 - line + 1):
            for begin in np.arange(low, high, 2 * step):
                end = min(begin + step, high)
                ends = (begin, side, end, side + line - 1) if flat else (side, begin, side + line - 1, end)
                left, upper, right, lower = ends
                draw.rectangle((left - 1, upper - 1, max(left, right) + 1, max(upper, lower) + 1), fill=edge)
                draw.rectangle((left, upper, max(left, right), max(upper, lower)), fill=color)


def _label(
    words: str, corners: Area, size: tuple[int, int], line: int, letters: int, used: list[Area]
) -> tuple[Area, str]:
    """Find a place for words: above the box, below it, or inside; gives the area and the text that fits."""
    text = fitting(words, letters, size[0] - letters)
    wide, high = length(text, letters) + 0.6 * letters, 1.35 * letters
    x0, y0, x1, y1 = corners
    left = max(0.0, min(x0, size[0] - wide))
    right = max(0.0, min(x1 - wide, size[0] - wide))
    places = [
        (left, y0 - high),
        (left, y1),
        (right, y0 - high),
        (right, y1),
        (left, y0 + line),
        (left, y1 - high - line),
    ]
    areas = [(x, y, x + wide, y + high) for x, y in places if y >= 0 and y + high <= size[1]]
    inside = max(0.0, min(y0, size[1] - high))
    free = [area for area in areas if not any(_meet(area, other) for other in used)]
    area = (free or areas or [(left, inside, left + wide, inside + high)])[0]
    used.append(area)
    return area, text


def _meet(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write_label(draw: ImageDraw.ImageDraw, area: Area, text: str, letters: int, color: Color) -> None:
    draw.rectangle(area, fill=color)
    write(draw, (area[0] + 0.3 * letters, area[1] + 1.02 * letters), text, letters, _contrast(color))


def _contrast(color: Color) -> Color:
    """Black or white, whichever can be read on a colour (WCAG's relative luminance)."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"
