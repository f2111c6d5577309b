"""Drawings of the kinds for the hazardous bin."""

from __future__ import annotations

import numpy as np

from .pen import DARK, GREY, STEEL, WHITE, Pen, box, darker, drawing, ellipse, lathe, lighter, smooth


def _tin(pen: Pen, half: float, top: float, open_one: bool) -> None:
    """Draw a tin of paint: bail, label in the paint's colour, lid or paint, drips."""
    paint = pen.color()
    pen.line(ellipse(0.5, top + 0.04, half * 1.02, 0.26, 180, 360), 0.014, darker(STEEL))
    pen.fill(lathe([(top, half), (0.92, half)]), STEEL, "round")
    pen.fill(box(0.5 - half, top + 0.14, 0.5 + half, 0.84), (paint if open_one else WHITE), "round")
    pen.fill(ellipse(0.5, (top + 1) / 2, half * 0.55, 0.13), (WHITE if open_one else paint))
    pen.fill(ellipse(0.5, top, half, half * 0.28), lighter(STEEL, 0.2), "round")
    pen.fill(ellipse(0.5, top, half * 0.86, half * 0.22), paint if open_one else STEEL)
    if open_one:
        for _ in range(3):
            x, low = 0.5 + half * pen.between(-0.7, 0.7), top + pen.between(0.2, 0.42)
            pen.line([(x, top + half * 0.2), (x, low)], pen.between(0.03, 0.06), paint)
    else:
        pen.fill(ellipse(0.5, top, half * 0.66, half * 0.16), darker(STEEL, 0.88))


@drawing
def paint_closed(pen: Pen) -> None:
    """A closed tin of paint."""
    _tin(pen, pen.between(0.26, 0.34), 0.32, False)


@drawing
def paint_open(pen: Pen) -> None:
    """An open tin with paint running down."""
    _tin(pen, pen.between(0.28, 0.36), 0.36, True)


@drawing
def paint_pail(pen: Pen) -> None:
    """A plastic pail of paint, wider at the top, paint over its rim."""
    paint, pail = pen.color(), (WHITE, pen.color(saturation=0.3))[int(pen.rng.integers(2))]
    pen.line(ellipse(0.5, 0.34, 0.36, 0.28, 180, 360), 0.014, DARK)
    pen.fill(lathe([(0.32, 0.36), (0.38, 0.36), (0.38, 0.34), (0.94, 0.26)]), pail, "round")
    pen.fill(ellipse(0.5, 0.32, 0.36, 0.09), lighter(pail))
    pen.fill(ellipse(0.5, 0.33, 0.31, 0.065), paint)
    for x in (pen.between(0.25, 0.4), pen.between(0.45, 0.7)):
        pen.line([(x, 0.38), (x, pen.between(0.5, 0.75))], pen.between(0.04, 0.07), paint)


def _cell(pen: Pen, x: float, half: float, top: float) -> None:
    body, end = pen.color(), (DARK, pen.color((0.05, 0.12), 0.6, 0.75))[int(pen.rng.integers(2))]
    pen.fill(lathe([(top - 0.05, half * 0.4), (top, half * 0.4)], x), STEEL, "round")
    pen.fill(lathe([(top, half), (0.92, half)], x), body, "round")
    pen.fill(lathe([(top, half), (top + 0.24, half)], x), end, "round")
    pen.fill(lathe([(0.9, half), (0.93, half * 0.95)], x), STEEL, "round")
    pen.line([(x - half * 0.4, top + 0.12), (x + half * 0.4, top + 0.12)], 0.025, WHITE, rounded=False)
    pen.line([(x, top + 0.12 - half * 0.4), (x, top + 0.12 + half * 0.4)], 0.025, WHITE, rounded=False)
    pen.line([(x - half * 0.4, 0.82), (x + half * 0.4, 0.82)], 0.025, WHITE, rounded=False)


@drawing
def battery_cell(pen: Pen) -> None:
    """One slim cell."""
    _cell(pen, 0.5, pen.between(0.11, 0.15), 0.13)


@drawing
def battery_block(pen: Pen) -> None:
    """A 9 V block with its two contacts."""
    color = pen.color(value=0.6)
    for x in (0.38, 0.62):
        pen.fill(box(x - 0.06, 0.14, x + 0.06, 0.22), STEEL, "round")
    pen.fill(box(0.24, 0.22, 0.76, 0.92), color)
    pen.fill(box(0.24, 0.22, 0.76, 0.42), (205, 160, 80), "round")
    pen.bars(0.32, 0.55, 0.68, 0.86, 0.08, WHITE)


@drawing
def battery_stout(pen: Pen) -> None:
    """One thick cell."""
    _cell(pen, 0.5, pen.between(0.2, 0.25), 0.16)


@drawing
def battery_pair(pen: Pen) -> None:
    """Two slim cells side by side."""
    for x in (0.34, 0.64):
        _cell(pen, x, 0.12, pen.between(0.15, 0.25))


def _glow(pen: Pen) -> tuple[int, int, int]:
    return (244, 246, 250) if pen.rng.random() < 0.7 else pen.color((0.12, 0.16), 0.15, 0.98)


@drawing
def lamp_tube(pen: Pen) -> None:
    """A straight tube with metal ends and pins."""
    half = pen.between(0.035, 0.055)
    pen.fill(lathe([(0.08, half), (0.92, half)]), _glow(pen), "round")
    for y0, y1, pin in ((0.06, 0.13, 0.03), (0.87, 0.94, 0.97)):
        pen.fill(box(0.5 - half, y0, 0.5 + half, y1), STEEL, "round")
        for x in (-0.4, 0.4):
            pen.line([(0.5 + half * x, pin), (0.5 + half * x, (y0 + y1) / 2)], 0.012, GREY)


def _socket(pen: Pen, top: float) -> None:
    pen.fill(lathe([(top, 0.15), (top + 0.12, 0.11)]), WHITE, "round")
    pen.fill(lathe([(top + 0.12, 0.08), (top + 0.26, 0.07)]), STEEL, "round")
    for y in (0.15, 0.19, 0.23):
        pen.line([(0.42, top + y), (0.58, top + y - 0.02)], 0.012, darker(STEEL))


@drawing
def lamp_spiral(pen: Pen) -> None:
    """A lamp of one wound tube."""
    glow, wide = _glow(pen), pen.between(0.17, 0.22)
    for y in np.linspace(0.58, 0.16, 5):
        pen.rod([(0.5 - wide, float(y)), (0.5 + wide, float(y) - 0.07)], 0.075, glow)
    pen.rod([(0.46, 0.1), (0.54, 0.08)], 0.075, glow)
    _socket(pen, 0.64)


@drawing
def lamp_ring(pen: Pen) -> None:
    """A tube bent into a ring."""
    glow = _glow(pen)
    pen.line(ellipse(0.5, 0.5, 0.36, 0.36), 0.1, darker(glow, 0.7))
    pen.line(ellipse(0.5, 0.5, 0.36, 0.36), 0.085, glow)
    pen.line(ellipse(0.5, 0.5, 0.345, 0.345), 0.02, WHITE)
    pen.fill(box(0.4, 0.8, 0.6, 0.93), STEEL, "round")


@drawing
def lamp_folded(pen: Pen) -> None:
    """A lamp of folded tubes."""
    glow = _glow(pen)
    for x in (0.38, 0.5, 0.62):
        pen.rod([(x - 0.03, 0.62), (x - 0.03, 0.12), (x + 0.03, 0.1), (x + 0.03, 0.62)], 0.055, glow)
    _socket(pen, 0.62)


@drawing
def lamp_twin(pen: Pen) -> None:
    """Two thin tubes, lying askew."""
    for x, tilt in ((0.38, pen.between(-0.06, 0.06)), (0.6, pen.between(-0.06, 0.06))):
        pen.rod([(x - tilt, 0.08), (x + tilt, 0.92)], 0.06, _glow(pen))
        pen.rod([(x - tilt, 0.06), (x - tilt * 0.9, 0.1)], 0.06, STEEL)
        pen.rod([(x + tilt * 0.9, 0.9), (x + tilt, 0.94)], 0.06, STEEL)


def _capsule(pen: Pen, x: float, y: float, size: float) -> None:
    """Draw a capsule of two colours, turned by chance."""
    turn = pen.between(0, 6.28)
    dx, dy = size * float(np.cos(turn)), size * float(np.sin(turn))
    pen.rod([(x - dx, y - dy), (x, y)], size * 0.95, pen.color())
    pen.rod(
        [(x, y), (x + dx, y + dy)], size * 0.95, (WHITE, pen.color((0.1, 0.17), 0.5, 0.95))[int(pen.rng.integers(2))]
    )


@drawing
def pills_blister(pen: Pen) -> None:
    """A blister of tablets, some gone."""
    pill = (WHITE, pen.color(saturation=0.5, value=0.95))[int(pen.rng.integers(2))]
    pen.fill(smooth(box(0.2, 0.1, 0.8, 0.9), 1), STEEL)
    for y in np.linspace(0.2, 0.8, 5):
        for x in (0.36, 0.64):
            pen.fill(ellipse(x, float(y), 0.1, 0.055), lighter(STEEL, 0.4), "ball")
            if pen.rng.random() < 0.8:
                pen.fill(ellipse(x, float(y), 0.075, 0.04), pill, "ball")
            else:
                pen.fill(ellipse(x, float(y), 0.06, 0.035), DARK)


@drawing
def pills_tablets(pen: Pen) -> None:
    """Loose tablets with a groove."""
    for x, y in ((0.3, 0.32), (0.64, 0.26), (0.5, 0.56), (0.26, 0.72), (0.74, 0.7)):
        color, half = (WHITE, pen.color(saturation=0.4, value=0.95))[int(pen.rng.integers(2))], pen.between(0.11, 0.15)
        pen.fill(ellipse(x, y + 0.035, half, half * 0.8), darker(color, 0.7))
        pen.fill(ellipse(x, y, half, half * 0.8), color)
        pen.line([(x - half * 0.7, y), (x + half * 0.7, y)], 0.014, darker(color, 0.75))


@drawing
def pills_strip(pen: Pen) -> None:
    """A blister of capsules."""
    pen.fill(smooth(box(0.12, 0.18, 0.88, 0.82), 1), pen.color((0.5, 0.62), 0.15, 0.85))
    color = pen.color()
    for y in (0.34, 0.66):
        for x in np.linspace(0.22, 0.78, 5):
            pen.rod([(float(x), y - 0.07), (float(x), y)], 0.085, color)
            pen.rod([(float(x), y), (float(x), y + 0.07)], 0.085, WHITE)


@drawing
def pills_capsules(pen: Pen) -> None:
    """Loose capsules."""
    for x, y in ((0.3, 0.3), (0.68, 0.28), (0.48, 0.55), (0.26, 0.78), (0.74, 0.74)):
        _capsule(pen, x, y, pen.between(0.09, 0.13))
