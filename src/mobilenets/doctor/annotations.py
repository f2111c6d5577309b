"""A set of boxes, looked at: which are wrong, how the classes are filled, and which no anchor reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.text import say_boxes
from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.boxes.entries import Fault
from mobilenets.datasets.boxes.reading import Reading
from mobilenets.datasets.folder import Sample, below
from mobilenets.datasets.listing import Problem
from mobilenets.doctor.classes import Listing, class_sizes
from mobilenets.doctor.files import Look
from mobilenets.doctor.problems import Finding
from mobilenets.models.detection.plan import describe_detector
from mobilenets.pictures.boxes import areas, overlaps
from mobilenets.pictures.header import Header
from mobilenets.runtime.detection import anchors

REACHED = 0.5  # the overlap from which on an anchor is to find a box, as in the training of an SSD
MOST = 20_000  # boxes that are held against the anchors; of more, every n-th
_SMALL, _LARGE = 32**2, 96**2  # pixels of a box, as COCO's evaluation parts them
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class BoxesSeen:
    """What was found of the boxes of a set: samples with their boxes, by half, and what is wrong.

    ``boxes`` counts those that can be used, by class. ``faults`` are the findings on annotations with their pictures;
    ``sizes`` is what ``check`` tells of box sizes and anchors.
    """

    parts: Mapping[str, tuple[Sample, ...]]
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    headlines: tuple[str, ...]
    sizes: Mapping[str, Any]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All pictures with boxes to look at, of every half."""
        return tuple(sample for half in self.parts.values() for sample in half)


def list_boxes(data: Path, format: str) -> tuple[Listing, Reading]:
    """List the pictures of a set of boxes, with what reads their annotations. Raises InputError where it is none."""
    reading = Reading(format, 1.0, quiet=True)
    listed = reading(data)
    root = listed.layout.root
    findings = tuple(Finding(one.kind, below(one.path, root), one.detail) for one in listed.problems)
    return Listing(root, listed.classes, dict(listed.parts), findings, tuple(listed.notes)), reading


def look_at_boxes(listing: Listing, reading: Reading, looks: Mapping[Path, Look]) -> BoxesSeen:
    """Hold every box against its picture, of those that decode, and the boxes against classes and anchors."""
    reading.headers = {path: _header(look) for path, look in looks.items()}
    parts = {half: tuple(one for one in some if one.path in looks) for half, some in listing.parts.items()}
    problems: list[Problem] = []
    notes: list[str] = []
    reading.refine(parts, problems, notes)
    samples = [sample for some in parts.values() for sample in some]
    sizes, unreached = _sizes(samples, looks, listing.classes)
    findings = [Finding(one.kind, one.path, one.detail) for one in reading.faults]
    findings += class_sizes(box_counts(parts["train"], listing.classes), "box")
    findings += _missing(parts, listing.classes)
    findings += unreached
    headlines = []
    if reading.bad:
        first = next(one for one in reading.faults if not one.used)
        headlines.append(
            f"{reading.bad} of {say_boxes(reading.boxes)} cannot be used ({first.path}, {first.detail}): training "
            "leaves them out"
        )
    counts = box_counts(samples, listing.classes)
    told = (tuple(findings), tuple(reading.faults), tuple(notes), tuple(headlines), sizes)
    return BoxesSeen(parts, counts, *told)


def _header(look: Look) -> Header:
    upright = (look.width, look.height)
    return Header(look.format, "", look.orientation, upright if look.orientation < 5 else upright[::-1])


def _missing(parts: Mapping[str, Sequence[Sample]], classes: Sequence[str]) -> list[Finding]:
    """Classes that one half has boxes of, and another has none of."""
    counts = {half: box_counts(some, classes) for half, some in parts.items()}
    findings = []
    for name in classes:
        having = [half for half, found in counts.items() if found[name]]
        for half in parts:
            if half not in having:
                others = f"{' and '.join(having)} has it" if having else "no half has it"
                kind = "class_extra" if half == "train" else "class_missing"
                findings.append(Finding(kind, name, f"{others}, and {half} has no box of it"))
    return findings


def _sizes(
    samples: Sequence[Sample], looks: Mapping[Path, Look], classes: Sequence[str]
) -> tuple[dict[str, Any], list[Finding]]:
    """Say how large the boxes are, and which overlap no anchor of the usual detector by half."""
    shares, sizes, labels = [], [], []
    for sample in samples:
        boxes = sample.target.taken(~sample.target.ignored)
        whole = np.array([looks[sample.path].width, looks[sample.path].height] * 2, np.float64)
        shares.append(boxes.corners / whole)
        sizes.append(areas(boxes.corners))
        labels.append(boxes.labels)
    if not sum(map(len, labels)):
        return {}, []
    corners, area, label = np.concatenate(shares), np.concatenate(sizes), np.concatenate(labels)
    _, detection = describe_detector("mobilenet_v2")
    every = -(-len(corners) // MOST)
    best = best_overlaps(corners[::every], anchors(detection))
    missed = best < REACHED
    sides = np.sqrt(areas(corners))
    told = {
        "small": int((area < _SMALL).sum()),
        "medium": int(((area >= _SMALL) & (area < _LARGE)).sum()),
        "large": int((area >= _LARGE).sum()),
        "median_share": round(float(np.median(sides)), 4),
        "size": detection.size,
        "held_against_anchors": len(best),
        "unreached": int(missed.sum()),
    }
    findings = []
    for place, name in enumerate(classes):
        own = label[::every] == place
        hit = own & missed
        if hit.any():
            least = float(np.sqrt(np.prod(detection.shapes[0], axis=1)).min())
            small = int((sides[::every][hit] < least).sum())
            why = f": {small} of them are smaller than all anchors" if small else ": they are too long or too high"
            many = f"{int(hit.sum())} of {say_boxes(int(own.sum()))}"
            detail = f"{many} overlap no anchor by half at {detection.size} pixels{why}"
            findings.append(Finding("unreached_box", name, detail))
    return told, findings


def best_overlaps(shares: npt.NDArray[np.float64], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Give how far each box, N×4 corners as shares of the sides, overlaps the anchor that fits best, A×4 as given."""
    half = boxes[:, 2:] / 2
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    blocks = [shares[start : start + _BLOCK] for start in range(0, len(shares), _BLOCK)]
    return np.concatenate([overlaps(block, corners).max(1) for block in blocks])
