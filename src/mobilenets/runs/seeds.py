"""``train --seeds``: the same training several times, each with another seed, and what that says of the accuracy."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mobilenets.base.files import read_json, write_json, writing
from mobilenets.base.notes import log
from mobilenets.datasets.layout import find_data
from mobilenets.errors import InputError
from mobilenets.measure.metric import Metric
from mobilenets.runs.begin import Run, take_up
from mobilenets.runs.copies import COPIES, THUMBNAILS
from mobilenets.runs.record import METRICS, RECIPE, SEEDS, SPLIT, Record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import SEEN
from mobilenets.runs.settle import refuse_place, settle
from mobilenets.runtime.bar import SPACE
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.epochs import HISTORY
from mobilenets.training.recipes import load_recipe

# Of the run that is kept; all else is written anew, with what the others say.
_COPIED = (WEIGHTS, SPACE, THUMBNAILS, COPIES, DESCRIPTION, SPLIT, SEEN, HISTORY, "lr.png")
_HINT = "train again with another --out"


@dataclass(frozen=True)
class SeedPlan:
    """Which seeds are trained: ``count`` from ``first`` on, all on the split that ``split`` draws."""

    count: int
    first: int
    split: int

    @property
    def seeds(self) -> range:
        """The seeds, in order."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True)
class Seeds:
    """What the trainings came to.

    ``runs`` has for each its ``seed``, folder ``run``, kept ``epoch``, the ``value`` of the task's ``metric`` on the
    pictures ``on`` which it is measured, ``validation``, that by which it was chosen, and ``loss``, that of validation.
    """

    runs: tuple[dict[str, Any], ...]
    metric: Metric
    on: str

    @property
    def kept(self) -> dict[str, Any]:
        """The run that does best on the validation pictures; of equals that with the lower loss, then the first."""
        return max(self.runs, key=lambda run: (self.metric.merit(run["validation"]), -run["loss"], -run["seed"]))

    def to_json(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says of it."""
        values = [run["value"] for run in self.runs]
        return {
            "metric": self.metric.name,
            "mean": fmean(values),
            "deviation": stdev(values),
            "lowest": min(values),
            "highest": max(values),
            "kept": self.kept["seed"],
            "runs": list(self.runs),
        }

    @property
    def note(self) -> str:
        """Say mean and deviation, and what the figure of the kept model is worth."""
        about, metric, kept = self.to_json(), self.metric, self.kept
        worth = (
            f"its {metric.shown(kept['value'])} is the best of {len(self.runs)} on these same pictures, and so "
            "optimistic: expect the mean"
            if self.on == "validation"
            else f"its {metric.shown(kept['value'])} on the {self.on} pictures had no part in the choice"
        )
        spread = f"{100 * about['deviation']:.1f} points" if metric.fraction else metric.shown(about["deviation"])
        return (
            f"{len(self.runs)} seeds: {metric.words} {metric.shown(about['mean'])} on average, standard deviation "
            f"{spread} ({metric.shown(about['lowest'])} to "
            f"{metric.shown(about['highest'])}); kept is seed {kept['seed']}, which does best on the validation "
            f"pictures; {worth}."
        )


def seeds_asked(request: Request) -> SeedPlan | None:
    """Say which seeds are to be trained; None where a single training is asked for, or goes on.

    A run of several seeds that goes on may be asked for more of them.
    """
    run = request.run
    if request.resume and (run / SEEDS).is_file():
        try:
            known = SeedPlan(**read_json(run / SEEDS, _HINT))
        except TypeError as error:
            raise InputError(f"{run / SEEDS}: damaged; {_HINT}") from error
        count = request.settings.get("seeds") or known.count
        if count < known.count:
            raise InputError(f"seeds {count}: this run has {known.count} already; give more, or leave --seeds out")
        return dataclasses.replace(known, count=count)
    if request.resume and (run / RECIPE).is_file():
        return None
    recipe = load_recipe(request.recipe).replace(**request.settings)
    return None if recipe.seeds is None else SeedPlan(recipe.seeds, recipe.seed, recipe.seed_of_split)


def train_seeds(
    request: Request, plan: SeedPlan, began: float, train: Callable[[Request, float], Mapping[str, Any]]
) -> tuple[Run, State, Seeds]:
    """Train each seed in a folder of its own by ``train``, which takes a request and when it began.

    What is finished is not trained again. Returns the kept run as that of ``request.run``, where its files are now, its
    state with the time of all of them, and what they came to.
    """
    run = request.run
    if not (request.resume and (run / SEEDS).is_file()):
        refuse_place(run, find_data(request.data), request.resume)
    if request.resume and (seed_folder(run, plan.first) / RECIPE).is_file():
        settle(_one(request, plan, plan.first))  # other settings are refused, also where that run is done
    write_json(run / SEEDS, dataclasses.asdict(plan))
    for number, seed in enumerate(plan.seeds, 1):
        one = _one(request, plan, seed)
        if not (one.run / METRICS).is_file():
            log.info("seed %d, %d of %d", seed, number, plan.count)
            train(one, began if number == 1 else time.monotonic())
    return _conclude(request, plan)


def _one(request: Request, plan: SeedPlan, seed: int) -> Request:
    """Ask for the training with one seed: as was asked for first, then with all that the first came to."""
    folder, first = seed_folder(request.run, seed), seed_folder(request.run, plan.first)
    resume = request.resume and folder.is_dir()
    if seed != plan.first:
        settings = Record.read(first).recipe.to_json() | {"seed": seed}
        return dataclasses.replace(request, run=folder, recipe=None, settings=settings, resume=resume)
    settings = {**request.settings, "seeds": None, "seed": seed, "split_seed": plan.split}
    minutes = load_recipe(request.recipe).replace(**request.settings).minutes
    if minutes is not None:
        settings["minutes"] = minutes / plan.count
    return dataclasses.replace(request, run=folder, settings=settings, resume=resume)


def seed_folder(run: Path, seed: int) -> Path:
    """Return the folder of one seed."""
    return run / f"seed-{seed}"


def _conclude(request: Request, plan: SeedPlan) -> tuple[Run, State, Seeds]:
    """Choose the model, and bring its files to where one looks for them."""
    first = seed_folder(request.run, plan.first)
    metric = find_task(Record.read(first).recipe.task).metric
    found = [_outcome(request.run, seed) for seed in plan.seeds]
    rows = (_row(*outcome, seed, metric) for outcome, seed in zip(found, plan.seeds, strict=True))
    seeds = Seeds(tuple(rows), metric, found[0][0]["evaluated_on"])
    one = _taken_up(request, seeds.kept["seed"])
    for name in _COPIED:
        if (one.folder / name).is_file():
            with writing(request.run / name) as aside:
                shutil.copyfile(one.folder / name, aside)
    recipe = one.recipe.replace(seeds=plan.count, seed=plan.first)
    if recipe.minutes is not None:
        recipe = recipe.replace(minutes=recipe.minutes * plan.count)
    record = dataclasses.replace(one.record, recipe=recipe, command=request.again)
    record.write(request.run)
    log.info("%s", seeds.note)
    state = checkpoint.peek(one.folder)
    state.seconds = sum(metrics["seconds"] for metrics, _ in found)
    state.total_seconds = sum(metrics["total_seconds"] for metrics, _ in found)
    return dataclasses.replace(one, folder=request.run, record=record), state, seeds


def _taken_up(request: Request, seed: int) -> Run:
    one = dataclasses.replace(request, run=seed_folder(request.run, seed), recipe=None, settings={}, resume=True)
    settled = settle(one)
    assert settled.record is not None and settled.dataset is not None
    return take_up(one, settled.recipe, settled.record, settled.dataset)


def _outcome(run: Path, seed: int) -> tuple[dict[str, Any], State]:
    folder = seed_folder(run, seed)
    metrics: dict[str, Any] = read_json(folder / METRICS, _HINT)
    return metrics, checkpoint.peek(folder)


def _row(metrics: Mapping[str, Any], state: State, seed: int, metric: Metric) -> dict[str, Any]:
    epoch = metrics["epoch"]
    row: Mapping[str, float] = state.history[max(0, epoch - 1)]
    before = state.before if epoch == 0 else None
    validation = row[f"validation_{metric.name}"] if before is None else before
    value = metrics.get(metric.name, validation)
    return {
        "seed": seed,
        "run": seed_folder(Path(), seed).name,
        "epoch": epoch,
        "value": value,
        "validation": validation,
        "loss": row["validation_loss"],
    }
