"""What generated pictures tell of an exported detector: its colours, and whether it looks at the picture at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mobilenets.runtime.detections import Detections

Outputs = npt.NDArray[np.float64]

# The largest difference of a number, relative to the largest number, that is rounding in this precision.
DIFFERENCE = {"float32": 1e-3, "float16": 5e-2}
# As in ``mobilenets.tasks.classification.probes``, but of all numbers of the outputs, relative to their spread.
LEAST = 0.1
NEARER = 0.5
RELATED = 0.8
STILL = 0.1
# What rounding alone makes of outputs that are the same for all pictures.
SAME = 1e-5


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
    if apart <= LEAST * moving + SAME:
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
