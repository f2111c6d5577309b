"""Boxes around what is in a picture: how they overlap, and how they follow when it is scaled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Corners = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one picture, N of them.

    ``corners`` are float32 N×4: left, top, right, bottom in pixels of the upright picture, where 0 is the outer edge of
    the first pixel, so that a box around the first two is 0 to 2. ``labels`` are int64 N, places in the classes.
    ``ignored`` is bool N: neither learned nor counted as a miss (COCO's ``iscrowd``, VOC's ``difficult``). ``crowd`` is
    bool N: a group, which is ``iscrowd`` alone.
    """

    corners: Corners
    labels: npt.NDArray[np.int64]
    ignored: Flags
    crowd: Flags

    @classmethod
    def of(
        cls,
        corners: npt.ArrayLike = (),
        labels: npt.ArrayLike = (),
        ignored: npt.ArrayLike | None = None,
        crowd: npt.ArrayLike | None = None,
    ) -> Boxes:
        """Make boxes from sequences; by default none is ignored, and what is a crowd is ignored too.

        >>> len(Boxes.of()), Boxes.of([[0, 0, 2, 3]], [1]).corners.tolist()
        (0, [[0.0, 0.0, 2.0, 3.0]])

        """
        found = np.asarray(corners, np.float32).reshape(-1, 4)
        groups = np.zeros(len(found), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
        left = groups if ignored is None else np.asarray(ignored, bool).reshape(-1)
        return cls(found, np.asarray(labels, np.int64).reshape(-1), left, groups)

    def __post_init__(self) -> None:
        many = len(self.corners)
        shapes = [self.corners.shape, self.labels.shape, self.ignored.shape, self.crowd.shape]
        if shapes != [(many, 4), (many,), (many,), (many,)]:
            raise ValueError(f"boxes of shapes {shapes}: N×4, N, N and N are wanted")

    def __len__(self) -> int:
        return len(self.corners)

    def taken(self, index: Any) -> Boxes:
        """Give those at places, or where a mask is true."""
        return Boxes(self.corners[index], self.labels[index], self.ignored[index], self.crowd[index])

    def to_bytes(self) -> bytes:
        """Give all of it as bytes, the same on every machine."""
        kinds = np.stack([self.labels, self.ignored, self.crowd], axis=1)
        return self.corners.astype("<f4").tobytes() + kinds.astype("<i8").tobytes()

    def scaled(self, across: float, down: float | None = None) -> Boxes:
        """Multiply by how many times wider, and higher, the picture becomes."""
        down = across if down is None else down
        return replace(self, corners=self.corners * np.array([across, down, across, down], np.float32))


def joined(some: Iterable[Boxes]) -> Boxes:
    """Put the boxes of several pictures that become one into one, in order."""
    parts = [Boxes.of(), *some]
    return Boxes(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.ignored for part in parts]),
        np.concatenate([part.crowd for part in parts]),
    )


def areas(corners: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give the areas of N×4 corners as float64 N; 0 where a box has none."""
    found = np.asarray(corners, np.float64).reshape(-1, 4)
    sides = np.clip(found[:, 2:] - found[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])


def overlaps(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give how far boxes overlap: the shared area over that of both together, float64 N×M for N×4 and M×4 corners.

    >>> overlaps([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(2).tolist()
    [[0.33, 0.0]]

    """
    one = np.asarray(first, np.float64).reshape(-1, 1, 4)
    other = np.asarray(second, np.float64).reshape(1, -1, 4)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    union = areas(one)[:, None] + areas(other)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
