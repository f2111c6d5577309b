"""The gate of detection: an exported file leaves only when it finds about what the checkpoint finds.

Generated pictures tell of its colours, and whether it looks at the picture at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.paired import DetectionPair
from mobilenets.pictures.boxes import overlaps
from mobilenets.runtime.detections import Detections
from mobilenets.runtime.labels import Labels
from mobilenets.tasks.base import Comparison, checked_points

Outputs = npt.NDArray[np.float64]

# As in ``mobilenets.tasks.classification.gate``, but of all numbers of the outputs, relative to their spread.
LEAST_MOVED = 0.1
NEARER = 0.5
RELATED = 0.8
STILL = 0.1
# What rounding alone makes of outputs that are the same for all pictures.
SAME = 1e-5

# Points of AP that may be lost.
TOLERANCE = {"float32": 0.1, "float16": 0.3, "int8": 1.5}
# What is rounding in this precision: how far a number may be off, relative to the largest number, or the score of a
# box, and how little a box may overlap the model's.
DIFFERENCE = {"float32": 1e-3, "float16": 5e-2}
OVERLAP = {"float32": 0.99, "float16": 0.95}
# OpenVINO resizes in float32, a level more or less here and there.
RESIZED_DIFFERENCE, RESIZED_OVERLAP = 5e-2, 0.95
# Boxes from this score on are compared; of the others the last ones fall in or out by rounding.
LEAST = 0.05
# Two boxes that overlap as much as suppression just allows, or not, change by rounding what else is left.
LONELY = 0.005


def difference(ours: Outputs, theirs: Outputs) -> float:
    """Give the largest difference of a number, relative to the largest number of the model's; NaN where one is."""
    return float(np.abs(ours - theirs).max() / max(float(np.abs(ours).max()), 1e-9))


def probe_faults(ours: Outputs, theirs: Outputs, exchanged: Outputs | None, precision: str) -> tuple[str, ...]:
    """Say what is wrong with a file's outputs, N×…, for generated pictures in many colours.

    ``ours`` are the model's for the same pictures, ``exchanged`` those for the same with red and blue exchanged.
    """
    off = difference(ours, theirs)
    if not np.isfinite(off):
        return ("it gives a number that is none (NaN or infinite) for a generated picture",)
    allowed = DIFFERENCE.get(precision)
    found = []
    if allowed is not None and off > allowed:
        found.append(
            f"its outputs for generated pictures differ by {off:.2g} of the largest, and {allowed:g} is rounding in "
            f"{precision}"
        )
    moving, moved = _apart(ours, ours.mean(axis=0)), _apart(theirs, theirs.mean(axis=0))
    if moved < STILL * moving:
        return (*found, "it gives nearly the same outputs for every picture, and the model does not")
    apart = _apart(ours, theirs)
    if apart <= LEAST_MOVED * moving + SAME:
        return tuple(found)
    if exchanged is not None and _apart(exchanged, theirs) < NEARER * apart:
        return (*found, "it answers generated pictures as the model does with red and blue exchanged")
    unrelated = float(np.mean([_apart(ours, np.roll(theirs, shift, axis=0)) for shift in range(1, len(theirs))] or [1]))
    if apart > RELATED * unrelated:
        found.append("its outputs for generated pictures have little to do with the model's")
    return tuple(found)


def raw(probes: Sequence[object] | npt.NDArray[np.float64]) -> Outputs | None:
    """Give what a probe gave as numbers, None where it gave finished boxes."""
    if isinstance(probes, np.ndarray):
        return probes.astype(np.float64)
    assert all(isinstance(one, Detections) for one in probes)
    return None


def _apart(one: Outputs, other: Outputs) -> float:
    return float(np.abs(one - other).mean())


@dataclass(frozen=True, eq=False)
class Matched:
    """The boxes of a model, from ``LEAST`` on, beside those of a file for the same pictures.

    ``ours`` and ``theirs`` are the scores of the pairs and ``overlaps`` theirs; ``lonely`` counts boxes of either that
    the other has not.
    """

    ours: npt.NDArray[np.float32]
    theirs: npt.NDArray[np.float32]
    overlaps: npt.NDArray[np.float64]
    lonely: int

    @property
    def most_lonely(self) -> int:
        """How many may have no partner."""
        return max(1, int(LONELY * (len(self.ours) + self.lonely)))

    @property
    def score_difference(self) -> float:
        """The largest difference of a score; 0 without boxes."""
        return float(np.abs(self.ours - self.theirs).max(initial=0))

    @property
    def least_overlap(self) -> float:
        """The least overlap of a pair; 1 without boxes."""
        return float(self.overlaps.min(initial=1))


def matched(reference: Sequence[Detections], candidate: Sequence[Detections]) -> Matched:
    """Pair the boxes of two detectors for the same pictures: each, the surest first, with the one it overlaps most."""
    pairs: list[tuple[float, float, float]] = []
    lonely = 0
    for ours, theirs in zip(reference, candidate, strict=True):
        shares = overlaps(ours.corners, theirs.corners)
        shares[ours.labels[:, None] != theirs.labels] = 0
        free = np.ones(len(theirs), np.bool_)
        for place in np.flatnonzero(ours.scores >= LEAST):
            found = np.where(free, shares[place], 0)
            best = int(found.argmax()) if len(found) else 0
            if not len(found) or found[best] < 0.5:
                lonely += 1
                continue
            free[best] = False
            pairs.append((ours.scores[place], theirs.scores[best], found[best]))
        # Twice the least: one that the model has just below it is no box of the file's own.
        lonely += int((free & (theirs.scores >= 2 * LEAST)).sum())
    table = np.array(pairs, np.float64).reshape(-1, 3)
    return Matched(table[:, 0].astype(np.float32), table[:, 1].astype(np.float32), table[:, 2], lonely)


@dataclass(frozen=True, eq=False)
class BoxVerdict:
    """What the gate found.

    ``pair`` compares the checkpoint and the file on all pictures that were held out and can be read; ``seen`` is what
    was found on generated ones, and ``probe_difference`` the largest difference of an output there, relative to the
    largest output; None where the file gives finished boxes. ``tolerance`` is in points of AP. ``resized``: the file
    resizes pictures, and not to the bit.
    """

    pair: DetectionPair
    precision: str
    tolerance: float
    resized: bool = False
    probe_difference: float | None = None
    seen: tuple[str, ...] = ()

    @cached_property
    def matched(self) -> Matched:
        """Which boxes of both belong together."""
        return matched(self.pair.reference.found, self.pair.candidate.found)

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """Why the file may not leave; empty when it may."""
        change, pairs, found = 100 * self.pair.ap_change, self.matched, []
        if change < -self.tolerance:
            found.append(f"AP falls by {-change:.2f} points, but --tolerance allows only {self.tolerance:g}")
        own = 100 * self.pair.reference.ap
        if self.precision == "int8" and own <= min(self.tolerance, TOLERANCE["int8"]):
            found.append(
                f"the model's own AP is {own:.2f} %, so that no loss of {self.tolerance:g} points can be seen: "
                "train it longer first"
            )
        if math.isnan(change) and self.precision == "int8":
            found.append("the pictures have no box, so that AP cannot be compared, and int8 is judged by nothing else")
        elif math.isnan(change) and not len(pairs.ours):
            found.append("there is no box to compare: the pictures have none, and the model finds none")
        difference, overlap = DIFFERENCE.get(self.precision), OVERLAP.get(self.precision)
        if difference is not None and overlap is not None:
            if self.resized:
                difference, overlap = max(difference, RESIZED_DIFFERENCE), min(overlap, RESIZED_OVERLAP)
            found += self._strays(difference, overlap)
        return (*found, *self.seen)

    def _strays(self, difference: float, overlap: float) -> list[str]:
        """Say how boxes differ by more than rounding, where these are more than suppression makes of rounding."""
        pairs = self.matched
        apart, loose = np.abs(pairs.ours - pairs.theirs) > difference, pairs.overlaps < overlap
        if int((apart | loose).sum()) + pairs.lonely <= pairs.most_lonely:
            return []
        found = []
        if apart.any():
            found.append(
                f"the score of a box differs by {pairs.score_difference:.4f}, and {difference:g} is rounding in "
                f"{self.precision}"
            )
        if loose.any():
            found.append(
                f"a box overlaps the model's by only {pairs.least_overlap:.3f}, and {overlap:g} is rounding in "
                f"{self.precision}"
            )
        if pairs.lonely:
            found.append(f"{pairs.lonely} boxes are found by only one of the model and the file")
        return found

    @property
    def passed(self) -> bool:
        """Whether the file may leave."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return the figures, as in ``export --json``; what cannot be measured is null."""
        pair, pairs = self.pair, self.matched
        figures = {
            "ap_reference": pair.reference.ap,
            "ap_exported": pair.candidate.ap,
            "ap_change": pair.ap_change,
            "ap50_reference": pair.reference.ap50,
            "ap50_exported": pair.candidate.ap50,
            "ap50_change": pair.ap50_change,
        }
        interval = pair.ap_change_interval
        return {
            "passed": self.passed,
            "faults": list(self.faults),
            "images": len(pair.reference.images),
            **{name: None if math.isnan(value) else value for name, value in figures.items()},
            "ap_change_interval": None if interval is None else list(interval),
            "boxes": len(pairs.ours),
            "boxes_without_partner": pairs.lonely,
            "least_overlap": pairs.least_overlap,
            "mean_overlap": float(pairs.overlaps.mean()) if len(pairs.overlaps) else None,
            "max_difference": pairs.score_difference,
            "probe_difference": self.probe_difference,
            "tolerance": self.tolerance,
        }

    def draw(self, path: Path, labels: Labels | None) -> None:
        """Draw what the export changed, as a PNG."""
        from mobilenets.drawing.export_boxes import draw_export  # a bare install has no matplotlib

        draw_export(self.pair, self.matched.ours, self.matched.theirs, self.tolerance, labels, path)


def judge(comparison: Comparison) -> BoxVerdict:
    """Compare a file with the checkpoint that it was made from."""
    one, other = comparison.reference, comparison.candidate
    assert isinstance(one, DetectionEvaluation) and isinstance(other, DetectionEvaluation)
    ours, theirs = (raw(probes) for probes in comparison.probes)
    seen: tuple[str, ...] = ()
    off = None
    if ours is not None and theirs is not None:
        exchanged = None if comparison.exchanged is None else raw(comparison.exchanged)
        seen = probe_faults(ours, theirs, exchanged, comparison.precision)
        off = difference(ours, theirs)
        off = off if math.isfinite(off) else None
    else:
        pairs = matched(comparison.probes[0], comparison.probes[1])
        allowed = DIFFERENCE.get(comparison.precision)
        if allowed is not None and (pairs.lonely > pairs.most_lonely or pairs.score_difference > allowed):
            seen = ("it does not find in generated pictures what the model finds there",)
    return BoxVerdict(
        DetectionPair(one, other), comparison.precision, comparison.tolerance, comparison.resized, off, seen
    )


def check_tolerance(points: float | None, precision: str) -> float:
    """Return the points of AP that may be lost; raises ``InputError`` for what is none."""
    return checked_points(TOLERANCE[precision] if points is None else points, "AP", 1)
