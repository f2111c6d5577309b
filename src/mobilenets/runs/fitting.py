"""``--minutes`` for a run that begins: candidates tried on its own pictures, and the recipe that fits the time."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.readable import typical_side
from mobilenets.drawing.curves import draw_schedule
from mobilenets.errors import InputError
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.saved import SavedModel
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.asked import ending
from mobilenets.runs.record import Record
from mobilenets.tasks.registry import find_task
from mobilenets.training.auto import resolve
from mobilenets.training.checkpoint import State
from mobilenets.training.distillation import Lesson, taught
from mobilenets.training.estimate import estimate
from mobilenets.training.forecast import Forecast
from mobilenets.training.minutes import Choice, Option, candidates, choose, work
from mobilenets.training.pace import Pace, usable
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import Stage, stages
from mobilenets.training.start import architecture_of, fresh_network, preprocessing_of


@dataclass(frozen=True)
class Allowance:
    """The time of a run: ``seconds`` from ``began`` on, by ``clock``; and where it is trained."""

    seconds: float
    began: float
    device: torch.device
    clock: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """Give the seconds that are left to plan with."""
        return self.began + usable(self.seconds) - self.clock()


def loaders(recipe: Recipe, dataset: Dataset, preprocessing: Preprocessing, outputs: int) -> tuple[Loader, Loader]:
    """Give the loaders of the training and of the validation pictures."""
    task = find_task(recipe.task)
    validation = Loader(
        dataset.validation,
        outputs,
        preprocessing,
        task,
        workers=recipe.workers,
        cache=PictureCache(),
        contents=dataset.contents,
    )
    train = dataclasses.replace(
        validation,
        samples=dataset.train,
        augment=build(recipe.augment, preprocessing),
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        seed=recipe.seed,
    )
    return train, validation


def fitted(
    recipe: Recipe,
    given: Set[str],
    dataset: Dataset,
    saved: SavedModel | None,
    renamed: Mapping[str, str],
    allowance: Allowance,
    lesson: Lesson | None = None,
) -> Choice:
    """Choose the settings that are not ``given`` so that the run ends in time; ``weights`` is no longer auto."""
    count = len(dataset.train) + (0 if lesson is None else len(lesson.unlabelled))
    plot = _plot()

    def measure(changes: Mapping[str, Any]) -> Option:
        asked = recipe.replace(**changes)
        architecture = architecture_of(asked, saved)
        network, origin = fresh_network(asked, architecture, dataset.classes, saved, renamed)
        kept = origin.get("head") == "kept"
        whole = resolve(asked, count, architecture, trained=saved is not None, head_kept=kept)
        plan = stages(whole, count)
        network.to(allowance.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        train, validation = loaders(whole, dataset, preprocessing_of(asked, saved), network.classes)
        task, train = taught(lesson, find_task(recipe.task), train, whole)
        after = ending(dataset, network, whole, plot)
        forecast = estimate(network, plan, 0, task, train, validation, after, allowance.device, open_trunk)
        return Option(whole, plan, forecast)

    trained = saved is not None
    offers = candidates(recipe, set(given), trained=trained, side=typical_side(dataset.train))
    if wanted := 0 if lesson is None else lesson.teacher.features:
        # Where the classifier learns alone, the features stay as they are.
        learning = [one for one in offers if one.get("freeze") != "backbone"]
        offers = [one for one in learning if _features(recipe.replace(**one), saved) == wanted]
    if not offers:
        raise InputError(
            f"feature_weight: the teacher has {wanted} features, and no network that --minutes can choose has as many: "
            "give --model and --width of one that has, or leave it out"
        )
    works = [work(recipe, offer, len(dataset.classes)) for offer in offers]
    return choose(offers, works, measure, allowance.left, trained=trained, pictures=count, given=given)


def _features(recipe: Recipe, saved: SavedModel | None) -> int:
    """Count the features that the classifier reads."""
    classifier = architecture_of(recipe, saved).plan(1).classifier
    return 0 if classifier is None else classifier.input_shape[0]


def paced(
    record: Record, choice: Choice | None, plan: Sequence[Stage], forecast: Forecast, before: State, began: float
) -> Pace | None:
    """Give the clock of ``--minutes``, with all the time that the run has had, but not its pauses; None without it.

    ``choice`` is what a run that begins came to, ``before`` what its checkpoint knows.
    """
    if record.recipe.minutes is None:
        return None
    seconds = 60 * record.recipe.minutes
    deadline = began - before.total_seconds + usable(seconds)
    most = choice.most if choice is not None else record.minutes.get("most_epochs", plan[-1].epochs)
    pace = Pace(plan, forecast, deadline, most, seconds)
    pace.take_up(before.ends)
    return pace


def _plot() -> float:
    """Time a small plot, from which follows what the report takes here and now."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        draw_schedule([0.0, 1.0], [1.0, 0.5], "Learning rate", Path(folder) / "plot.png")
        return time.monotonic() - began
