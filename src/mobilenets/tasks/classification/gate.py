"""The gate of classification: an exported file leaves only when it tells classes about as well as the checkpoint.

Generated pictures tell of a file whose probabilities may be off by more than rounding, and distances whether it finds
pictures as far from what the model learned as the model does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.runtime.labels import Labels
from mobilenets.tasks.base import Comparison, checked_points

Scores = npt.NDArray[np.float64]

# Answers, as mean total variation (0 the same, 1 with nothing in common). Measured in docs/measured/exports.md.
# Below this, quantization alone moves answers as far.
LEAST = 0.08
# A file that sees other colours than the model is this much nearer to the model with red and blue exchanged.
NEARER = 0.5
# An answer that has to do with the picture is nearer to the model's than to those for other pictures.
RELATED = 0.8
# A file that hardly looks at the pictures gives answers that differ this little, beside those of the model.
STILL = 0.1
MOVING = 0.01

# Of one picture, in standard deviations over held-out pictures: rounding in float32, and of weights to 11 bits.
LARGEST = {"float32": 0.05, "float16": 0.5}
# Of a file that resizes pictures, and not to the bit.
RESIZED = 0.5
# int8 moves each picture a little; the root of the mean square is what changes answers (0.15 on the drawn garbage, 0.8
# on six shapes, whose distances spread more). A constant differs by the whole spread.
ROOT_MEAN_SQUARE, OF_SPREAD = 0.5, 0.7

# Points of top-1 that may be lost. None is visible to one decimal in a float file.
TOLERANCE = {"float32": 0.05, "float16": 0.05, "int8": 0.5}
# How far a probability may be off: rounding in float32, and the rounding of weights to 11 bits.
DIFFERENCE = {"float32": 1e-3, "float16": 5e-2}
# A picture on the edge may fall to the other side by that rounding, and one of few is more than the points above.
EDGE_PICTURES = {"float16": 1, "int8": 1}
# OpenVINO resizes in float32: a level more or less here and there moved a probability by 0.008 on photographs.
RESIZED_DIFFERENCE = 2e-2


def colour_faults(ours: Scores, theirs: Scores, exchanged: Scores | None) -> tuple[str, ...]:
    """Say what is wrong with the probabilities of a file, N×classes, for generated pictures in many colours.

    ``ours`` are those of the model for the same pictures, ``exchanged`` those for the same with red and blue exchanged.
    """
    off = apart(ours, theirs)
    if off < LEAST:
        return ()
    if exchanged is not None and apart(exchanged, theirs) < NEARER * off:
        return ("it answers generated pictures as the model does with red and blue exchanged",)
    # What answers differ by that were given to other pictures.
    unrelated = float(np.mean([apart(ours, np.roll(theirs, shift, axis=0)) for shift in range(1, len(theirs))] or [1]))
    if off > RELATED * unrelated:
        return (
            f"its answers to generated pictures have little to do with the model's: {off:.2f} off on average, where "
            f"answers to other pictures would be {unrelated:.2f} off",
        )
    return ()


def still_faults(ours: Scores, theirs: Scores) -> tuple[str, ...]:
    """Say so where a file gives nearly the same probabilities, N×classes, whatever the picture, and the model not."""
    moving, moved = _spread(ours), _spread(theirs)
    if moving > MOVING and moved < STILL * moving:
        return ("it gives nearly the same answer to every picture, and the model does not",)
    return ()


def apart(one: Scores, other: Scores) -> float:
    """Give the mean total variation of probabilities, N×classes: the share of an answer that lies elsewhere."""
    return float(np.abs(one - other).sum(axis=1).mean() / 2)


def _spread(answers: Scores) -> float:
    return apart(answers, answers.mean(axis=0, keepdims=True))


def distance_difference(reference: Evaluation, candidate: Evaluation) -> tuple[float, float, float] | None:
    """Give the largest difference of a distance, the root of their mean square, and the deviation of the model's own.

    None where the file gives none.
    """
    if reference.distances is None or candidate.distances is None:
        return None
    apart = candidate.distances.astype(np.float64) - reference.distances
    spread = float(reference.distances.std(dtype=np.float64))
    return float(np.abs(apart).max()), float(np.sqrt(np.square(apart).mean())), spread


def distance_fault(found: tuple[float, float, float] | None, precision: str, resized: bool) -> str | None:
    """Say why a file's distances may not leave, or None; what is no number may not."""
    if found is None:
        return None
    allowed = max(ROOT_MEAN_SQUARE, OF_SPREAD * found[2]) if precision == "int8" else LARGEST[precision]
    allowed = max(allowed, RESIZED) if resized else allowed
    largest = found[1] if precision == "int8" else found[0]
    if largest <= allowed:
        return None
    kind = "on average " if precision == "int8" else ""
    return f"the distance of a picture differs {kind}by {largest:.3f}, and {allowed:.2g} is rounding in {precision}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the gate found.

    ``pair`` compares the checkpoint and the file on all pictures that were held out and can be read;
    ``probe_difference`` is the largest difference of a probability on generated pictures in many colours, because grey
    ones cannot tell a swapped channel, and ``seen`` what else was found there. ``tolerance`` is in points of top-1.
    ``resized``: the file resizes pictures, and not to the bit.
    """

    pair: Pair
    probe_difference: float
    precision: str
    tolerance: float
    resized: bool = False
    seen: tuple[str, ...] = ()

    @cached_property
    def distance_difference(self) -> tuple[float, float, float] | None:
        """How far the distances are from the model's, see ``strayed``; None for a file without one."""
        return distance_difference(self.pair.reference, self.pair.candidate)

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """Why the file may not leave; empty when it may."""
        pair, found = self.pair, []
        _, lost, gained, _ = pair.table
        if falls(pair.top1_change, lost - gained, self.precision, self.tolerance):
            found.append(
                f"top-1 falls by {-100 * pair.top1_change:.2f} points ({lost} of {sum(pair.table)} pictures lost, "
                f"{gained} gained), but --tolerance allows only {self.tolerance:g}"
            )
        allowed = DIFFERENCE.get(self.precision)
        difference = float(np.max((pair.max_difference, self.probe_difference)))  # NaN where one is
        if allowed is not None and self.resized:
            allowed = max(allowed, RESIZED_DIFFERENCE)
        if not math.isfinite(difference):
            found.append("a probability differs by no number (NaN or infinite)")
        elif allowed is not None and difference > allowed:
            found.append(f"a probability differs by {difference:.4f}, and {allowed:g} is rounding in {self.precision}")
        strayed = None if self.precision == "int8" else self._stray
        return (*found, *([] if strayed is None else [strayed]), *self.seen)

    @property
    def strayed(self) -> str | None:
        """Why an int8 file must not say "none of these", though it may leave; None where it may."""
        return self._stray if self.precision == "int8" else None

    @property
    def _stray(self) -> str | None:
        return distance_fault(self.distance_difference, self.precision, self.resized)

    @property
    def passed(self) -> bool:
        """Whether the file may leave."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return the figures, as in ``export --json``."""
        pair = self.pair
        _, lost, gained, _ = pair.table
        return {
            "passed": self.passed,
            "faults": list(self.faults),
            "images": sum(pair.table),
            "top1_reference": pair.reference.top1,
            "top1_exported": pair.candidate.top1,
            "top1_exported_interval": list(pair.candidate.top1_interval),
            "same_answers": pair.same,
            "top1_change": pair.top1_change,
            "top1_change_interval": list(pair.top1_change_interval),
            "pictures_lost": lost,
            "pictures_gained": gained,
            "worst_class": pair.worst_class(),
            "max_difference": pair.max_difference,
            "probe_difference": self.probe_difference if math.isfinite(self.probe_difference) else None,
            "tolerance": self.tolerance,
            "distance_difference": self.distance_difference and self.distance_difference[0],
        }

    def draw(self, path: Path, labels: Labels | None) -> None:
        """Draw what the export changed, as a PNG."""
        from mobilenets.drawing.export import draw_export  # a bare install has no matplotlib

        draw_export(self.pair, self.tolerance, labels, path)


def falls(change: float, lost: int, precision: str, tolerance: float | None = None) -> bool:
    """Say whether top-1 falls further than ``tolerance`` points, by default those of the precision.

    ``change`` is a share of 1, and ``lost`` by how many pictures it falls.
    """
    points = TOLERANCE[precision] if tolerance is None else tolerance
    return 100 * change < -points and lost > EDGE_PICTURES.get(precision, 0)


def judge(comparison: Comparison) -> Verdict:
    """Compare a file with the checkpoint that it was made from."""
    one, other = comparison.reference, comparison.candidate
    assert isinstance(one, Evaluation) and isinstance(other, Evaluation)
    ours, theirs = comparison.probes
    difference = float(np.abs(ours - theirs).max())
    seen: tuple[str, ...] = ()
    if comparison.precision not in DIFFERENCE:
        seen = colour_faults(ours, theirs, comparison.exchanged)
    seen += still_faults(np.concatenate([ours, one.probabilities]), np.concatenate([theirs, other.probabilities]))
    return Verdict(Pair(one, other), difference, comparison.precision, comparison.tolerance, comparison.resized, seen)


def check_tolerance(points: float | None, precision: str) -> float:
    """Return the points of top-1 that may be lost; raises ``InputError`` for what is none."""
    return checked_points(TOLERANCE[precision] if points is None else points, "top-1", 0.5)
