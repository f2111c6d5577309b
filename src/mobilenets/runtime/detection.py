"""What makes boxes of a detector's numbers: the part of ``model.json`` that says so. NumPy only."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError

SCORES = ("softmax", "sigmoid")
MAX_SIDE = 4096
MAX_ANCHORS = 1_000_000

Pair = tuple[float, float]


@dataclass(frozen=True)
class Detection:
    """How an SSD's outputs, float32 N × anchors × (4 + columns), are read.

    - ``size``: side of the network's pictures in pixels.
    - ``maps``: side of each map that boxes are found on, the finest first.
    - ``shapes``: for each map the width and height of its anchors, as shares of the picture's side. Anchors come map by
      map, row by row, place by place, and at a place in this order; each stands on the middle of its place.
    - ``extras``: of each layer behind the body the channels inside and those that it gives.
    - ``box_scales``: what the codes x, y, w and h are multiplied by: with an anchor's middle ``a`` and sides ``s`` a
      box has ``x = (c - a) / s · 10`` and ``w = log(t / s) · 5`` (Liu et al. 2016, arXiv 1512.02325, equation 2, whose
      figures are those of its code, "variances" of 0.1 and 0.2).
    - ``scores``: ``softmax`` over the columns, of which the first is the background, or ``sigmoid`` of each.
    - ``iou``: overlap above which the box with the lower score of one class is dropped.
    - ``least_score``: boxes below it are not considered.
    - ``most``: boxes of a picture at the most.

    Raises ``InputError`` for what cannot be.
    """

    size: int
    maps: tuple[int, ...]
    shapes: tuple[tuple[Pair, ...], ...]
    extras: tuple[tuple[int, int], ...] = ()
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    scores: str = "softmax"
    iou: float = 0.6
    least_score: float = 0.01
    most: int = 100

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        sides = (self.size, *self.maps)
        if not self.maps or not all(_whole(side, MAX_SIDE) for side in sides):
            raise InputError(f"detection: size and maps must be whole numbers from 1 to {MAX_SIDE}")
        pairs = [pair for shapes in self.shapes for pair in shapes]
        if len(self.shapes) != len(self.maps) or not all(self.shapes) or not all(map(_positive, pairs)):
            raise InputError("detection: shapes must be a width and a height above 0 for each anchor of each map")
        if self.count > MAX_ANCHORS:
            raise InputError(f"detection: {self.count} anchors; a network may have {MAX_ANCHORS}")
        if not all(len(pair) == 2 and all(_whole(c, 1 << 16) for c in pair) for pair in self.extras):
            raise InputError("detection: extras must be two numbers of channels for each layer")
        if not _positive(self.box_scales, 4):
            raise InputError("detection: box_scales must be four numbers above 0")
        if self.scores not in SCORES:
            raise InputError(f"detection: scores must be one of {', '.join(SCORES)}")
        if not all(_real(share) and 0 <= share <= 1 for share in (self.iou, self.least_score)):
            raise InputError("detection: iou and least_score must be from 0 to 1")
        if not _whole(self.most, MAX_ANCHORS):
            raise InputError("detection: most must be a whole number of at least 1")

    @property
    def count(self) -> int:
        """Anchors in all."""
        return sum(side * side * len(shapes) for side, shapes in zip(self.maps, self.shapes, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return what stands under ``detection`` in ``model.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Detection:
        """Read what ``to_json`` wrote; raises ``InputError`` for anything else, missing and unknown keys too."""
        names = [field.name for field in fields(cls)]
        if not isinstance(value, Mapping) or set(value) != set(names):
            raise InputError(f"detection must be an object with {', '.join(names)}")
        try:
            return cls(**{name: _frozen(value[name]) for name in names})
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError("detection is malformed") from error


def anchors(detection: Detection) -> npt.NDArray[np.float32]:
    """Return the anchors as float32 A×4: middle x, middle y, width and height, as shares of the picture's side."""
    parts = []
    for side, shapes in zip(detection.maps, detection.shapes, strict=True):
        middles = (np.arange(side) + 0.5) / side
        part = np.empty((side, side, len(shapes), 4))
        part[..., 0] = middles[None, :, None]
        part[..., 1] = middles[:, None, None]
        part[..., 2:] = np.array(shapes)
        parts.append(part.reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def _real(value: object) -> bool:
    # JSON's whole numbers have no end.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _positive(values: Sequence[object], count: int = 2) -> bool:
    return len(values) == count and all(_real(value) and value > 0 for value in values)  # type: ignore[operator]


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
