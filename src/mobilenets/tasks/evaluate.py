"""The one loop that asks engines about labelled pictures, for training's validation, ``evaluate`` and the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilenets.base import mounts
from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.loader import Batches, in_order
from mobilenets.measure.metrics import Evaluation as Classified
from mobilenets.pictures.decode import decode_scaled
from mobilenets.pictures.stream import checked, default_workers, grouped, stream
from mobilenets.runtime.predictor import EnginePredictor, Pixels
from mobilenets.tasks.base import Evaluation, Task
from mobilenets.tasks.registry import find_task

# Pictures a run: of a predictor, and of a network that is being trained.
BATCH = 16
VALIDATION_BATCH = 64


class Asked(NamedTuple):
    """Something to measure: its class names in order, and what turns its share of a batch into outputs N×….

    A detector's are a list of N ``Detections``: its numbers for all pictures would not fit into memory.
    """

    classes: tuple[str, ...]
    outputs: Callable[[Any], Any]


def evaluate(
    task: Task,
    asked: Sequence[Asked],
    batches: Iterable[Sequence[Any]],
    samples: Sequence[Sample],
    root: Path,
    doing: str = "evaluating",
) -> list[Evaluation]:
    """Ask each of ``asked`` about every sample, in order.

    ``batches`` has for each batch what each of them takes, in the order of ``samples``; pictures are named relative to
    ``root``. Raises as ``Task.evaluation`` does, and what ``batches`` raises.
    """
    parts: list[list[Any]] = [[] for _ in asked]
    with progress(doing, len(samples), "pictures") as shown:
        for batch in batches:
            for found, one, given in zip(parts, asked, batch, strict=True):
                found.append(one.outputs(given))
            shown.advance(len(batch[0]))
    images = [relative(sample.path, root) for sample in samples]
    return [
        task.evaluation(one.classes, images, samples, _joined(found)) for one, found in zip(asked, parts, strict=True)
    ]


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [one for part in parts for one in part]


def evaluate_loader(
    task: Task,
    engine: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
    loader: Batches,
    classes: Sequence[str],
    root: Path,
) -> Evaluation:
    """Evaluate an engine on all that a loader gives: pictures, or what frozen blocks have made of them."""
    batches = ([batch.images] for batch in loader.batches(in_order(len(loader.samples), VALIDATION_BATCH)))
    [evaluation] = evaluate(task, [Asked(tuple(classes), engine)], batches, loader.samples, root)
    return evaluation


def evaluate_predictors(
    predictors: Sequence[EnginePredictor],
    samples: Sequence[Sample],
    root: Path,
    doing: str = "evaluating",
    workers: int | None = None,
) -> list[Evaluation]:
    """Evaluate predictors on pictures, each of which is decoded once, by the very path that ``predict`` takes.

    All are of one task. Raises ``UnreadablePicture`` for a picture that does not decode.
    """
    task = find_task(predictors[0].bundle.task)
    samples = task.annotated(samples, root)
    distances: list[list[npt.NDArray[np.float32]]] = [[] for _ in predictors]
    asked = [
        Asked(tuple(predictor.classes), _collecting(predictor, found))
        for predictor, found in zip(predictors, distances, strict=True)
    ]
    evaluations = evaluate(task, asked, _prepared(predictors, samples, workers), samples, root, doing)
    return [
        replace(one, distances=np.concatenate(found)) if found and isinstance(one, Classified) else one
        for one, found in zip(evaluations, distances, strict=True)
    ]


def _collecting(predictor: EnginePredictor, found: list[npt.NDArray[np.float32]]) -> Callable[[Any], Any]:
    """Have a predictor put the distances aside, where it gives some."""

    def outputs(prepared: Any) -> Any:
        if predictor.places:
            return predictor.detections(prepared)
        given, distances = predictor.outputs(prepared)
        if distances is not None:
            found.append(distances)
        return given

    return outputs


def _prepared(
    predictors: Sequence[EnginePredictor], samples: Sequence[Sample], workers: int | None
) -> Iterator[list[list[Pixels]]]:
    """Decode a few batches ahead; gives for each batch what each predictor takes."""

    def surplus(width: int, height: int) -> float:
        return min(predictor.surplus(width, height) for predictor in predictors)

    def prepare(sample: Sample) -> list[Pixels]:
        decoded = decode_scaled(sample.path, surplus)
        return [predictor.prepare_image(decoded.image, decoded.whole) for predictor in predictors]

    mounts.expect([sample.path for sample in samples])
    size = min(predictor.at_once(BATCH) for predictor in predictors)
    with closing(stream(prepare, samples, workers=workers, ahead=size + (workers or default_workers()))) as pictures:
        for group in grouped(checked(pictures), size):
            yield [list(share) for share in zip(*group, strict=True)]
