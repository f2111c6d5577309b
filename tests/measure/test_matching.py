"""The matcher beside one that takes box by box, as pycocotools does; and what it has that pycocotools lacks."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from mobilenets.measure import matching
from mobilenets.measure.matching import OVERLAPS, SIZES, match
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.boxes import overlaps as overlaps_of
from mobilenets.runtime.detections import Detections


def detections(corners: list[list[float]], scores: list[float], labels: list[int] | None = None) -> Detections:
    names = [0] * len(scores) if labels is None else labels
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(names, np.int64)
    )


def one_by_one(truths: Boxes, found: Detections, label: int, size: str, overlap: float) -> list[str]:
    """Match one picture and class in plain loops, after ``COCOeval.evaluateImg``."""
    low, high = SIZES[size]
    mine, theirs = np.flatnonzero(found.labels == label), np.flatnonzero(truths.labels == label)
    corners = truths.corners[theirs].astype(np.float64)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left_out = truths.ignored[theirs] | truths.crowd[theirs] | (areas < low) | (areas > high)
    order = np.argsort(left_out, kind="stable")
    taken: set[int] = set()
    verdicts = []
    for row in mine[np.argsort(-found.scores[mine], kind="stable")][:100]:
        best, chosen = min(overlap, 1 - 1e-10), -1
        own = found.corners[row].astype(np.float64)
        shares = overlaps_of(own, corners)[0]
        # Of a crowd the part of the detection that lies in it (cocoapi, ``maskApi.c``, ``bbIou``).
        sides = np.minimum(own[2:], corners[:, 2:]) - np.maximum(own[:2], corners[:, :2])
        inside = np.clip(sides, 0, None).prod(1) / np.prod(own[2:] - own[:2])
        shares = np.where(truths.crowd[theirs], inside, shares)
        for place in order:
            shared = truths.ignored[theirs[place]] or truths.crowd[theirs[place]]
            if place in taken and not shared:
                continue
            if chosen >= 0 and not left_out[chosen] and left_out[place]:
                break
            if shares[place] < best:
                continue
            best, chosen = shares[place], place
        area = float(np.prod(found.corners[row, 2:].astype(np.float64) - found.corners[row, :2]))
        if chosen >= 0:
            taken.add(int(chosen))
            verdicts.append("ignored" if left_out[chosen] else "right")
        else:
            verdicts.append("wrong" if low <= area <= high else "ignored")
    return verdicts


def verdicts_of(matches: matching.Matches, image: int, label: int, size: str, overlap: int) -> list[str]:
    rows = np.flatnonzero((matches.image == image) & (matches.label == label))
    place = list(SIZES).index(size)
    names = {(True, False): "right", (False, True): "ignored", (False, False): "wrong"}
    right, ignored = matches.right[rows, place, overlap], matches.ignored[rows, place, overlap]
    return [names[bool(one), bool(other)] for one, other in zip(right, ignored, strict=True)]


@pytest.mark.parametrize("at_once", [50_000, 3])
def test_as_box_by_box(at_once: int, benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_AT_ONCE", at_once)
    compared = 0
    for seed in range(100, 112):
        classes, truths, found = benchmark.case(seed)
        # Difficult ones too, which pycocotools does not have.
        truths = [
            Boxes.of(one.corners, one.labels, one.crowd | (np.arange(len(one)) % 5 == 1), one.crowd) for one in truths
        ]
        matches = match(truths, found)
        for image in range(len(truths)):
            for label in range(classes):
                for size in SIZES:
                    for overlap in (0, 5, 9):
                        wanted = one_by_one(truths[image], found[image], label, size, OVERLAPS[overlap])
                        assert verdicts_of(matches, image, label, size, overlap) == wanted
                        compared += len(wanted)
    assert compared > 1000


def test_nothing_anywhere() -> None:
    matches = match([Boxes.of(), Boxes.of()], [detections([], []), detections([], [])])
    assert len(matches.image) == len(matches.truth_image) == 0 and matches.images == 2


def test_who_takes_what() -> None:
    truths = Boxes.of([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0])
    # The surest takes what it overlaps most, the next one what is left, the third nothing.
    matches = match([truths], [detections([[0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 9]], [0.9, 0.8, 0.7])])
    assert matches.partner.tolist() == [1, 0, -1]
    assert matches.right[:, 0, 0].tolist() == [True, True, False]
    # An overlap of 0.9 is right up to there.
    assert matches.right[1, 0].tolist() == [True] * 9 + [False]


@pytest.mark.parametrize("crowd", [False, True])
def test_what_is_ignored_takes_any_number(crowd: bool) -> None:
    truths = Boxes.of([[0, 0, 10, 10]], [0], [True], [crowd])
    inside = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 5, 5]]
    matches = match([truths], [detections(inside, [0.9, 0.8, 0.7])])
    # A crowd overlaps by what of the detection lies in it.
    assert matches.ignored[:, 0, 0].tolist() == [True, True, crowd]
    assert not matches.right.any() and not matches.counts.any()


def test_at_most_a_hundred_of_a_class() -> None:
    boxes = [[0.0, 0, 10, 10]] * 130
    matches = match([Boxes.of([[0, 0, 10, 10]], [1])], [detections(boxes, [0.5] * 130, [0] * 120 + [1] * 10)])
    assert np.bincount(matches.label).tolist() == [100, 10]
    assert matches.right[:, 0, 0].nonzero()[0].tolist() == [100]
