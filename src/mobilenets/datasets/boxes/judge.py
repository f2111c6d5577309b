"""Every box held against its picture: what cannot be learned from is named and left out, what sticks out is cut."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mobilenets.base.text import say_boxes
from mobilenets.datasets.boxes.entries import BAD, Box, Entry, Fault, Four
from mobilenets.datasets.listing import names
from mobilenets.pictures.boxes import Boxes, overlaps
from mobilenets.pictures.header import Header

ROUNDING = 1.0  # pixels beyond the edge that tools leave by rounding
SMALLEST = 1.0  # pixels: a side that can be learned
SAME = 0.95  # overlap of two boxes of one class that were surely meant for one thing
_AT_ONCE = 1 << 20  # pairs of boxes
# From so many boxes on, of which that share sticks out, it is asked whether the numbers are corners.
_MANY, _STICKING = 10, 0.1


class Judged(NamedTuple):
    """The boxes of a picture that can be used, None where the picture cannot; and what is wrong with them."""

    boxes: Boxes | None
    faults: list[Fault]


@dataclass
class Judge:
    """Judges the entries of a set; counts what is worth one note and no line of its own."""

    labels: Mapping[str, int]
    counts: Counter[str] = field(default_factory=Counter)

    def judge(self, entry: Entry, head: Header) -> Judged:
        """Hold an entry against the header of its picture."""
        faults: list[Fault] = []
        width, height = head.upright

        def wrong(where: str, what: str, corners: Four | None = None, used: bool = False) -> None:
            self.counts["bad"] += bool(where) and not used
            detail = f"{where}: {what}" if where else what
            faults.append(Fault(BAD, str(entry.source), detail, str(entry.picture), corners, used))

        self.counts["boxes"] += len(entry.boxes)
        turn = self._turn(entry, head)
        if turn is None and entry.size is not None:
            told = f"{entry.size[0]:g}×{entry.size[1]:g}"
            has = f"{width}×{height}"
            many = f" and {say_boxes(len(entry.boxes))} of it are" if entry.boxes else " is"
            wrong("", f"its size is written as {told}, and the picture has {has}: the picture{many} left out")
            self.counts["bad"] += len(entry.boxes)
            return Judged(None, faults)
        good: list[tuple[Box, Four]] = []
        for box in entry.boxes:
            corners = _scaled(box.corners, width, height) if entry.shares else box.corners
            self._meant(corners, entry, width, height)
            if turn:
                corners = turned(corners, turn, head.size)
            what = _fault(corners, width, height)
            if what is None and box.name not in self.labels:
                what = f"unknown class {box.name[:60]!r}: the classes are {names(list(self.labels))}"
            if what is not None:
                wrong(box.where, what, corners if all(map(math.isfinite, corners)) else None)
                continue
            cut = self._cut(corners, width, height)
            if isinstance(cut, str):
                wrong(box.where, cut, corners, used=True)
            good.append((box, _clipped(corners, width, height)))
        good = _without_copies(good, wrong)
        if entry.boxes and not good:
            self.counts["emptied"] += 1
            return Judged(None, faults)  # with none of its boxes it would teach that nothing is there
        return Judged(_boxes(good, self.labels), faults)

    @property
    def corners_taken_for_sides(self) -> str | None:
        """Say so where boxes stick out that were read as place and sides, and as corners all would lie inside."""
        counts = self.counts
        if counts["sides"] < _MANY or counts["sticking"] < _STICKING * counts["sides"]:
            return None
        if counts["as corners"] < counts["sides"]:
            return None
        return (
            f"{counts['sticking']} of {counts['sides']} boxes reach beyond their pictures, and all would lie inside if "
            "their numbers were left, top, right, bottom; COCO has left, top, width, height, YOLO middle, width, height"
        )

    def _meant(self, corners: Four, entry: Entry, width: int, height: int) -> None:
        """Count what speaks for corners in the place of sides."""
        if entry.written == "corners":
            return
        left, top, right, bottom = corners
        across, down = right - left, bottom - top
        x, y = (left, top) if entry.written == "sides" else ((left + right) / 2, (top + bottom) / 2)
        self.counts["sides"] += 1
        self.counts["sticking"] += min(left, top, width - right, height - bottom) < -ROUNDING
        self.counts["as corners"] += 0 <= x < across <= width + ROUNDING and 0 <= y < down <= height + ROUNDING

    def _turn(self, entry: Entry, head: Header) -> int | None:
        """Say by which EXIF orientation boxes must be turned, 0 for not; None where the written size fits neither."""
        if entry.size is None or not all(map(math.isfinite, entry.size)) or entry.shares or min(entry.size) <= 0:
            self.counts["turned"] += head.orientation != 1
            return 0
        size = (round(entry.size[0]), round(entry.size[1]))
        if size == head.upright:
            self.counts["turned"] += head.orientation != 1
            return 0
        if size == head.size:
            self.counts["stored"] += 1
            return head.orientation
        return None

    def _cut(self, corners: Four, width: int, height: int) -> str | None:
        """Say by how much a box sticks out; a pixel or so is only counted."""
        sides = {"left": -corners[0], "top": -corners[1], "right": corners[2] - width, "bottom": corners[3] - height}
        if (beyond := max(sides.values())) <= ROUNDING:
            self.counts["rounded"] += beyond > 0.01
            return None
        told = [f"{over:.4g} pixels beyond the {side}" for side, over in sides.items() if over > ROUNDING]
        return f"it reaches {' and '.join(told)} of the picture: cut there"


def _fault(corners: Four, width: int, height: int) -> str | None:
    """Say why a box cannot be used."""
    left, top, right, bottom = corners
    said = f"{left:g}, {top:g} to {right:g}, {bottom:g}"
    if any(map(math.isnan, corners)):
        return f"not a number (NaN): {said}"
    if any(map(math.isinf, corners)):
        return f"infinite: {said}"
    if right < left or bottom < top:
        return f"swapped corners, or a negative side: {said}"
    if right == left or bottom == top:
        return f"empty: {right - left:g}×{bottom - top:g} pixels at {left:g}, {top:g}"
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return f"outside: {said}, and the picture has {width}×{height} pixels"
    cut = _clipped(corners, width, height)
    if min(cut[2] - cut[0], cut[3] - cut[1]) < SMALLEST - 1e-3:
        return f"less than a pixel: {cut[2] - cut[0]:.2g}×{cut[3] - cut[1]:.2g} of it inside the picture"
    return None


def _without_copies(good: Sequence[tuple[Box, Four]], wrong: Callable[..., None]) -> list[tuple[Box, Four]]:
    """Leave out boxes that stand there twice, and name those that nearly do."""
    kept: list[tuple[Box, Four]] = []
    seen: dict[tuple[tuple[float, ...], str], Box] = {}
    places: dict[tuple[float, ...], Box] = {}
    for box, corners in good:
        rounded = tuple(round(side, 1) for side in corners)
        first = seen.get((rounded, box.name))
        if first is not None:
            wrong(box.where, f"duplicate: the same {box.name} as in {first.where}", corners)
            continue
        seen[rounded, box.name] = box
        beside = places.setdefault(rounded, box)
        if beside is not box:
            what = f"the same box is {beside.name} in {beside.where}, and {box.name} here: one is perhaps wrong"
            wrong(box.where, what, corners, used=True)
        kept.append((box, corners))
    plain = [place for place, (box, _) in enumerate(kept) if not box.crowd]
    for one, later in _near([kept[place] for place in plain]):
        before, (box, corners) = kept[plain[one]][0], kept[plain[later]]
        wrong(box.where, f"nearly the same {box.name} as in {before.where}: perhaps drawn twice", corners, used=True)
    return kept


def _near(kept: Sequence[tuple[Box, Four]]) -> list[tuple[int, int]]:
    """The places of boxes of one class that are nearly the same."""
    corners = np.array([corners for _, corners in kept]).reshape(-1, 4)
    called = np.array([box.name for box, _ in kept])
    found: list[tuple[int, int]] = []
    step = max(1, _AT_ONCE // max(1, len(kept)))  # all pairs of 20,000 boxes would take gigabytes
    for start in range(0, len(kept), step):
        rows = slice(start, start + step)
        close = (overlaps(corners[rows], corners[start:]) >= SAME) & (called[rows, None] == called[start:])
        found += [
            (start + int(one), start + int(other)) for one, other in zip(*np.nonzero(np.triu(close, 1)), strict=True)
        ]
    return found


def _boxes(good: Sequence[tuple[Box, Four]], labels: Mapping[str, int]) -> Boxes:
    return Boxes.of(
        [corners for _, corners in good],
        [labels[box.name] for box, _ in good],
        [box.ignored for box, _ in good],
        [box.crowd for box, _ in good],
    )


def _scaled(corners: Four, width: int, height: int) -> Four:
    return corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height


def _clipped(corners: Four, width: int, height: int) -> Four:
    left, top, right, bottom = corners
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def turned(corners: Four, orientation: int, size: tuple[int, int]) -> Four:
    """Turn a box in the pixels of a stored picture, width and height, upright as EXIF's orientation says.

    >>> turned((1, 0, 3, 2), 6, (10, 4))
    (2, 1, 4, 3)

    """
    left, top, right, bottom = corners
    width, height = size
    if orientation in (2, 3, 7, 8):  # mirrored across first, where the picture is as it is stored
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)
