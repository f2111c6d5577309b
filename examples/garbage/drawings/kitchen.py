"""Drawings of the kinds for the kitchen bin."""

from __future__ import annotations

import numpy as np

from .pen import Color, Pen, Points, darker, drawing, ellipse, lathe, lighter, smooth


def _orange(pen: Pen) -> Color:
    return pen.color((0.06, 0.1), 0.9, 0.97)


def _peel(pen: Pen, outline: Points, color: Color, inside: bool) -> None:
    """Draw a piece of peel: its pith inside, or its pores outside."""
    pen.fill(outline, (250, 225, 170) if inside else color, "ball", edge=0.014)
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    for _ in range(0 if inside else 30):
        at = (x + pen.between(-0.3, 0.3) * (max(xs) - min(xs)), y + pen.between(-0.3, 0.3) * (max(ys) - min(ys)))
        pen.fill(ellipse(*at, 0.006, 0.006), darker(color, 0.85), edge=0)
    if inside:
        pen.line([*outline, outline[0]], 0.02, color, rounded=False)


@drawing
def orange_spiral(pen: Pen) -> None:
    """A peel taken off in one strip."""
    color, turns = _orange(pen), pen.between(1.6, 2.3)
    turn = np.linspace(0, turns * 2 * np.pi, 90)
    radius = np.linspace(0.38, 0.08, 90)
    path = [(0.5 + float(r * np.cos(t)), 0.5 + float(r * np.sin(t)) * 0.9) for r, t in zip(radius, turn, strict=True)]
    pen.line(path, 0.115, darker(color, 0.7))
    pen.line(path, 0.1, (252, 228, 175))
    pen.line([(x, y + 0.018) for x, y in path], 0.065, color)


@drawing
def orange_pieces(pen: Pen) -> None:
    """Ragged pieces, some with the inside up."""
    color = _orange(pen)
    for n, (x, y) in enumerate(((0.3, 0.32), (0.7, 0.34), (0.36, 0.72), (0.72, 0.74))):
        ragged = [(x + (px - x) * pen.between(0.7, 1.3), y + (py - y) * pen.between(0.7, 1.3))
                  for px, py in ellipse(x, y, 0.19, 0.16)[::6]]  # fmt: skip
        _peel(pen, smooth(ragged, 2), color, n % 2 == int(pen.rng.integers(2)))


@drawing
def orange_cups(pen: Pen) -> None:
    """Two squeezed halves."""
    color = _orange(pen)
    for x, y in ((0.32, 0.38), (0.66, 0.64)):
        pen.fill(ellipse(x, y + 0.05, 0.24, 0.22), color, "ball")
        pen.fill(ellipse(x, y, 0.24, 0.2), lighter(color, 0.3), edge=0.012)
        pen.fill(ellipse(x, y, 0.2, 0.165), (253, 232, 190), edge=0)
        for turn in np.linspace(0, 6.28, 9, endpoint=False):
            pen.line(
                [(x, y), (x + 0.17 * float(np.cos(turn)), y + 0.14 * float(np.sin(turn)))], 0.01, lighter(color, 0.2)
            )


@drawing
def orange_star(pen: Pen) -> None:
    """A peel opened like a flower."""
    color, count = _orange(pen), int(pen.rng.integers(4, 7))
    for n in range(count):
        turn = 2 * np.pi * n / count + pen.between(-0.15, 0.15)
        far = (0.5 + 0.42 * float(np.cos(turn)), 0.5 + 0.42 * float(np.sin(turn)))
        side = (-0.17 * float(np.sin(turn)), 0.17 * float(np.cos(turn)))
        half = (0.5 + 0.24 * float(np.cos(turn)), 0.5 + 0.24 * float(np.sin(turn)))
        petal = [(0.5, 0.5), (half[0] + side[0], half[1] + side[1]), far, (half[0] - side[0], half[1] - side[1])]
        _peel(pen, smooth(petal, 2), color, pen.rng.random() < 0.7)
    pen.fill(ellipse(0.5, 0.5, 0.1, 0.1), (250, 225, 170), edge=0)


def _leaf(pen: Pen, outline: Points, color: Color, stalk: Color, veins: int) -> None:
    pen.fill(outline, color, "ball")
    pen.line([(0.5, 0.97), (0.5, 0.2)], 0.03, stalk)
    for n in range(veins):
        y = 0.75 - 0.45 * n / veins
        for side in (-1, 1):
            pen.line([(0.5, y), (0.5 + side * pen.between(0.16, 0.22), y - 0.14)], 0.012, stalk)


@drawing
def leaf_spinach(pen: Pen) -> None:
    """A smooth dark leaf on its stalk."""
    green = pen.color((0.27, 0.36), 0.75, 0.5)
    wide = pen.between(0.24, 0.32)
    outline = lathe([(0.05, 0), (0.32, wide), (0.62, wide), (0.78, 0.03)])
    _leaf(pen, smooth(outline), green, lighter(green, 0.35), 4)


def _ruffled(pen: Pen, wide: float) -> Points:
    """Outline of a curly leaf, broad at the top."""
    points = []
    for n, (x, y) in enumerate(ellipse(0.5, 0.42, wide, 0.37, 130, 410)):
        out = 1 + (0.09 if n % 3 == 0 else -0.04) + pen.between(-0.03, 0.03)
        points.append((0.5 + (x - 0.5) * out, 0.42 + (y - 0.42) * out))
    return smooth([*points, (0.56, 0.92), (0.44, 0.92)], 2)


@drawing
def leaf_lettuce(pen: Pen) -> None:
    """A curly light green leaf."""
    green = pen.color((0.2, 0.28), 0.65, 0.75)
    _leaf(pen, _ruffled(pen, pen.between(0.34, 0.4)), green, lighter(green, 0.55), 5)


@drawing
def leaf_cabbage(pen: Pen) -> None:
    """A leaf of Chinese cabbage with a broad white rib."""
    green = pen.color((0.22, 0.32), 0.55, 0.7)
    pen.fill(_ruffled(pen, pen.between(0.28, 0.34)), green, "ball")
    pen.fill(smooth(lathe([(0.25, 0.01), (0.6, 0.06), (0.96, 0.1)]), 2), (238, 240, 222), "round")
    for y in (0.34, 0.46, 0.58):
        for side in (-1, 1):
            pen.line([(0.5, y + 0.06), (0.5 + side * 0.2, y - 0.06)], 0.014, lighter(green, 0.6))


def _egg(pen: Pen) -> Color:
    return pen.color((0.06, 0.09), 0.32, 0.93) if pen.rng.random() < 0.6 else (243, 238, 228)


def _half_shell(pen: Pen, x: float, y: float, size: float, shell: Color, up: bool) -> None:
    """Draw half a shell with a jagged rim, its hollow towards us."""
    way = 1 if up else -1
    bottom = ellipse(x, y, size, size * (1.15 if up else 1.35) * way, 0, 180)
    rim = [
        (x - size + 2 * size * n / 10, y - way * size * (0.22 if n % 2 else pen.between(-0.05, 0.1))) for n in range(11)
    ]
    hollow = [(x + (px - x), y - way * size * pen.between(0.2, 0.42)) for px, _ in rim[1:-1]]
    pen.fill([rim[0], *hollow, rim[-1]], darker(lighter(shell, 0.7), 0.86), edge=0.004)
    pen.fill([*bottom, *rim], shell, "ball")


@drawing
def egg_cup(pen: Pen) -> None:
    """One half of a shell."""
    _half_shell(pen, 0.5, 0.45, pen.between(0.3, 0.38), _egg(pen), True)


@drawing
def egg_bits(pen: Pen) -> None:
    """Crushed bits of shell."""
    shell = _egg(pen)
    for _ in range(9):
        x, y, size = pen.between(0.2, 0.8), pen.between(0.22, 0.78), pen.between(0.08, 0.16)
        jagged = [(x + (px - x) * pen.between(0.6, 1.2), y + (py - y) * pen.between(0.6, 1.2))
                  for px, py in ellipse(x, y, size, size * 0.8)[::7]]  # fmt: skip
        pen.fill(jagged, shell if pen.rng.random() < 0.6 else lighter(shell, 0.7), "ball", edge=0.008)


@drawing
def egg_halves(pen: Pen) -> None:
    """The two halves beside each other."""
    shell = _egg(pen)
    _half_shell(pen, 0.28, 0.42, 0.22, shell, True)
    _half_shell(pen, 0.72, 0.66, 0.22, shell, False)


@drawing
def egg_cracked(pen: Pen) -> None:
    """A shell broken in two, one half above the other."""
    shell = _egg(pen)
    _half_shell(pen, 0.5, 0.6, 0.28, shell, True)
    _half_shell(pen, 0.5 + pen.between(-0.08, 0.08), 0.42, 0.27, shell, False)


def _banana(pen: Pen) -> tuple[Color, Color]:
    skin = pen.color((0.13, 0.155), 0.8, 0.92)
    return skin, lighter(skin, 0.65)


def _flap(pen: Pen, turn: float, length: float, skin: Color, spots: bool) -> None:
    """Draw a strip of peel from the middle outwards, bent at its end."""
    bend = turn + pen.between(-0.6, 0.6)
    half = (0.5 + length * 0.55 * float(np.cos(turn)), 0.5 + length * 0.55 * float(np.sin(turn)))
    tip = (half[0] + length * 0.5 * float(np.cos(bend)), half[1] + length * 0.5 * float(np.sin(bend)))
    dx, dy = 0.085 * float(np.sin(turn)), -0.085 * float(np.cos(turn))
    strip = [(0.5 + dx * 0.7, 0.5 + dy * 0.7), (half[0] + dx, half[1] + dy), tip,
             (half[0] - dx, half[1] - dy), (0.5 - dx * 0.7, 0.5 - dy * 0.7)]  # fmt: skip
    pen.fill(smooth(strip, 2), skin, "flat", edge=0.01)
    pen.line([(0.5, 0.5), half], 0.012, darker(skin, 0.85))
    for _ in range(4 if spots else 0):
        part = pen.between(0.3, 0.9)
        at = (0.5 + (half[0] - 0.5) * part, 0.5 + (half[1] - 0.5) * part)
        pen.fill(ellipse(*at, 0.012, 0.02), (110, 75, 30), edge=0)


@drawing
def banana_splayed(pen: Pen) -> None:
    """A peel lying flat, its strips all around."""
    skin, pith = _banana(pen)
    count = int(pen.rng.integers(3, 5))
    for n in range(count):
        inside = pen.rng.random() < 0.4
        turn = 2 * np.pi * n / count + pen.between(-0.3, 0.3)
        _flap(pen, turn, pen.between(0.4, 0.48), pith if inside else skin, not inside)
    pen.fill(ellipse(0.5, 0.5, 0.07, 0.07), skin, "ball", edge=0.008)
    pen.fill(ellipse(0.5, 0.5, 0.025, 0.025), (95, 70, 35))


@drawing
def banana_fallen(pen: Pen) -> None:
    """A peel sitting on its strips, the stalk up."""
    skin, _ = _banana(pen)
    for turn in (2.9, 0.25, 2.1, 1.05):
        _flap(pen, turn + pen.between(-0.15, 0.15), pen.between(0.4, 0.46), skin, True)
    pen.fill(smooth([(0.4, 0.56), (0.44, 0.3), (0.47, 0.12), (0.53, 0.12), (0.56, 0.3), (0.6, 0.56)], 2), skin, "round")
    pen.fill([(0.47, 0.08), (0.53, 0.08), (0.53, 0.16), (0.47, 0.16)], (105, 80, 35))


@drawing
def banana_pair(pen: Pen) -> None:
    """Two strips of peel, inside up, joined at the stalk."""
    skin, pith = _banana(pen)
    for side in (-1, 1):
        bent = side * pen.between(0.25, 0.38)
        strip = smooth([(0.5, 0.12), (0.5 + bent, 0.4), (0.5 + bent * 0.9, 0.7), (0.5 + side * 0.12, 0.92),
                        (0.5 + bent * 0.6, 0.62), (0.5 + bent * 0.55, 0.42)], 2)  # fmt: skip
        pen.fill(strip, skin, "flat", edge=0.012)
        pen.fill([(0.5 + (x - 0.5) * 0.97, 0.5 + (y - 0.5) * 0.93) for x, y in strip], pith, "flat", edge=0)
    pen.fill([(0.46, 0.05), (0.54, 0.05), (0.54, 0.2), (0.46, 0.2)], (120, 95, 40))
