"""Drawings of the kinds for the recyclable bin."""

from __future__ import annotations

import numpy as np

from .pen import (
    DARK,
    GREY,
    STEEL,
    WHITE,
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


def _bottle(
    pen: Pen, profile: Points, body: Color, alpha: float, cap: Color, label: tuple[float, float, float]
) -> None:
    """Draw a bottle: body, cap, label between two heights and as wide as that, light on the left."""
    top, neck = profile[0]
    pen.fill(smooth(lathe(profile), 2), body, "round", alpha)
    pen.fill(box(0.5 - neck * 1.25, top - 0.06, 0.5 + neck * 1.25, top + 0.02), cap, "round")
    low, high, half = label
    if high > low:
        pen.fill(box(0.5 - half, low, 0.5 + half, high), pen.color(value=0.9), "round")
        pen.bars(0.5 - half * 0.6, low + 0.05, 0.5 + half * 0.6, high - 0.03, 0.045, WHITE)
    pen.line([(0.5 - half * 0.62, 0.42), (0.5 - half * 0.62, 0.85)], 0.016, lighter(body, 0.85))


@drawing
def plastic_water(pen: Pen) -> None:
    """A clear ribbed water bottle."""
    half = pen.between(0.13, 0.17)
    clear = pen.color((0.5, 0.6), 0.25, 0.9)
    profile = [(0.1, 0.05), (0.17, 0.05), (0.27, half), (0.93, half), (0.96, half * 0.9)]
    _bottle(pen, profile, clear, 0.6, pen.color((0.5, 0.7)), (0.42, 0.6, half))
    for y in (0.31, 0.36, 0.66, 0.72, 0.78, 0.84, 0.9):
        pen.line([(0.5 - half * 0.9, y), (0.5 + half * 0.9, y)], 0.007, darker(clear, 0.75))


@drawing
def plastic_jug(pen: Pen) -> None:
    """An opaque bottle of detergent with a handle."""
    body = pen.color(value=0.9)
    profile = [(0.14, 0.08), (0.22, 0.09), (0.36, 0.24), (0.92, 0.24), (0.96, 0.2)]
    _bottle(pen, profile, body, 1, pen.color(), (0.58, 0.84, 0.2))
    pen.fill(smooth([(0.58, 0.33), (0.67, 0.37), (0.67, 0.52), (0.58, 0.48)]), darker(body, 0.45))


@drawing
def plastic_soda(pen: Pen) -> None:
    """A bottle of soda with a waist."""
    half = pen.between(0.14, 0.18)
    body = pen.color((0.05, 0.45), 0.6, 0.7)
    profile = [(0.1, 0.05), (0.17, 0.05), (0.34, half), (0.46, half), (0.6, half * 0.8), (0.74, half), (0.95, half)]
    _bottle(pen, profile, body, 0.75, pen.color(), (0.4, 0.56, half * 0.96))


@drawing
def news_rolled(pen: Pen) -> None:
    """A rolled newspaper with a band."""
    paper = pen.color((0.1, 0.15), 0.08, 0.85)
    pen.fill(box(0.1, 0.38, 0.9, 0.62), paper)
    for x in np.arange(0.14, 0.84, 0.12):
        pen.bars(float(x), 0.42, float(x) + 0.09, 0.6, 0.03)
    pen.fill(ellipse(0.9, 0.5, 0.05, 0.12), lighter(paper))
    pen.line(ellipse(0.9, 0.5, 0.03, 0.07, 40, 330), 0.008, GREY)
    pen.fill(box(0.45, 0.375, 0.53, 0.625), pen.color())


def _page(pen: Pen, x0: float, y0: float, x1: float, y1: float) -> None:
    """Draw a page of a newspaper: headline, picture, columns."""
    pen.fill(box(x0, y0, x1, y1), pen.color((0.1, 0.15), 0.08, 0.88))
    wide, pad = x1 - x0, 0.03
    pen.line([(x0 + pad, y0 + 0.07), (x1 - pad, y0 + 0.07)], 0.06, DARK, rounded=False)
    pen.fill(box(x0 + pad, y0 + 0.14, x0 + wide * 0.5, y0 + 0.36), pen.color(saturation=0.2, value=0.5))
    pen.bars(x0 + wide * 0.56, y0 + 0.15, x1 - pad, y0 + 0.37, 0.028)
    for column in range(3):
        left = x0 + pad + column * (wide - pad) / 3
        pen.bars(left, y0 + 0.42, left + (wide - pad) / 3 - pad, y1 - 0.03, 0.028)


@drawing
def news_folded(pen: Pen) -> None:
    """Newspapers folded and stacked."""
    for shift in (0.08, 0.04, 0):
        _page(pen, 0.14 + shift, 0.2 + shift, 0.76 + shift, 0.84 + shift)


@drawing
def news_front(pen: Pen) -> None:
    """An open newspaper."""
    _page(pen, 0.04, 0.14, 0.5, 0.88)
    _page(pen, 0.5, 0.14, 0.96, 0.88)


def _can(pen: Pen, half: float, top: float, bottom: float, squeeze: float) -> None:
    color, ring = pen.color(), half * 0.28
    middle = (top + bottom) / 2
    upper = [(top, half * 0.85), (top + 0.06, half), (middle, half * squeeze)]
    profile = [*upper, (bottom - 0.06, half), (bottom, half * 0.85)]
    pen.fill(lathe(profile), color, "round")
    wave = smooth([(0.5 - half * 0.9, middle), (0.5, middle - 0.16), (0.5 + half * 0.9, middle), (0.5, middle + 0.16)])
    pen.fill(wave, pen.color(saturation=0.25, value=0.98), "round")
    pen.fill(ellipse(0.5, bottom, half * 0.85, ring * 0.6, 0, 180), STEEL, "round")
    pen.fill(ellipse(0.5, top, half * 0.86, ring), STEEL, "round")
    pen.fill(ellipse(0.5, top, half * 0.72, ring * 0.75), lighter(GREY))
    pen.fill(ellipse(0.54, top + 0.005, half * 0.3, ring * 0.35), GREY)


@drawing
def can_soda(pen: Pen) -> None:
    """A can of soda."""
    _can(pen, pen.between(0.2, 0.25), 0.14, 0.88, 1)


@drawing
def can_crushed(pen: Pen) -> None:
    """A can, squeezed."""
    _can(pen, 0.26, pen.between(0.22, 0.3), 0.82, pen.between(0.6, 0.75))


@drawing
def can_slim(pen: Pen) -> None:
    """A slim can of an energy drink."""
    _can(pen, pen.between(0.14, 0.17), 0.1, 0.92, 1)


@drawing
def glass_tumbler(pen: Pen) -> None:
    """An empty tumbler with a thick foot."""
    half, clear = pen.between(0.18, 0.26), pen.color((0.45, 0.6), 0.15, 0.95)
    pen.fill(lathe([(0.18, half), (0.86, half * 0.8)]), clear, "round", 0.4)
    pen.fill(lathe([(0.78, half * 0.78), (0.86, half * 0.8)]), clear, "round", 0.7)
    pen.fill(ellipse(0.5, 0.18, half, 0.05), lighter(clear), "flat", 0.6)
    pen.line([(0.5 - half * 0.6, 0.3), (0.5 - half * 0.5, 0.74)], 0.02, WHITE)


@drawing
def glass_goblet(pen: Pen) -> None:
    """A wine glass, empty or not."""
    half, clear = pen.between(0.18, 0.24), pen.color((0.45, 0.6), 0.15, 0.95)
    bowl = [(0.1, half * 0.85), (0.3, half), (0.48, half * 0.6), (0.54, 0.02)]
    pen.fill(smooth(lathe(bowl), 1), clear, "round", 0.45)
    if pen.rng.random() < 0.5:
        drink = lathe([(0.28, half * 0.95), (0.46, half * 0.6), (0.52, 0.02)])
        pen.fill(smooth(drink, 1), pen.color((0.9, 1.15)), "round")
    pen.rod([(0.5, 0.54), (0.5, 0.86)], 0.03, clear)
    pen.fill(ellipse(0.5, 0.88, half * 0.8, 0.04), clear, "round", 0.8)
    pen.line([(0.5 - half * 0.6, 0.16), (0.5 - half * 0.65, 0.34)], 0.018, WHITE)


@drawing
def bottle_wine(pen: Pen) -> None:
    """A dark wine bottle."""
    body = pen.color((0.2, 0.42), 0.75, 0.35)
    profile = [(0.08, 0.045), (0.3, 0.05), (0.42, 0.14), (0.96, 0.14)]
    _bottle(pen, profile, body, 0.95, pen.color((0.9, 1.1), 0.7, 0.5), (0.55, 0.8, 0.14))


@drawing
def bottle_medicine(pen: Pen) -> None:
    """A short brown bottle of medicine."""
    profile = [(0.2, 0.09), (0.28, 0.09), (0.36, 0.2), (0.92, 0.2)]
    _bottle(pen, profile, pen.color((0.05, 0.09), 0.85, 0.55), 0.9, WHITE, (0.5, 0.78, 0.2))


@drawing
def bottle_beer(pen: Pen) -> None:
    """A beer bottle with a crown cap."""
    body = pen.color(((0.05, 0.09), (0.28, 0.42))[int(pen.rng.integers(2))], 0.8, 0.45)
    profile = [(0.1, 0.045), (0.28, 0.055), (0.44, 0.15), (0.95, 0.15)]
    _bottle(pen, profile, body, 0.92, pen.color((0.1, 0.14)), (0.58, 0.78, 0.15))


def _cardboard(pen: Pen) -> Color:
    return pen.color((0.07, 0.1), 0.45, 0.76)


@drawing
def card_sheet(pen: Pen) -> None:
    """Sheets of corrugated cardboard, the wavy edge in front."""
    for shift in (0.16, 0.08, 0):
        brown = _cardboard(pen)
        pen.fill([(0.12, 0.3 + shift), (0.7, 0.2 + shift), (0.92, 0.56 + shift), (0.3, 0.68 + shift)], brown)
        wave = [(0.3 + 0.0155 * n, 0.7 + shift - 0.003 * n + 0.012 * (n % 2)) for n in range(41)]
        pen.line(wave, 0.012, darker(brown), rounded=False)


@drawing
def card_open(pen: Pen) -> None:
    """An open cardboard box."""
    brown = _cardboard(pen)
    pen.fill([(0.2, 0.4), (0.5, 0.3), (0.8, 0.4), (0.5, 0.52)], darker(brown, 0.45))
    pen.fill([(0.2, 0.4), (0.5, 0.52), (0.5, 0.92), (0.2, 0.78)], brown)
    pen.fill([(0.8, 0.4), (0.5, 0.52), (0.5, 0.92), (0.8, 0.78)], darker(brown, 0.8))
    pen.fill([(0.2, 0.4), (0.5, 0.3), (0.4, 0.16), (0.08, 0.28)], lighter(brown, 0.25))
    pen.fill([(0.8, 0.4), (0.5, 0.3), (0.62, 0.16), (0.93, 0.28)], lighter(brown, 0.15))
    pen.fill([(0.2, 0.4), (0.5, 0.52), (0.36, 0.64), (0.05, 0.5)], lighter(brown, 0.3))
    pen.fill([(0.8, 0.4), (0.5, 0.52), (0.64, 0.64), (0.95, 0.5)], lighter(brown, 0.2))


@drawing
def card_box(pen: Pen) -> None:
    """A closed cardboard box with tape."""
    brown, tape = _cardboard(pen), pen.color((0.08, 0.14), 0.3, 0.92)
    pen.fill(box(0.1, 0.4, 0.66, 0.88), brown)
    pen.fill([(0.66, 0.4), (0.9, 0.24), (0.9, 0.7), (0.66, 0.88)], darker(brown, 0.75))
    pen.fill([(0.1, 0.4), (0.36, 0.24), (0.9, 0.24), (0.66, 0.4)], lighter(brown, 0.25))
    pen.fill([(0.34, 0.4), (0.6, 0.24), (0.67, 0.24), (0.42, 0.4), (0.42, 0.55), (0.34, 0.55)], tape, edge=0)
    pen.line([(0.16, 0.8), (0.16, 0.7)], 0.02, DARK)
    pen.line([(0.24, 0.8), (0.24, 0.7)], 0.02, DARK)


@drawing
def basketball_drawn(pen: Pen) -> None:
    """A basketball."""
    pen.fill(ellipse(0.5, 0.5, 0.42, 0.42), pen.color((0.04, 0.07), 0.8, 0.85), "ball")
    for seam in ([(0.5, 0.09), (0.5, 0.91)], [(0.09, 0.5), (0.91, 0.5)],
                 ellipse(0.1, 0.5, 0.24, 0.36, -62, 62), ellipse(0.9, 0.5, 0.24, 0.36, 118, 242)):  # fmt: skip
        pen.line(seam, 0.018, DARK)


@drawing
def paper_crumpled(pen: Pen) -> None:
    """A crumpled sheet."""
    rim = [(0.5 + (x - 0.5) * pen.between(0.8, 1.1), 0.5 + (y - 0.5) * pen.between(0.8, 1.1))
           for x, y in ellipse(0.5, 0.5, 0.4, 0.36)[::4]]  # fmt: skip
    heart = (pen.between(0.4, 0.6), pen.between(0.4, 0.6))
    for one, two in zip(rim, rim[1:] + rim[:1], strict=True):
        grey = round(pen.between(200, 252))
        fold = ((one[0] + heart[0]) / 2 + pen.between(-0.06, 0.06), (one[1] + heart[1]) / 2 + pen.between(-0.06, 0.06))
        pen.fill([one, two, heart], (grey, grey, grey - 4), edge=0)
        dim = grey - round(pen.between(10, 40))
        pen.fill([one, fold, two], (dim, dim, dim), edge=0.003)


@drawing
def paper_stack(pen: Pen) -> None:
    """Sheets lying askew, written on."""
    for _ in range(3):
        dx, dy, tilt = pen.between(-0.06, 0.06), pen.between(-0.06, 0.06), pen.between(-0.07, 0.07)
        sheet = box(0.24 + dx, 0.12 + dy, 0.76 + dx, 0.88 + dy)
        pen.fill([(x + tilt * (1 if y > 0.5 else -1), y) for x, y in sheet], WHITE)
    pen.bars(0.31 + dx, 0.24 + dy, 0.68 + dx, 0.8 + dy, 0.05, pen.color((0.55, 0.7), 0.3, 0.6))


@drawing
def metal_pot(pen: Pen) -> None:
    """A steel pot with two handles."""
    for side in (-1, 1):
        pen.line(ellipse(0.5 + side * 0.36, 0.46, 0.08, 0.06), 0.03, DARK)
    pen.fill(lathe([(0.36, 0.34), (0.8, 0.33), (0.84, 0.3)]), STEEL, "round")
    pen.fill(ellipse(0.5, 0.36, 0.34, 0.09), darker(STEEL, 0.75), "round")
    pen.fill(ellipse(0.5, 0.37, 0.31, 0.07), darker(STEEL, 0.45))
