"""``train --folds``: a model a fold, measured on the pictures that it did not learn from; then one of all pictures."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.cells import write_cells
from mobilenets.base.files import read_json, write_bytes, write_json, writing
from mobilenets.base.notes import log
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import Loader
from mobilenets.errors import InputError
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.measure.metric import Metric
from mobilenets.measure.metrics import Evaluation
from mobilenets.runs.begin import Run
from mobilenets.runs.record import FOLDS, NUMBERS
from mobilenets.tasks.base import Evaluation as AnyEvaluation
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.forecast import Forecast
from mobilenets.training.keep import History, best_epoch
from mobilenets.training.run import fit
from mobilenets.training.stages import Stage, cut, stages

# What metrics.json and people are told that the figures are of.
CROSSED = "cross-validation"
TABLE = "folds.csv"
# While the folds are trained, each has a folder beside these; afterwards they hold what the folds came to.
RESULT, ANSWERS = "result.json", "answers.npy"
_HINT = "train again with another --out"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What the folds came to.

    ``evaluation`` has an answer to each training picture of the run, in order: that of the model which did not learn
    from it, after as many epochs as did best on the other folds. ``folds`` has the ``images``, ``epoch`` and ``top1``
    of each. ``epoch`` did best over all, and ends the training of the last model. ``history`` has the ``validation_``
    figures of each epoch, over all folds. ``seconds`` is the time of all their epochs, ``total_seconds`` all of it.
    """

    evaluation: Evaluation
    folds: tuple[dict[str, Any], ...]
    epoch: int
    history: History
    seconds: float
    total_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says of it; ``deviation`` is that of the folds' top-1."""
        low, high = self.evaluation.top1_interval
        return {
            "images": len(self.evaluation.images),
            "top1": self.evaluation.top1,
            "top1_interval": [low, high],
            "deviation": stdev(fold["top1"] for fold in self.folds),
            "epoch": self.epoch,
            "folds": list(self.folds),
        }

    @property
    def note(self) -> str:
        """Say what the figure is worth."""
        count, tops = len(self.evaluation.images), [fold["top1"] for fold in self.folds]
        low, high = self.evaluation.top1_interval
        return (
            f"Cross-validated in {len(tops)} folds: top-1 {100 * self.evaluation.top1:.1f} % (95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f}; single folds {100 * min(tops):.1f} to {100 * max(tops):.1f}). Each "
            f"of the {count} pictures was answered by a model that did not learn from it, after as many epochs as did "
            f"best on the other folds. The model that was kept learned from all {count}, so no picture is left to "
            "measure it alone. The folds share training pictures, which makes the interval a little too narrow."
        )


@dataclass(frozen=True)
class _Told:
    """The figures of an epoch that the folds have measured, in place of those of the model in training."""

    images: Sequence[str]
    metrics: dict[str, float]


def fold_numbers(run: Run) -> tuple[int, ...]:
    """Give the fold of each training picture, from 1, as it was drawn when the run began."""
    numbers = read_json(run.folder / FOLDS / NUMBERS, _HINT)
    whole = isinstance(numbers, list) and len(numbers) == len(run.dataset.train)
    if not whole or {*numbers} != {*range(1, (run.recipe.folds or 0) + 1)}:
        raise InputError(f"{run.folder / FOLDS / NUMBERS}: damaged; {_HINT}")
    return tuple(numbers)


def train_folds(
    run: Run, loaders: tuple[Loader, Loader], device: torch.device, began: float
) -> tuple[State, float, CrossValidation]:
    """Train and measure the folds of a run, then its model on all pictures; goes on where it was left.

    Returns what ``fit`` does of the last training, with the time of all of them, and what the folds came to.
    """
    found, began = _cross_validated(run, loaders, device, began)
    recipe, pictures = run.recipe.replace(keep="last", patience=None), run.dataset.train
    plan = cut(stages(recipe, len(pictures)), found.epoch)

    def judge(epoch: int, measure: Callable[[], AnyEvaluation]) -> _Told:
        row = found.history[epoch - 1]
        figures = {name.removeprefix("validation_"): value for name, value in row.items() if name != "epoch"}
        return _Told(found.evaluation.images, figures)

    log.info("training the model on all %d pictures, for %d epochs", len(pictures), found.epoch)
    # Nothing is held out, and nothing is asked of the one picture that stands in for it.
    some = dataclasses.replace(loaders[1], samples=pictures[:1])
    state, since = _fit(run, run.network, plan, (loaders[0], some), run.folder, device, began, judge)
    seconds, total = state.seconds + found.seconds, state.total_seconds + found.total_seconds
    return dataclasses.replace(state, seconds=seconds, total_seconds=total), since, found


def seconds_of_folds(run: Run, plan: Sequence[Stage], forecast: Forecast) -> float:
    """Forecast the folds that are still to be trained, where ``forecast`` is that of one training on all pictures."""
    if run.recipe.folds is None or (run.folder / FOLDS / RESULT).exists():
        return 0.0
    once = forecast.finish + sum(part.prepare for part in forecast.parts)
    left = sum(not _finished(run.folder / FOLDS / str(fold + 1)) for fold in range(run.recipe.folds))
    return left * (1 - 1 / run.recipe.folds) * (forecast.seconds(plan) - once)


def _fit(
    run: Run,
    network: Any,
    plan: Sequence[Stage],
    pictures: tuple[Loader, Loader],
    folder: Path,
    device: torch.device,
    began: float,
    judge: Any,
) -> tuple[State, float]:
    names, root, settings = run.dataset.classes, run.dataset.layout.root, {"opener": open_trunk, "judge": judge}
    return fit(network, plan, run.task, *pictures, names, root, folder, device, began=began, **settings)


def _cross_validated(
    run: Run, loaders: tuple[Loader, Loader], device: torch.device, began: float
) -> tuple[CrossValidation, float]:
    """Give what the folds came to, from the run folder once they are done; and the moment up to which that counts."""
    folder, numbers = run.folder / FOLDS, np.array(fold_numbers(run))
    places = [np.flatnonzero(numbers == fold + 1) for fold in range(numbers.max())]
    if not (folder / RESULT).exists():
        states = []
        for fold, held in enumerate(places, 1):
            state, began = _trained(run, loaders, fold, held, device, began)
            states.append(state)
        _conclude(run, numbers, places, states)
    for fold in range(len(places)):
        shutil.rmtree(folder / str(fold + 1), ignore_errors=True)
    return read_folds(run), began


def _trained(
    run: Run, loaders: tuple[Loader, Loader], fold: int, held: npt.NDArray[np.int64], device: torch.device, began: float
) -> tuple[State, float]:
    """Train one fold, and keep the answers of each epoch to the pictures at the places ``held``."""
    folder, pictures = run.folder / FOLDS / str(fold), run.dataset.train
    if _finished(folder):
        return checkpoint.peek(folder), began
    chosen = set(held.tolist())
    taught = [sample for place, sample in enumerate(pictures) if place not in chosen]
    log.info("fold %d of %d: %d pictures to learn from, %d held out", fold, run.recipe.folds, len(taught), len(held))
    some = (
        dataclasses.replace(loaders[0], samples=taught),
        dataclasses.replace(loaders[1], samples=[pictures[place] for place in held]),
    )

    def judge(epoch: int, measure: Callable[[], AnyEvaluation]) -> AnyEvaluation:
        evaluation = measure()
        assert isinstance(evaluation, Evaluation)
        _write_array(folder / f"{epoch}.npy", evaluation.logits)
        return evaluation

    plan = stages(run.recipe.replace(keep="last"), len(taught))
    return _fit(run, copy.deepcopy(run.network), plan, some, folder, device, began, judge)


def _finished(folder: Path) -> bool:
    return checkpoint.exists(folder) and checkpoint.peek(folder).finished


def chosen_epochs(
    histories: Sequence[History], counts: Sequence[int], metric: Metric, keep: str
) -> tuple[int, list[int], list[dict[str, float]]]:
    """Choose how long to train by folds with these histories, which hold out so many pictures each.

    Returns the epoch that did best over all of them, which is for the last model; for each fold the one that did best
    on the others, so that no picture has a say in how long the model trains that answers it; and the figures over all.
    ``keep`` is that of the recipe: with ``last`` all are the last epoch.
    """
    length = min(len(history) for history in histories)

    def pooled(folds: Sequence[int]) -> list[dict[str, float]]:
        total = sum(counts[fold] for fold in folds)
        names = [name for name in histories[0][0] if name.startswith("validation_")]
        return [
            {"epoch": epoch + 1}
            | {name: sum(counts[fold] * histories[fold][epoch][name] for fold in folds) / total for name in names}
            for epoch in range(length)
        ]

    def best(folds: Sequence[int]) -> int:
        pictures = sum(counts[fold] for fold in folds)
        return length if keep == "last" else best_epoch(pooled(folds), metric, pictures)

    all_folds = range(len(histories))
    others = [[other for other in all_folds if other != fold] for fold in all_folds]
    return best(all_folds), [best(folds) for folds in others], pooled(all_folds)


def _conclude(
    run: Run, numbers: npt.NDArray[np.int64], places: Sequence[npt.NDArray[np.int64]], states: Sequence[State]
) -> None:
    """Write what the folds came to, of all their epochs only the chosen ones; ``result.json`` last, as the mark."""
    folder, dataset = run.folder / FOLDS, run.dataset
    counts = [len(held) for held in places]
    epoch, epochs, history = chosen_epochs(
        [state.history for state in states], counts, run.task.metric, run.recipe.keep
    )
    answers = np.empty((len(numbers), len(dataset.classes)), np.float32)
    for fold, held in enumerate(places):
        answers[held] = _read_array(folder / str(fold + 1) / f"{epochs[fold]}.npy")
    _write_array(folder / ANSWERS, answers)
    evaluation = _evaluation(run, answers)
    _write_table(run, numbers, evaluation)
    right = evaluation.ranks == 0
    result = {
        "epoch": epoch,
        "folds": [
            {"images": count, "epoch": chosen, "top1": float(right[held].mean())}
            for count, chosen, held in zip(counts, epochs, places, strict=True)
        ],
        "history": history,
        "seconds": sum(state.seconds for state in states),
        "total_seconds": sum(state.total_seconds for state in states),
    }
    write_json(folder / RESULT, result)


def read_folds(run: Run) -> CrossValidation:
    """Read what the folds of a run came to; raises ``InputError`` where that is damaged."""
    path = run.folder / FOLDS / RESULT
    try:
        found = read_json(path, _HINT)
        evaluation = _evaluation(run, _read_array(path.with_name(ANSWERS)))
        more = (found["epoch"], found["history"], found["seconds"], found["total_seconds"])
        return CrossValidation(evaluation, tuple(found["folds"]), *more)
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path.parent}: damaged; {_HINT}") from error


def _evaluation(run: Run, answers: Floats) -> Evaluation:
    dataset = run.dataset
    images = tuple(relative(sample.path, dataset.layout.root) for sample in dataset.train)
    found = run.task.evaluation(dataset.classes, images, dataset.train, answers)
    assert isinstance(found, Evaluation)
    return found


def _write_table(run: Run, numbers: npt.NDArray[np.int64], evaluation: Evaluation) -> None:
    """Write ``image,class,fold,predicted,probability``: a line a picture, by the model that did not learn from it."""
    classes, given = evaluation.classes, (evaluation.labels, numbers, evaluation.predicted, evaluation.probabilities)
    rows = [
        [image, classes[label], str(fold), classes[predicted], f"{scores[predicted]:.6f}"]
        for image, label, fold, predicted, scores in zip(evaluation.images, *given, strict=True)
    ]
    text = write_cells([["image", "class", "fold", "predicted", "probability"], *rows])
    write_bytes(run.folder / TABLE, text.encode("utf-8", "surrogateescape"))


def _write_array(path: Path, values: Floats) -> None:
    with writing(path) as aside:
        np.save(aside, np.asarray(values, np.float32))


def _read_array(path: Path) -> Floats:
    values: Floats = np.load(path)
    return values
