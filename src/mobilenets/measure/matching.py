"""Which boxes of a detector are right: COCO's greedy matching, for many pictures at once.

The rules are those of pycocotools' ``COCOeval.evaluateImg`` (github.com/cocodataset/cocoapi), to the last tie: in each
picture and class the surest detection chooses first, the truth that it overlaps most, one that counts before one that
is ignored. A crowd takes any number of detections, and overlaps by the share of the detection that lies in it. So does
a truth that is ``ignored`` for another reason, with the usual overlap: pycocotools knows no such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mobilenets.pictures.boxes import Boxes
    from mobilenets.runtime.detections import Detections

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""The overlaps from which a box is right; COCO's AP is the mean over them."""

SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Areas in square pixels of the picture, both ends among them."""

MOST = 100
"""So many detections of a class are looked at in a picture, the surest."""

# Truths of one run of the matcher, padding among them: some 20 MB.
_AT_ONCE = 50_000


@dataclass(frozen=True, eq=False)
class Matches:
    """All detections and all truths of a set of pictures, and which belong together.

    Detections (D) are in the order of pictures, then of classes, the surest first; ``place`` is theirs in ``found`` of
    their ``image``, ``rank`` theirs among those of their class there. ``right`` and ``ignored``, D×4×10, are by size
    (the order of ``SIZES``) and overlap (``OVERLAPS``); what is neither is a false alarm. ``partner`` is the truth that
    each took at an overlap of 0.5, of any size, as a place among the truths, else −1. Truths (G) are in the same order;
    ``counts``, G×4, says in which sizes they count.
    """

    images: int
    image: Integers
    label: Integers
    place: Integers
    rank: Integers
    score: Floats
    corners: Floats
    right: Flags
    ignored: Flags
    partner: Integers
    truth_image: Integers
    truth_label: Integers
    truth_place: Integers
    truth_corners: Floats
    counts: Flags


def match(truths: Sequence[Boxes], found: Sequence[Detections]) -> Matches:
    """Match what was found in each picture with what is there."""
    score = np.concatenate([np.zeros(0), *(one.scores for one in found)]).astype(np.float64)
    given = _flat(found)
    order = np.lexsort((-score, given.label, given.image))
    order = order[_ranks(given.image[order], given.label[order]) < MOST]
    given, score = given.taken(order), score[order]
    there = _flat(truths)
    order = np.lexsort((there.label, there.image))
    there = there.taken(order)
    crowd, ignored = (
        np.concatenate([np.zeros(0, np.bool_), *flags])[order]
        for flags in ([one.crowd for one in truths], [one.ignored for one in truths])
    )
    matches = Matches(
        len(truths),
        given.image,
        given.label,
        given.place,
        _ranks(given.image, given.label),
        score,
        given.corners,
        np.zeros((len(score), len(SIZES), len(OVERLAPS)), np.bool_),
        # An unmatched detection of another size is nobody's fault.
        np.repeat(~_of_sizes(given.corners)[:, :, None], len(OVERLAPS), axis=2),
        np.full(len(score), -1, np.int64),
        there.image,
        there.label,
        there.place,
        there.corners,
        ~(crowd | ignored)[:, None] & _of_sizes(there.corners),
    )
    for first, numbers, table in _groups(matches):
        left_out = ~matches.counts[table].swapaxes(1, 2)
        part = _Truths(table, there.corners[table], crowd[table], (crowd | ignored)[table], left_out)
        _match_part(matches, first, numbers, part)
    return matches


def _shares(corners: Floats, others: Floats, crowd: Flags) -> Floats:
    """The overlap of boxes with others, as broadcast: intersection over union, over the first's area for a crowd."""
    low = np.maximum(corners[..., :2], others[..., :2])
    high = np.minimum(corners[..., 2:], others[..., 2:])
    sides = np.maximum(high - low, 0)
    common = sides[..., 0] * sides[..., 1]
    area = _areas(corners)
    whole = np.where(crowd, area, area + _areas(others) - common)
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole > 0))


def _areas(corners: Floats) -> Floats:
    return np.asarray((corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1]))


def _of_sizes(corners: Floats) -> Flags:
    """Which boxes are of which size, N×4."""
    low, high = np.array(list(SIZES.values())).T
    area = _areas(corners)[:, None]
    return np.asarray((area >= low) & (area <= high))


class _Flat(NamedTuple):
    """Boxes of many pictures: of each its image, label, place in the image and corners."""

    image: Integers
    label: Integers
    place: Integers
    corners: Floats

    def taken(self, rows: npt.NDArray[np.intp]) -> _Flat:
        return _Flat(self.image[rows], self.label[rows], self.place[rows], self.corners[rows])


def _flat(parts: Sequence[Boxes] | Sequence[Detections]) -> _Flat:
    numbers = np.array([len(one.labels) for one in parts], np.int64)
    image = np.repeat(np.arange(len(parts)), numbers)
    place = np.concatenate([np.zeros(0, np.int64), *(np.arange(number) for number in numbers)])
    label = np.concatenate([np.zeros(0, np.int64), *(one.labels for one in parts)])
    corners = np.concatenate([np.zeros((0, 4)), *(one.corners for one in parts)])
    return _Flat(image, label.astype(np.int64), place, corners.astype(np.float64))


def _starts(image: Integers, label: Integers) -> Integers:
    """Where in sorted rows another picture or class begins."""
    if not len(image):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.r_[True, (np.diff(image) != 0) | (np.diff(label) != 0)])


def _ranks(image: Integers, label: Integers) -> Integers:
    starts = _starts(image, label)
    return np.arange(len(image)) - np.repeat(starts, np.diff(np.r_[starts, len(image)]))


def _groups(matches: Matches) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Give the pictures and classes that have both detections and truths, many at a time.

    Each part has the first detection of each and how many there are, the most first; and its truths, the last first,
    padded to a table with −1.
    """
    starts = _starts(matches.image, matches.label)
    truth_starts = _starts(matches.truth_image, matches.truth_label)
    numbers = np.diff(np.r_[starts, len(matches.image)])
    truth_numbers = np.diff(np.r_[truth_starts, len(matches.truth_image)])
    width = 1 + max(matches.label.max(initial=0), matches.truth_label.max(initial=0))
    keys = matches.image[starts] * width + matches.label[starts]
    truth_keys = matches.truth_image[truth_starts] * width + matches.truth_label[truth_starts]
    _, one, other = np.intersect1d(keys, truth_keys, assume_unique=True, return_indices=True)
    # By how many truths they have, to the next power of two, so that little is padded.
    sizes = np.ceil(np.log2(truth_numbers[other]))
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        chosen = chosen[np.argsort(-numbers[one[chosen]], kind="stable")]
        wide = int(truth_numbers[other[chosen]].max())
        step = max(1, _AT_ONCE // wide)
        for some in np.split(chosen, range(step, len(chosen), step)):
            begin, number = truth_starts[other[some], None], truth_numbers[other[some], None]
            backwards = begin + number - 1 - np.arange(wide)
            yield starts[one[some]], numbers[one[some]], np.where(backwards >= begin, backwards, -1)


@dataclass(frozen=True, eq=False)
class _Truths:
    """The truths of one part of the groups, N×G: padding overlaps nothing."""

    table: Integers
    corners: Floats
    crowd: Flags
    shared: Flags
    left_out: Flags


def _match_part(matches: Matches, first: Integers, numbers: Integers, truths: _Truths) -> None:
    """Let the detections of all groups choose, one rank after the other; fills in ``matches``."""
    limits = np.minimum(OVERLAPS, 1 - 1e-10)[:, None]
    taken = np.zeros((len(first), len(SIZES), len(OVERLAPS), truths.table.shape[1]), np.bool_)
    for rank in range(int(numbers[0])):
        active = int(np.searchsorted(-numbers, -rank, side="left"))
        share = _shares(matches.corners[first[:active] + rank, None], truths.corners[:active], truths.crowd[:active])
        share[truths.table[:active] < 0] = -1
        rows = np.flatnonzero(share.max(axis=1) >= limits[0, 0])
        if not len(rows):
            continue
        share, left_out = share[rows, None, None], truths.left_out[rows, :, None]
        free = (share >= limits) & (~taken[rows] | truths.shared[rows, None, None])
        counted, other = (np.where(free & kind, share, -1) for kind in (~left_out, left_out))
        right, aside = counted.max(axis=-1) >= 0, other.max(axis=-1) >= 0
        chosen = np.where(right, counted.argmax(axis=-1), other.argmax(axis=-1))
        at = first[rows] + rank
        matches.right[at] = right
        matches.ignored[at] = np.where(right, False, aside | matches.ignored[at])
        some = np.nonzero(right | aside)
        taken[rows[some[0]], some[1], some[2], chosen[some]] = True
        hit = np.flatnonzero((right | aside)[:, 0, 0])
        matches.partner[at[hit]] = truths.table[rows[hit], chosen[hit, 0, 0]]
