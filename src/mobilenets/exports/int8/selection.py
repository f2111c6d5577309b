"""Candidates for int8 tried on training pictures: the one whose answers are closest to those of float is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mobilenets.base.progress import progress
from mobilenets.exports.job import Job

# One picture of so many is held back from calibration: on these the candidates are compared.
HELD_BACK = 4
# Of fewer pictures than this none is held back.
ENOUGH = 16
Model = TypeVar("Model")


def divided(pictures: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Give the pictures to calibrate on and those to compare on; of very few both are all."""
    if len(pictures) < ENOUGH:
        return pictures, pictures
    judged = np.arange(len(pictures)) % HELD_BACK == 0
    return pictures[~judged], pictures[judged]


def select(
    candidates: Iterable[tuple[dict[str, Any], Model, npt.NDArray[np.float32]]],
    wanted: npt.NDArray[np.float32],
    job: Job,
) -> tuple[Model, dict[str, Any]]:
    """Take the candidate closest to float, and report all of them as JSON values.

    Each candidate is its settings, what was made with them, and its outputs, N×…, on the pictures held back;
    ``wanted`` has those of float. For the measures see ``Task.divergence``. Of equals the first is taken.
    """
    best: tuple[float, Model, dict[str, Any]] | None = None
    tried = []
    with progress("int8: trying quantizers", None, "candidates") as shown:
        for settings, made, outputs in candidates:
            divergence, agreement = job.task.divergence(wanted, outputs, job.options.probabilities)
            tried.append(settings | {"divergence": float(f"{divergence:.4g}"), "agreement": round(agreement, 4)})
            shown.advance(1, divergence=f"{divergence:.2g}")
            if best is None or divergence < best[0]:
                best = divergence, made, tried[-1]
    if best is None:
        raise ValueError("no candidate to choose from")
    return best[1], {"pictures_held_back": len(wanted), "candidates": tried, "chosen": best[2]}
