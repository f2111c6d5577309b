"""The anchors of the reference codes: width and height as shares of the picture's side, map by map."""

from __future__ import annotations

import math
from itertools import pairwise

Pair = tuple[float, float]
Shapes = tuple[tuple[Pair, ...], ...]

LOWEST = 0.1
"""Scale of the one square anchor on the finest map in TensorFlow's code."""


def scales(maps: int, least: float = 0.2, most: float = 0.95) -> list[float]:
    """Give the scale of each map and, last, of what would follow: 1 (arXiv 1512.02325, equation 4)."""
    return [least + (most - least) * place / max(maps - 1, 1) for place in range(maps)] + [1.0]


def tensorflow_shapes(maps: int) -> Shapes:
    """Give those of TensorFlow's ``ssd_anchor_generator`` (``multiple_grid_anchor_generator.create_ssd_anchors``).

    On the finest map 3 (``reduce_boxes_in_lowest_layer``), on the others one a ratio and one more square, between its
    scale and the next.
    """
    found = []
    steps = scales(maps)
    for place, (scale, after) in enumerate(pairwise(steps)):
        described = [(scale, ratio) for ratio in (1, 2, 1 / 2, 3, 1 / 3)] + [(math.sqrt(scale * after), 1)]
        if place == 0:
            described = [(LOWEST, 1), (scale, 2), (scale, 1 / 2)]
        found.append(tuple((size * math.sqrt(ratio), size / math.sqrt(ratio)) for size, ratio in described))
    return tuple(found)


def torchvision_shapes(maps: int) -> Shapes:
    """Give those of torchvision's ``DefaultBoxGenerator`` (``models/detection/anchor_utils.py``), cut to the picture.

    Two squares, and each ratio both ways.
    """
    found = []
    steps = scales(maps)
    for scale, after in pairwise(steps):
        between = math.sqrt(scale * after)
        pairs = [(scale, scale), (between, between)]
        for ratio in (2, 3):
            wide, narrow = min(scale * math.sqrt(ratio), 1.0), min(scale / math.sqrt(ratio), 1.0)
            pairs += [(wide, narrow), (narrow, wide)]
        found.append(tuple(pairs))
    return tuple(found)
