"""From the outputs of a detector to boxes in pixels: decoding, non-maximum suppression, and back by the contract.

SSD (Liu et al. 2016, arXiv 1512.02325, section 2.2) with the box codes of Faster R-CNN (arXiv 1506.01497, equation 2).
NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import FaultFound
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.detection import Detection, anchors

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]
# What rounding may make of a score near the least one.
SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one picture, the best first.

    ``corners`` is float32 K×4: x0, y0, x1, y1 in pixels of the upright picture. ``scores`` is float32 K, from 0 to 1;
    ``labels`` is int64 K, places in the model's classes, without a background.
    """

    corners: Floats
    scores: Floats
    labels: Whole

    def __len__(self) -> int:
        return len(self.scores)

    def taken(self, index: Any) -> Detections:
        """Take some, by a mask or by places."""
        return Detections(self.corners[index], self.scores[index], self.labels[index])

    def above(self, least: float) -> Detections:
        """Take those whose score is at least ``least``."""
        return self.taken(self.scores >= np.float32(least))

    def to_json(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Give them as ``detections`` of ``predict --json``, to a thousandth of a pixel."""
        return [
            {"label": classes[label], "score": round(score, 6), "box": [round(side, 3) for side in box]}
            for label, score, box in zip(self.labels.tolist(), self.scores.tolist(), self.corners.tolist(), strict=True)
        ]


def decode(
    outputs: npt.NDArray[np.floating[Any]],
    detection: Detection,
    width: int,
    height: int,
    preprocessing: Preprocessing,
) -> Detections:
    """Decode what a detector gave for one picture of ``width`` × ``height`` pixels.

    ``outputs`` is float32 A×(4 + 1 + classes): box codes x, y, w, h, then logits, that of the background first. Boxes
    that lie wholly outside of the picture are left out, and those that stay after the suppression are cut off at its
    edges, as in TensorFlow's code (torchvision's cuts them first). Scores above ``detection.least_score`` count.
    Of equal scores the lower class comes first, then the earlier anchor.

    Raises ``FaultFound`` where an output is not finite.
    """
    outputs = np.asarray(outputs, np.float32)
    if not np.isfinite(outputs).all():
        raise FaultFound(
            "the network's output is not finite: its weights are broken; train with a lower learning rate, or import "
            "or export the model again"
        )
    places, labels, scores = _candidates(outputs[:, 4:], detection)
    corners = _corners(outputs[places, :4], _anchors(detection)[places], detection.box_scales)
    # In shares of the picture, in which overlaps are as in pixels.
    (left, upper, right, lower), sides = preprocessing.seen(width, height), np.array([width, height] * 2)
    begin, extent = np.array([left, upper] * 2), np.array([right - left, lower - upper] * 2)
    shares = (corners * (extent / sides) + begin / sides).astype(np.float32)
    seen = np.clip(shares, 0, 1)
    order = np.lexsort((places, labels, -scores))
    order = order[(seen[order, 2:] > seen[order, :2]).all(axis=1)]
    kept = order[nms(shares[order], labels[order], detection.iou, detection.most)]
    return Detections((seen[kept] * sides).astype(np.float32), scores[kept], labels[kept])


def finished(rows: npt.NDArray[np.floating[Any]], width: int, height: int) -> Detections:
    """Read what a file with the suppression inside gave for one picture: K×6, or fewer rows that count.

    A row is x0, y0, x1, y1 in shares of the picture, score and class; the class is −1 in rows that only fill up.
    """
    rows = np.asarray(rows, np.float32)
    if not np.isfinite(rows).all():
        raise FaultFound("the file's output is not finite; export the model again")
    rows = rows[rows[:, 5] >= 0]
    sides = np.array([width, height] * 2)
    return Detections((rows[:, :4] * sides).astype(np.float32), rows[:, 4], rows[:, 5].astype(np.int64))


def nms(corners: Floats, labels: Whole, iou: float, most: int) -> Whole:
    """Suppress boxes that overlap a better one of their class by more than ``iou``.

    ``corners`` is K×4, best first. Returns the places of at most ``most`` that stay, in order.
    """
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    members = _members(labels)
    alive = np.ones(len(corners), np.bool_)
    kept: list[int] = []
    for place in range(len(corners)):
        if not alive[place]:
            continue
        kept.append(place)
        if len(kept) == most:
            break
        rest = members[int(labels[place])]
        rest = rest[rest > place]
        if len(rest):
            begin = np.maximum(corners[place, :2], corners[rest, :2])
            end = np.minimum(corners[place, 2:], corners[rest, 2:])
            common = np.maximum(end - begin, 0).prod(axis=1)
            with np.errstate(invalid="ignore"):  # areas too small for a number overlap nothing
                shares = common / (areas[place] + areas[rest] - common)
            alive[rest[shares > np.float32(iou)]] = False
    return np.array(kept, np.int64)


def _members(labels: Whole) -> dict[int, npt.NDArray[np.intp]]:
    """Give the places of each label, in order."""
    order = np.argsort(labels, kind="stable")
    names, first = np.unique(labels[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, first[1:]), strict=True)) if len(names) else {}


def _candidates(logits: Floats, detection: Detection) -> tuple[npt.NDArray[np.intp], Whole, Floats]:
    """Give anchor, class and score of all scores above the least one, anchor after anchor."""
    least = detection.least_score
    if detection.scores == "sigmoid":
        rows = np.flatnonzero(logits[:, 1:].max(axis=1, initial=-np.inf) > _logit(least) - SLACK)
        with np.errstate(over="ignore"):
            found = 1 / (1 + np.exp(-logits[rows, 1:].astype(np.float64)))
    else:
        # No probability is above that of the class against the background alone: most anchors end here.
        beside = logits[:, 1:].max(axis=1, initial=-np.inf) - logits[:, 0]
        rows = np.flatnonzero(beside > _logit(least) - SLACK)
        found = _softmax(logits[rows])[:, 1:]
    scores = found.astype(np.float32)
    at, labels = np.nonzero(scores > np.float32(least))
    return rows[at], labels.astype(np.int64), scores[at, labels]


def _softmax(logits: Floats) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share))) if 0 < share < 1 else (-np.inf if share <= 0 else np.inf)


def _corners(codes: Floats, around: Floats, scales: Sequence[float]) -> Floats:
    """Turn codes K×4 of anchors K×4 (centre and sides) into corners, in shares of the square that the network sees."""
    codes = np.asarray(codes / np.array(scales, np.float32), np.float32)
    with np.errstate(over="ignore"):  # a box without end is cut off at the picture's edges
        half = np.exp(codes[:, 2:]) * around[:, 2:] / np.float32(2)
        centre = codes[:, :2] * around[:, 2:] + around[:, :2]
        corners: Floats = np.concatenate([centre - half, centre + half], axis=1)
    return corners


@lru_cache(maxsize=8)
def _anchors(detection: Detection) -> Floats:
    found = np.asarray(anchors(detection), np.float32)
    found.setflags(write=False)
    return found
