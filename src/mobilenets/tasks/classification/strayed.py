"""Whether an exported file finds pictures as far from what the model learned as the model does."""

from __future__ import annotations

import numpy as np

from mobilenets.measure.metrics import Evaluation

# Of one picture, in standard deviations over held-out pictures: rounding in float32, and of weights to 11 bits.
LARGEST = {"float32": 0.05, "float16": 0.5}
# Of a file that resizes pictures, and not to the bit.
RESIZED = 0.5
# int8 moves each picture a little; the root of the mean square is what changes answers (0.15 on the drawn garbage, 0.8
# on six shapes, whose distances spread more). A constant differs by the whole spread.
ROOT_MEAN_SQUARE, OF_SPREAD = 0.5, 0.7


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
