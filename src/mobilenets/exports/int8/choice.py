"""Quantizers tried on training pictures: the one whose answers are nearest to those of float is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mobilenets.base.progress import progress

# One picture of so many is held back from calibration: on these the candidates are compared.
HELD_BACK = 4
# Of fewer pictures than this none is held back.
ENOUGH = 16
# Training pictures are known too surely for their probabilities to tell quantizers apart: they are softened, as in
# distillation (Hinton et al. 2015, arXiv 1503.02531, section 2).
TEMPERATURE = 4.0

Made = TypeVar("Made")


def divided(pictures: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Give the pictures to calibrate on and those to compare on; of very few both are all."""
    if len(pictures) < ENOUGH:
        return pictures, pictures
    judged = np.arange(len(pictures)) % HELD_BACK == 0
    return pictures[~judged], pictures[judged]


def batches(images: npt.NDArray[Any], batch: int) -> Iterator[npt.NDArray[Any]]:
    """Give pictures in batches of just that size, the last filled up with its last picture."""
    lacking = -len(images) % batch
    whole = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)]) if lacking else images
    return (whole[place : place + batch] for place in range(0, len(whole), batch))


def nearest(
    candidates: Iterable[tuple[dict[str, Any], Made, npt.NDArray[np.float32]]],
    wanted: npt.NDArray[np.float32],
    probabilities: bool,
) -> tuple[Made, dict[str, Any]]:
    """Take the candidate nearest to float, and report all of them as JSON values.

    Each candidate is its settings, what was made with them, and its answers N×classes on the pictures held back;
    ``wanted`` has those of float. They are logits, or ``probabilities``. For the measures see ``compared``. Of equals
    the first is taken.
    """
    reference = softened(wanted, probabilities)
    best: tuple[float, Made, dict[str, Any]] | None = None
    tried = []
    with progress("int8: trying quantizers", None, "candidates") as shown:
        for settings, made, outputs in candidates:
            divergence, agreement = compared(reference, softened(outputs, probabilities))
            tried.append(settings | {"divergence": float(f"{divergence:.4g}"), "agreement": round(agreement, 4)})
            shown.advance(1, divergence=f"{divergence:.2g}")
            if best is None or divergence < best[0]:
                best = divergence, made, tried[-1]
    if best is None:
        raise ValueError("no candidate to choose from")
    return best[1], {"pictures_held_back": len(wanted), "candidates": tried, "chosen": best[2]}


def softened(outputs: npt.NDArray[np.float32], probabilities: bool) -> npt.NDArray[np.float64]:
    """Give the logarithms of softened probabilities, N×classes, from logits or from ``probabilities``."""
    values = outputs.astype(np.float64)
    if probabilities:
        values = np.log(np.maximum(values, 1e-30))
    values = (values - values.max(axis=1, keepdims=True)) / TEMPERATURE
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def compared(wanted: npt.NDArray[np.float64], answers: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Compare answers with those of float, both as ``softened`` gives them.

    Returns the mean Kullback-Leibler divergence from float, in nats, and the share of pictures with the same first
    class.
    """
    divergence = float((np.exp(wanted) * (wanted - answers)).sum(axis=1).mean())
    return divergence, float((answers.argmax(axis=1) == wanted.argmax(axis=1)).mean())
