"""The gate: an exported file leaves only when it answers nearly as the checkpoint does, on pictures held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.runtime.detections import Detections
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.tasks.base import Comparison, Task, Verdict
from mobilenets.tasks.evaluate import evaluate_predictors

PROBES = 16


def judge(
    task: Task,
    reference: EnginePredictor,
    candidate: EnginePredictor,
    samples: Sequence[Sample],
    root: Path,
    tolerance: float,
) -> Verdict:
    """Ask both about every picture, and about generated ones, and have the task compare what they say."""
    exported = candidate.bundle.export
    assert exported is not None
    ours, theirs = evaluate_predictors([reference, candidate], samples, root, "checking the export")
    resized = exported.geometry == "inside" and exported.format == "openvino"
    pictures = generated(candidate)
    ask = found if exported.output == "boxes" else answers
    probed = ask(reference, pictures), ask(candidate, pictures)
    # By the model alone: a file that answers as it does here has the wrong channels.
    exchanged = ask(reference, [Image.merge("RGB", picture.split()[::-1]) for picture in pictures])
    return task.compare(Comparison(ours, theirs, probed, exported.precision, resized, tolerance, exchanged))


def probes(size: int) -> list[Image.Image]:
    """Make pictures of ``size`` pixels per side in many colours, from soft to noisy: the same ones every time."""
    made = []
    for number in range(PROBES):
        rng = np.random.default_rng((7, number))
        cells = 2 ** (number % 5) + 1
        small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        made.append(small.resize((size, size), Image.Resampling.BICUBIC))
    return made


def generated(candidate: EnginePredictor) -> list[Image.Image]:
    """Make the pictures that both are asked about beside the user's, of many sizes where the file resizes.

    They have many colours, because grey pictures cannot tell a swapped channel.
    """
    size, exported = candidate.bundle.preprocessing.size, candidate.bundle.export
    pictures = probes(size)
    if exported is None or exported.geometry != "inside":
        return pictures
    sides = [(size // 2 + 37 * number, 3 * size - 31 * number) for number in range(PROBES)]
    return [one.resize((w, max(1, h))) for one, (w, h) in zip(pictures, sides, strict=True)]


def answers(predictor: EnginePredictor, pictures: Sequence[Image.Image]) -> npt.NDArray[np.float64]:
    """Give what a predictor answers, N×…, as ``EnginePredictor.probabilities`` does."""
    return predictor.probabilities([predictor.prepare_image(picture) for picture in pictures])


def found(predictor: EnginePredictor, pictures: Sequence[Image.Image]) -> list[Detections]:
    """Give the boxes that a detector finds."""
    return predictor.detections([predictor.prepare_image(picture) for picture in pictures])
