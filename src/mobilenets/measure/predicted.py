"""Evaluations through predictors: any runtime, the very path that ``predict`` takes, and no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.loader import default_workers
from mobilenets.measure.metrics import Evaluation
from mobilenets.pictures.decode import decode
from mobilenets.runtime.predictor import EnginePredictor, Prepared

BATCH = 16


def evaluate_predictors(
    predictors: Sequence[EnginePredictor], samples: Sequence[Sample], root: Path, doing: str = "evaluating"
) -> list[Evaluation]:
    """Ask each predictor about every sample, in order; each picture is decoded once.

    Pictures are named relative to ``root``. Raises ``UnreadablePicture`` for one that does not decode.
    """
    parts: list[list[npt.NDArray[np.float32]]] = [[] for _ in predictors]
    with progress(doing, len(samples), "pictures") as shown:
        for batch in _batches(predictors, samples):
            for found, predictor, prepared in zip(parts, predictors, zip(*batch, strict=True), strict=True):
                found.append(predictor.logits(prepared))
            shown.advance(len(batch))
    images = tuple(relative(sample.path, root) for sample in samples)
    labels = np.array([sample.label for sample in samples], np.int64)
    return [
        Evaluation(tuple(predictor.classes), images, labels, np.concatenate(found))
        for predictor, found in zip(predictors, parts, strict=True)
    ]


def _batches(predictors: Sequence[EnginePredictor], samples: Sequence[Sample]) -> Iterator[list[list[Prepared]]]:
    """Decode a few batches ahead, in threads; gives for each picture what each predictor takes."""

    def surplus(width: int, height: int) -> float:
        return min(predictor.surplus(width, height) for predictor in predictors)

    def prepare(sample: Sample) -> list[Prepared]:
        image = decode(sample.path, surplus)
        return [predictor.prepare_image(image) for predictor in predictors]

    workers, size = default_workers(), min(predictor.at_once(BATCH) for predictor in predictors)
    pending: deque[Future[list[Prepared]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for sample in samples:
            pending.append(pool.submit(prepare, sample))
            if len(pending) >= size * 2 + workers:
                yield [pending.popleft().result() for _ in range(size)]
        while pending:
            yield [pending.popleft().result() for _ in range(min(size, len(pending)))]
