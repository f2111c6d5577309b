"""A pen for shaded shapes on a transparent square, whose coordinates run from 0 to 1, rightwards and down."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

SIDE = 256
Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

WHITE, GREY, STEEL, DARK, WOOD = (245, 245, 240), (150, 152, 155), (196, 202, 208), (45, 45, 50), (190, 140, 85)


def smooth(points: Points, times: int = 3) -> Points:
    """Round the corners of a closed outline (Chaikin's corner cutting)."""
    line = np.array(points, dtype=float)
    for _ in range(times):
        following = np.roll(line, -1, axis=0)
        line = np.stack([0.75 * line + 0.25 * following, 0.25 * line + 0.75 * following], axis=1).reshape(-1, 2)
    return [(x, y) for x, y in line.tolist()]


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Points:
    """Points of an ellipse, or of its part between two angles in degrees (clockwise from the right)."""
    turn = np.radians(np.linspace(start, end, 48))
    return [(x + rx * float(np.cos(t)), y + ry * float(np.sin(t))) for t in turn]


def lathe(profile: Points, x: float = 0.5) -> Points:
    """Outline of a turned thing: ``profile`` gives (y, half the width there), from the top down."""
    return [(x + half, y) for y, half in profile] + [(x - half, y) for y, half in reversed(profile)]


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Corners of a rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


class Pen:
    """Draws shaded shapes; ``rng`` decides whatever varies."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.image = Image.new("RGBA", (SIDE, SIDE))

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def color(self, hues: tuple[float, float] = (0, 1), saturation: float = 0.7, value: float = 0.85) -> Color:
        """Draw a colour with a hue in that range (0 and 1 are red), near that saturation and value."""
        hue = self.between(*hues) % 1
        near = [min(1.0, part * self.between(0.85, 1.15)) for part in (saturation, value)]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, *near))
        return red, green, blue

    def fill(self, points: Points, color: Color, shade: str = "flat", alpha: float = 1, edge: float = 0.006) -> None:
        """Fill an outline; ``shade``: flat, round (an upright cylinder) or ball."""
        mask = Image.new("L", (SIDE, SIDE))
        scaled = [(x * SIDE, y * SIDE) for x, y in points]
        ImageDraw.Draw(mask).polygon(scaled, fill=round(255 * alpha))
        if (where := mask.getbbox()) is None:
            return
        across = np.linspace(-1, 1, where[2] - where[0])[None, :]
        down = np.linspace(-1, 1, where[3] - where[1])[:, None]
        if shade == "round":
            light = 0.62 + 0.6 * np.exp(-(((across + 0.35) / 0.45) ** 2)) + 0 * down
        elif shade == "ball":
            light = 0.5 + 0.75 * np.exp(-((across + 0.3) ** 2 + (down + 0.35) ** 2) / 0.9)
        else:
            light = 1 - 0.06 * down + 0 * across
        pixels = np.clip(light[..., None] * np.array(color), 0, 255).astype(np.uint8)
        layer = Image.fromarray(pixels)
        layer.putalpha(mask.crop(where))
        self.image.alpha_composite(layer, where[:2])
        if edge:
            self.line([*points, points[0]], edge, darker(color), rounded=False)

    def line(self, points: Points, width: float, color: Color, rounded: bool = True) -> None:
        """Draw a line of that width, with round ends if so wished."""
        draw, thick = ImageDraw.Draw(self.image), max(1, round(width * SIDE))
        scaled = [(x * SIDE, y * SIDE) for x, y in points]
        draw.line(scaled, fill=color, width=thick, joint="curve")
        if rounded:
            for x, y in (scaled[0], scaled[-1]):
                draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=color)

    def rod(self, points: Points, width: float, color: Color) -> None:
        """Draw a round stick or tube along a line."""
        self.line(points, width, darker(color))
        self.line(points, width * 0.8, color)
        self.line([(x - width * 0.12, y - width * 0.12) for x, y in points], width * 0.25, lighter(color))

    def bars(self, x0: float, y0: float, x1: float, y1: float, step: float, color: Color = GREY) -> None:
        """Draw lines of writing."""
        for y in np.arange(y0, y1, step):
            end = x1 - (self.between(0.2, 0.5) * (x1 - x0) if self.rng.random() < 0.25 else 0)
            self.line([(x0, float(y)), (end, float(y))], step * 0.4, color, rounded=False)

    def blobs(self, count: int, size: tuple[float, float], color: Color, alpha: float = 1) -> None:
        """Spill blobs over what is drawn so far, and only there."""
        before = self.image.getchannel("A")
        for _ in range(count):
            x, y, r = self.between(0.2, 0.8), self.between(0.2, 0.8), self.between(*size)
            ragged = [(x + (px - x) * self.between(0.6, 1.3), y + (py - y) * self.between(0.6, 1.3))
                      for px, py in ellipse(x, y, r, r)[::5]]  # fmt: skip
            self.fill(smooth(ragged), color, alpha=alpha, edge=0)
        after = self.image.getchannel("A")
        self.image.putalpha(Image.fromarray(np.minimum(np.asarray(before), np.asarray(after))))


def darker(color: Color, by: float = 0.6) -> Color:
    """Give the colour in the shadow."""
    red, green, blue = (round(part * by) for part in color)
    return red, green, blue


def lighter(color: Color, by: float = 0.5) -> Color:
    """Give the colour in the light."""
    red, green, blue = (round(part + (255 - part) * by) for part in color)
    return red, green, blue


DRAWINGS: dict[str, Callable[[Pen], None]] = {}


def drawing(function: Callable[[Pen], None]) -> Callable[[Pen], None]:
    """Put a drawing on the list, under the name of its function."""
    DRAWINGS[function.__name__] = function
    return function
