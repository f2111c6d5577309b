"""Which pictures may be copies of which: the nearest ones by numbers that are the same in all eight orientations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mobilenets.doctor.spectra import Floats

Places = npt.NDArray[np.intp]

_QUERIES, _ROWS = 512, 16_384


class Near(NamedTuple):
    """Pairs by their places among the queries and among the rows, M each."""

    queries: Places
    rows: Places


def nearest(
    queries: Floats,
    rows: Floats,
    least: float,
    most: int,
    apart: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Near:
    """Find for each query the rows whose inner product with it is ``least`` or more, at most the ``most`` best of them.

    Both are unit vectors, N×D and M×D. ``apart``: both are the same pictures, and none is near itself. Everything is
    compared with everything, in blocks: 32 MiB at a time; ``advance`` is told how many queries are done.
    """
    found = []
    for start in range(0, len(queries), _QUERIES):
        block = queries[start : start + _QUERIES]
        parts = [
            _best(block @ rows[left : left + _ROWS].T, least, most, start - left if apart else None, left)
            for left in range(0, len(rows), _ROWS)
        ]
        who, where, how = (np.concatenate([part[k] for part in parts]) for k in range(3))
        order = np.lexsort((where, -how, who))
        who, where = who[order], where[order]
        first = np.searchsorted(who, who)
        kept = np.arange(len(who)) - first < most
        found.append((who[kept] + start, where[kept]))
        advance(len(block))
    if not found:
        return Near(np.empty(0, np.intp), np.empty(0, np.intp))
    return Near(*(np.concatenate(part).astype(np.intp) for part in zip(*found, strict=True)))


def _best(near: Floats, least: float, most: int, own: int | None, left: int) -> tuple[Places, Places, Floats]:
    """Give queries, rows and products of a block; ``own`` is the column of the first query itself."""
    if own is not None:
        inside = np.arange(max(0, -own), min(len(near), near.shape[1] - own))
        near[inside, inside + own] = -1
    who, where = np.divmod(np.flatnonzero(near.ravel() >= least), near.shape[1])
    if len(who) > most * len(near) and near.shape[1] > most:
        # Pictures that are all alike: only the best of each are looked at, wherever the limit is.
        columns = np.argpartition(near, near.shape[1] - most, axis=1)[:, -most:]
        who, place = np.nonzero(np.take_along_axis(near, columns, 1) >= least)
        where = columns[who, place]
    return who, where + left, near[who, where]


def usual_distance(who: Places, rest: Floats, count: int, neighbour: int) -> Floats:
    """Give for each of ``count`` pictures how far its ``neighbour``-th nearest is, 1 where it has fewer.

    ``who`` and ``rest``, M each, are pictures and how far a neighbour of theirs is.
    """
    order = np.lexsort((rest, who))
    who, rest = who[order], rest[order]
    place = np.searchsorted(who, np.arange(count)) + neighbour - 1
    far = np.ones(count, np.float32)
    known = place < len(who)
    known[known] = who[place[known]] == np.flatnonzero(known)
    far[known] = rest[place[known]]
    return far
