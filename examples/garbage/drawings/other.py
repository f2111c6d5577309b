"""Drawings of the kinds for the other bin."""

from __future__ import annotations

import numpy as np

from .pen import (
    DARK,
    STEEL,
    WHITE,
    WOOD,
    Color,
    Pen,
    Points,
    box,
    darker,
    drawing,
    ellipse,
    lathe,
    lighter,
    smooth,
)


def _stick(pen: Pen, start: tuple[float, float], end: tuple[float, float], wood: Color) -> None:
    """Draw a stick that gets thinner."""
    (x0, y0), (x1, y1) = start, end
    pen.fill([(x0 - 0.024, y0), (x0 + 0.024, y0), (x1 + 0.011, y1), (x1 - 0.011, y1)], wood)
    pen.line([(x0 - 0.006, y0 + 0.02), (x1, y1 - 0.02)], 0.008, lighter(wood))


def _bamboo(pen: Pen) -> Color:
    return pen.color((0.09, 0.13), 0.4, 0.88)


@drawing
def chopsticks_apart(pen: Pen) -> None:
    """Two sticks lying apart, or crossed."""
    wood, spread = _bamboo(pen), pen.between(-0.16, 0.16)
    _stick(pen, (0.38, 0.05), (0.44 + spread, 0.96), wood)
    _stick(pen, (0.6, 0.04), (0.56 - spread, 0.95), wood)


@drawing
def chopsticks_joined(pen: Pen) -> None:
    """A pair not yet broken apart."""
    wood = _bamboo(pen)
    pen.fill(box(0.435, 0.05, 0.565, 0.24), wood)
    _stick(pen, (0.466, 0.22), (0.462, 0.95), wood)
    _stick(pen, (0.534, 0.22), (0.538, 0.95), wood)


@drawing
def chopsticks_sleeve(pen: Pen) -> None:
    """A pair half out of its paper sleeve."""
    wood, print_color = _bamboo(pen), pen.color((0.95, 1.05))
    _stick(pen, (0.46, 0.04), (0.47, 0.7), wood)
    _stick(pen, (0.54, 0.04), (0.53, 0.7), wood)
    pen.fill([(0.41, 0.4), (0.59, 0.4), (0.57, 0.96), (0.43, 0.96)], WHITE)
    pen.fill(box(0.45, 0.52, 0.55, 0.78), print_color, edge=0)
    pen.bars(0.465, 0.56, 0.535, 0.76, 0.05, WHITE)


def _flame(pen: Pen, y: float) -> None:
    if pen.rng.random() < 0.4:
        for size, color in ((1.0, (250, 140, 30)), (0.6, (255, 220, 90))):
            drop = lathe([(y - 0.13 * size, 0), (y - 0.03, 0.06 * size), (y, 0)])
            pen.fill(smooth(drop), color, edge=0)


@drawing
def lighter_disposable(pen: Pen) -> None:
    """A flat, see-through plastic lighter."""
    body, half = pen.color(), pen.between(0.11, 0.14)
    _flame(pen, 0.17)
    pen.fill(lathe([(0.34, half), (0.9, half), (0.94, half * 0.9)]), body, "round", 0.85)
    pen.fill(box(0.5 - half * 0.8, 0.5, 0.5 + half * 0.8, 0.9), darker(body, 0.75), "round", 0.6, edge=0)
    pen.fill(box(0.5 - half, 0.2, 0.5 + half * 0.35, 0.35), STEEL, "round")
    pen.fill(ellipse(0.5 + half * 0.55, 0.25, 0.06, 0.06), (105, 105, 112))
    pen.fill([(0.5 + half * 0.4, 0.31), (0.5 + half * 1.35, 0.28), (0.5 + half, 0.36), (0.5 + half * 0.4, 0.36)], DARK)


@drawing
def lighter_petrol(pen: Pen) -> None:
    """A metal lighter, its lid open."""
    metal = (STEEL, (205, 170, 95), (90, 92, 98))[int(pen.rng.integers(3))]
    _flame(pen, 0.3)
    pen.fill(box(0.42, 0.3, 0.6, 0.48), lighter(STEEL), "round")
    for x in (0.46, 0.51, 0.56):
        pen.fill(ellipse(x, 0.37, 0.014, 0.014), DARK)
    pen.fill(box(0.34, 0.47, 0.66, 0.92), metal, "round")
    pen.fill([(0.66, 0.45), (0.94, 0.36), (0.88, 0.14), (0.6, 0.24)], metal)


@drawing
def lighter_long(pen: Pen) -> None:
    """A long lighter for candles and stoves."""
    body = pen.color()
    pen.rod([(0.5, 0.06), (0.5, 0.45)], 0.045, STEEL)
    pen.fill(smooth(lathe([(0.4, 0.05), (0.55, 0.09), (0.95, 0.1)]), 2), body, "round")
    pen.fill(ellipse(0.5, 0.62, 0.03, 0.06), DARK)


@drawing
def lighter_round(pen: Pen) -> None:
    """A round plastic lighter with a metal head."""
    body, half = pen.color(), pen.between(0.12, 0.15)
    _flame(pen, 0.16)
    pen.fill(smooth(lathe([(0.32, half), (0.93, half), (0.97, half * 0.8)]), 2), body, "round")
    pen.fill(box(0.5 - half, 0.19, 0.5 + half * 0.5, 0.36), lighter(STEEL, 0.2), "round")
    pen.fill(ellipse(0.5 + half * 0.5, 0.25, 0.05, 0.05), (120, 120, 126))
    pen.fill(box(0.5 + half * 0.4, 0.3, 0.5 + half * 1.3, 0.36), pen.color((0.95, 1.05)))
    pen.bars(0.5 - half * 0.5, 0.55, 0.5 + half * 0.5, 0.8, 0.06, lighter(body, 0.7))


def _broom(pen: Pen, head: Points, straw: Color, stick: Color, top: float) -> None:
    pen.rod([(0.5, 0.03), (0.5, top)], 0.035, stick)
    pen.fill(head, straw)
    low, high = min(y for _, y in head), max(y for _, y in head)
    left, right = min(x for x, y in head if y > high - 0.05), max(x for x, y in head if y > high - 0.05)
    for share in np.linspace(0.04, 0.96, 17):
        foot = left + (right - left) * float(share)
        pen.line([(0.5 + (foot - 0.5) * 0.5, low + 0.04), (foot, high)], 0.006, darker(straw, pen.between(0.6, 0.85)))


@drawing
def broom_straw(pen: Pen) -> None:
    """A besom of straw."""
    straw = pen.color((0.1, 0.14), 0.6, 0.85)
    wide = pen.between(0.22, 0.32)
    _broom(pen, [(0.45, 0.5), (0.55, 0.5), (0.5 + wide, 0.95), (0.5 - wide, 0.95)], straw, WOOD, 0.52)
    for y in (0.55, 0.6):
        pen.line([(0.43 - (y - 0.5), y), (0.57 + (y - 0.5), y)], 0.018, pen.color((0.95, 1.05)))


@drawing
def broom_plastic(pen: Pen) -> None:
    """A plastic broom with bright bristles."""
    bristles = pen.color()
    _broom(pen, [(0.25, 0.66), (0.75, 0.66), (0.84, 0.95), (0.16, 0.95)], bristles, pen.color(saturation=0.4), 0.6)
    pen.fill(smooth([(0.22, 0.7), (0.26, 0.59), (0.74, 0.59), (0.78, 0.7)], 2), pen.color(value=0.7), "round")


@drawing
def broom_whisk(pen: Pen) -> None:
    """A broom of rice straw, a fan bound to a long stick."""
    straw = pen.color((0.08, 0.12), 0.5, 0.72)
    fan = [(0.46, 0.54), (0.54, 0.54), (0.7, 0.72), (0.82, 0.96), (0.18, 0.96), (0.3, 0.72)]
    _broom(pen, fan, straw, pen.color((0.08, 0.12), 0.4, 0.7), 0.56)
    pen.line([(0.4, 0.62), (0.6, 0.62)], 0.022, pen.color())
    pen.line([(0.32, 0.74), (0.68, 0.74)], 0.015, darker(straw, 0.5))


def _mirror(pen: Pen, x: float, y: float, rx: float, ry: float, round_one: bool) -> None:
    """Draw a frame, the glass with its light, cracks and blind spots."""
    frame = (pen.color((0.07, 0.13), 0.6, 0.7), pen.color(value=0.6))[int(pen.rng.integers(2))]
    glass = pen.color((0.5, 0.6), 0.15, 0.88)
    outer = ellipse(x, y, rx, ry) if round_one else box(x - rx, y - ry, x + rx, y + ry)
    inner = [(x + (px - x) * 0.84, y + (py - y) * 0.84) for px, py in outer]
    pen.fill(outer, frame, "ball")
    pen.fill(inner, glass, edge=0.01)
    for shift in (-0.3, 0.05):
        band = [(x + rx * (shift - 0.25), y + ry * 0.5), (x + rx * (shift + 0.25), y - ry * 0.5),
                (x + rx * (shift + 0.4), y - ry * 0.5), (x + rx * (shift - 0.1), y + ry * 0.5)]  # fmt: skip
        pen.fill(band, WHITE, "flat", 0.6, edge=0)
    if pen.rng.random() < 0.6:
        hit = (x + rx * pen.between(-0.4, 0.4), y + ry * pen.between(-0.4, 0.4))
        for turn in np.linspace(0, 6.28, int(pen.rng.integers(4, 7)), endpoint=False) + pen.between(0, 6):
            far = (hit[0] + rx * 0.42 * float(np.cos(turn)), hit[1] + ry * 0.42 * float(np.sin(turn)))
            pen.line([hit, far], 0.006, (90, 100, 110))


@drawing
def mirror_hand(pen: Pen) -> None:
    """A hand mirror."""
    pen.rod([(0.5, 0.62), (0.5, 0.92)], 0.09, pen.color((0.0, 0.13), 0.55, 0.6))
    _mirror(pen, 0.5, 0.36, 0.28, pen.between(0.28, 0.33), True)


@drawing
def mirror_wall(pen: Pen) -> None:
    """A rectangular mirror."""
    _mirror(pen, 0.5, 0.5, pen.between(0.26, 0.36), 0.42, False)


@drawing
def mirror_stand(pen: Pen) -> None:
    """A round mirror on a foot."""
    pen.rod([(0.5, 0.7), (0.5, 0.9)], 0.05, STEEL)
    pen.fill(ellipse(0.5, 0.91, 0.2, 0.045), darker(STEEL, 0.9), "round")
    _mirror(pen, 0.5, 0.42, pen.between(0.3, 0.36), 0.35, True)


def _toothbrush(pen: Pen, handle: Points, head: tuple[float, float, float, float], side: bool) -> None:
    body, bristles = pen.color(), pen.color(saturation=0.35, value=0.95)
    x0, y0, x1, y1 = head
    pen.line(handle, 0.066, darker(body))
    pen.line(handle, 0.052, body)
    pen.line(handle[-2:], 0.016, lighter(body, 0.7))
    if side:
        for n, y in enumerate(np.linspace(y0, y1, 9)):
            pen.line([(x0, float(y)), (x1, float(y))], 0.024, (bristles, WHITE)[n % 2], rounded=False)
    else:
        pen.fill(smooth(box(x0 - 0.03, y0 - 0.03, x1 + 0.03, y1 + 0.03)), body, "round")
        for n, y in enumerate(np.linspace(y0 + 0.01, y1 - 0.01, 7)):
            for x in np.linspace(x0 + 0.01, x1 - 0.01, 3):
                pen.fill(ellipse(float(x), float(y), 0.015, 0.014), (bristles, WHITE)[n % 2], edge=0)


@drawing
def toothbrush_side(pen: Pen) -> None:
    """A toothbrush seen from the side."""
    bend = pen.between(-0.04, 0.04)
    _toothbrush(pen, [(0.5, 0.07), (0.5, 0.34), (0.5 + bend, 0.5), (0.5, 0.95)], (0.53, 0.08, 0.62, 0.27), True)


@drawing
def toothbrush_top(pen: Pen) -> None:
    """A toothbrush seen from above."""
    _toothbrush(pen, [(0.5, 0.25), (0.5, 0.5), (0.5, 0.96)], (0.455, 0.07, 0.545, 0.27), False)


@drawing
def toothbrush_kinked(pen: Pen) -> None:
    """A toothbrush with a kinked neck, from the other side."""
    _toothbrush(
        pen, [(0.54, 0.08), (0.53, 0.28), (0.47, 0.42), (0.5, 0.56), (0.46, 0.95)], (0.51, 0.09, 0.42, 0.26), True
    )


@drawing
def cloth_rag(pen: Pen) -> None:
    """A crumpled checked rag with dirt."""
    cloth = pen.color(saturation=0.4, value=0.85)
    rim = [(0.5 + (x - 0.5) * pen.between(0.75, 1.2), 0.5 + (y - 0.5) * pen.between(0.75, 1.2))
           for x, y in ellipse(0.5, 0.5, 0.38, 0.32)[::4]]  # fmt: skip
    pen.fill(smooth(rim), cloth, "ball")
    for _ in range(7):
        x, y = pen.between(0.25, 0.75), pen.between(0.3, 0.7)
        pen.line([(x, y), (x + pen.between(-0.15, 0.15), y + pen.between(0.05, 0.2))], 0.014, darker(cloth, 0.75))


def _shell(pen: Pen, rim: int, bands: bool) -> None:
    color, hinge = pen.color((0.0, 0.13), 0.3, 0.9), (0.5, 0.86)
    edge = ellipse(0.5, 0.52, 0.42, 0.4, 160, 380)
    waves = [1 + 0.03 * float(np.sin(n * rim / 7)) for n in range(len(edge))]
    scalloped = [(0.5 + (x - 0.5) * out, 0.52 + (y - 0.52) * out) for (x, y), out in zip(edge, waves, strict=True)]
    pen.fill([(0.36, 0.9), (0.42, 0.8), (0.58, 0.8), (0.64, 0.9)], darker(color, 0.85))
    pen.fill([*scalloped, hinge], color, "ball")
    if bands:
        for part in (0.45, 0.65, 0.85):
            inner = [(hinge[0] + (x - hinge[0]) * part, hinge[1] + (y - hinge[1]) * part) for x, y in edge]
            pen.line(inner, 0.02, darker(color, 0.75), rounded=False)
    for x, y in edge[2:-2:5]:
        pen.line([hinge, (x, y)], 0.01, darker(color, 0.7))


@drawing
def shell_scallop(pen: Pen) -> None:
    """A ribbed scallop."""
    _shell(pen, 12, False)


@drawing
def shell_banded(pen: Pen) -> None:
    """A cockle with growth bands."""
    _shell(pen, 3, True)


@drawing
def shell_turret(pen: Pen) -> None:
    """A pointed snail shell, whorl by whorl."""
    color = pen.color((0.03, 0.12), 0.35, 0.88)
    for n in range(6):
        y, half = 0.76 - n * 0.125, 0.26 * 0.78**n
        whorl = [(px, py + (px - 0.5) * 0.3) for px, py in ellipse(0.5, y, half, half * 0.52 + 0.03)]
        pen.fill(whorl, color if n % 2 else darker(color, 0.85), "ball")
    pen.fill(ellipse(0.58, 0.84, 0.1, 0.08), darker(color, 0.55))


def _bowl(pen: Pen, half: float, deep: float, glaze: Color) -> None:
    rim = 0.4
    pen.fill(lathe([(rim + deep, 0.13), (rim + deep + 0.06, 0.13)]), darker(glaze, 0.85), "round")
    outline = lathe([(rim, half), (rim + deep * 0.7, half * 0.8), (rim + deep, 0.14)])
    pen.fill(smooth(outline, 2), glaze, "round")
    pen.fill(ellipse(0.5, rim + 0.02, half * 0.95, half * 0.28), lighter(glaze, 0.6))
    pen.fill(ellipse(0.5, rim + 0.03, half * 0.87, half * 0.22), darker(glaze, 0.85))


@drawing
def bowl_plain(pen: Pen) -> None:
    """A bowl of one glaze."""
    _bowl(pen, pen.between(0.36, 0.44), pen.between(0.3, 0.4), pen.color(saturation=0.3, value=0.85))


@drawing
def bowl_rings(pen: Pen) -> None:
    """A white bowl with coloured rings."""
    half, paint = pen.between(0.36, 0.44), pen.color((0.95, 1.1), 0.7, 0.75)
    _bowl(pen, half, 0.36, WHITE)
    for y, share in ((0.56, 0.84), (0.6, 0.8)):
        pen.line(
            [(0.5 + half * share * x, y + 0.05 * (1 - x * x)) for x in np.linspace(-1, 1, 20).tolist()], 0.018, paint
        )


@drawing
def bowl_blue(pen: Pen) -> None:
    """A white bowl with a blue pattern."""
    half, blue = pen.between(0.36, 0.44), pen.color((0.58, 0.65), 0.8, 0.7)
    _bowl(pen, half, 0.36, WHITE)
    for x in np.linspace(-0.62, 0.62, 5):
        pen.line(ellipse(0.5 + half * float(x), 0.6 - 0.03 * abs(float(x)), 0.04, 0.045), 0.014, blue)
    pen.line([(0.5 - half * 0.9, 0.51), (0.5, 0.545), (0.5 + half * 0.9, 0.51)], 0.012, blue)
