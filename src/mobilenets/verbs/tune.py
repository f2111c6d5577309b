"""``tune``: which settings of the recipe suit these pictures, tried out with Optuna."""

from __future__ import annotations

import shutil
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mobilenets.base.files import DiskFull, write_json
from mobilenets.base.leftovers import occupants
from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.bench.settings import check_numbers
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import FaultFound, InputError
from mobilenets.runs.folder import RUNS, check_folder, owning
from mobilenets.runs.record import METRICS, RECIPE, Record, accuracy_of_run
from mobilenets.runs.settle import refuse_place
from mobilenets.runs.tuning import (
    FILE,
    best_of,
    by_epoch,
    draw,
    figure,
    opened_study,
    optuna,
    prepare,
    rows,
    space,
    unended,
)
from mobilenets.runtime.bundle import CLASSIFICATION
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.epochs import Watcher, watching
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe
from mobilenets.verbs.compare_models import compare_models
from mobilenets.verbs.train import train, train_since

TUNED, TRIALS, PICTURE = "tune.json", "trials", "tune.png"
# What is kept of the time for the end: so many times what measuring the first trial took, or so many seconds.
RESERVE, UNKNOWN = 2.0, 30.0
MEASURING = "measuring"


class _OutOfTime(Exception):
    """The next epoch would end too late."""


@dataclass(frozen=True)
class _Job:
    data: Path
    folder: Path
    recipe: Recipe
    fixed: Set[str]
    trials: int
    # By ``time.monotonic``; None: there is no hurry.
    end: float | None

    def over(self, study: Any, seconds: float) -> bool:
        """Say whether so many seconds of training leave too little time to measure."""
        measuring = study.user_attrs.get(MEASURING, UNKNOWN)
        return self.end is not None and time.monotonic() + seconds + RESERVE * measuring > self.end

    def run(self, number: int) -> Path:
        return self.folder / TRIALS / f"{number:03}"


def tune(
    data: str | Path,
    out: str | Path | None = None,
    *,
    trials: int = 20,
    minutes: float | None = None,
    recipe: Recipe | str | Path | None = None,
    **settings: Any,  # those of Settings without minutes
) -> dict[str, Any]:
    """Try settings of the recipe on a folder of labelled pictures, and write the best recipe.

    The first trial is the recipe as it is. The others change learning rate, weight decay, batch, label smoothing,
    dropout, mixup, augmentation and frozen blocks, drawn by Optuna's TPE; a trial is given up whose best validation
    top-1 lies below the median of the others at the same epoch. All see the same pictures for as many epochs. A trial
    that fails is a row like the others. Stopped, the same call goes on, to the epoch.

    The best trial is chosen on the validation pictures, so its figure there is too good: it is measured on ``test/``
    where DATA has one, beside the first trial.

    Parameters
    ----------
    data:
        A folder as for ``train``, with classes.
    out:
        The folder to write; by default ``runs/<data>-tuned``.
    trials:
        How many trials there are in all.
    minutes:
        How long this call may take; trials that do not fit are left for the next call.
    recipe, **settings:
        As in ``train``: what the trials start from. A setting that is given here is not tried.

    Returns the content of ``tune.json``: a row for each of ``trials``, the number of the ``best``, the ``changes`` that
    it makes to the first, its ``run``, its ``top1`` and ``top1_interval`` on so many ``images`` of ``data``, and
    ``compare``, what ``compare_models`` says of the first and the best. ``recipe.json`` beside it is for
    ``train --recipe``, ``study.db`` for ``optuna-dashboard``.
    Raises ``InputError`` for what cannot be tuned, and where not one trial ends in time; ``KeyboardInterrupt`` on
    Ctrl-C.

    >>> small = {"model": "mobilenet_v1_cifar", "size": 32, "weights": "none", "epochs": 1}
    >>> result = mobilenets.tune("photos", "tuned", trials=2, **small)
    >>> len(result["trials"]), sorted(result["trials"][1]["settings"])[:3], result["recipe"]
    (2, ['augment', 'batch', 'dropout'], 'tuned/recipe.json')

    """
    began = time.monotonic()
    optuna()
    check_numbers("trials", [trials], 10_000)
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes {minutes:g}: give a number above 0")
    pictures = open_data(data)
    base = load_recipe(recipe).replace(**settings)
    _refuse(base, pictures)
    folder = check_folder(Path(out) if out is not None else RUNS / f"{pictures.resolve().name}-tuned")
    if not (folder / FILE).exists():
        if folder.is_dir() and occupants(folder):
            raise InputError(f"{folder}: is there already; choose another --out")
        refuse_place(folder, find_data(pictures), resume=False)
    end = None if minutes is None else began + 60 * minutes
    job = _Job(pictures, folder, base, frozenset(settings), trials, end)
    with owning(folder), opened_study(folder) as study:
        _same(study, job)
        first = _first(study, job)
        _others(study, job, first)
        result = _result(study, job) | {"seconds": time.monotonic() - began}
        from mobilenets.drawing.style import save  # a bare install has no matplotlib
        from mobilenets.drawing.tuning import tuning_figure

        save(tuning_figure(result["trials"], result["best"]), folder / PICTURE)
        write_json(folder / TUNED, result)
    log.info("%d trials in %s", len(result["trials"]), duration(time.monotonic() - began))
    return result


def _refuse(recipe: Recipe, data: Path) -> None:
    if recipe.task != CLASSIFICATION or is_detection(data):
        raise InputError("tune: only classifiers are tuned so far")
    for name in ("folds", "seeds", "minutes", "patience"):
        if getattr(recipe, name) is not None:
            raise InputError(f"{name}: not for a trial; leave --{name} out")


def _same(study: Any, job: _Job) -> None:
    """Note what is tuned; raises ``InputError`` where the study is of something else."""
    asked = {"data": str(job.data.resolve()), "recipe": job.recipe.to_json(), "fixed": sorted(job.fixed)}
    begun = study.user_attrs.get("asked")
    if not study.trials and not (job.run(0) / RECIPE).exists():
        study.set_user_attr("asked", asked)
    elif begun != asked:
        raise InputError(f"{job.folder}: was begun with other pictures or settings: give those, or another --out")
    elif study.trials:
        log.info("going on with %d trials in %s", len(study.trials), job.folder)


def _first(study: Any, job: _Job) -> Recipe:
    """Have the first trial made, which changes nothing; returns its recipe, in which nothing is left to auto."""
    run, late = job.run(0), ""
    if not study.trials:
        log.info("trial 0: the recipe as it is")

        def watch(state: State) -> None:
            takes = state.seconds / state.epoch * (Record.read(run).recipe.epochs or 1)
            if job.end is not None and takes > job.end - time.monotonic() + state.seconds:
                nonlocal late
                late = duration(takes)
                raise _OutOfTime

        try:
            state = _trained(job, run, job.recipe, watch)
        except _OutOfTime:
            raise InputError(
                f"one trial takes about {late}, which is longer than there is time: give more --minutes, or fewer "
                "--epochs with another --out"
            ) from None
        found = Record.read(run).recipe
        choices = space(found, job.fixed)
        study.add_trial(
            optuna().trial.create_trial(
                params={name: getattr(found, name) for name in choices},
                distributions=choices,
                value=figure(state.history),
                intermediate_values=by_epoch(state.history),
                user_attrs={"seconds": state.total_seconds},
            )
        )
    if not (run / METRICS).exists():
        since = time.monotonic()
        train(job.data, run, resume=True)
        study.set_user_attr(MEASURING, time.monotonic() - since)
    return Record.read(run).recipe


def _others(study: Any, job: _Job, first: Recipe) -> None:
    """Make the trials that are missing, as far as there is time."""
    while True:
        stopped = unended(study)
        if not stopped and len(study.trials) >= job.trials:
            return
        took = [one.user_attrs["seconds"] for one in study.trials if "seconds" in one.user_attrs]
        if not stopped and job.over(study, median(took)):
            log.info("no time is left for another trial: the same command with more --minutes goes on")
            return
        prepare(study, first.seed, first.epochs)
        trial = stopped[0] if stopped else draw(study, space(first, job.fixed))
        if not _one(study, job, trial, first):
            return


def _one(study: Any, job: _Job, trial: Any, first: Recipe) -> bool:
    """Make one trial, or go on with it; False where there is no time to end it."""
    run, states = job.run(trial.number), optuna().trial.TrialState
    since = time.monotonic() - (checkpoint.peek(run).total_seconds if checkpoint.exists(run) else 0.0)
    words = ", ".join(f"{name} {v:.3g}" if isinstance(v, float) else f"{name} {v}" for name, v in trial.params.items())
    log.info("trial %d of %d: %s", trial.number, job.trials - 1, words)

    def watch(state: State) -> None:
        reported = trial.study.trials[trial.number].intermediate_values
        for epoch, value in by_epoch(state.history).items():
            if epoch not in reported:
                trial.report(value, epoch)
        if state.finished:
            return
        if trial.should_prune():
            raise optuna().TrialPruned
        if job.over(study, state.seconds / state.epoch):
            raise _OutOfTime

    try:
        state = _trained(job, run, first.replace(**trial.params), watch)
        if Record.read(run).data.fingerprint != Record.read(job.run(0)).data.fingerprint:
            raise InputError(f"the pictures in {job.data} are not those of trial 0; tune anew with another --out")
    except _OutOfTime:
        log.info("no time is left to end trial %d: the same command with more --minutes goes on", trial.number)
        return False
    except optuna().TrialPruned:
        log.info("trial %d is given up: others did better by then", trial.number)
        _close(study, trial, since, states.PRUNED)
        shutil.rmtree(run, ignore_errors=True)  # its figures are in the study
    except DiskFull:
        raise
    except (InputError, FaultFound, RuntimeError, MemoryError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("trial %d failed: %s", trial.number, why)
        trial.set_user_attr("why", why)
        _close(study, trial, since, states.FAIL)
        shutil.rmtree(run, ignore_errors=True)
    else:
        _close(study, trial, since, None, figure(state.history))
    return True


def _close(study: Any, trial: Any, since: float, state: Any, value: float | None = None) -> None:
    trial.set_user_attr("seconds", time.monotonic() - since)
    study.tell(trial, value, state)


def _trained(job: _Job, run: Path, recipe: Recipe, watch: Watcher) -> State:
    """Train in ``run``, from where it was left, up to its last epoch; nothing is measured but validation."""
    state = checkpoint.peek(run) if checkpoint.exists(run) else State()
    if state.epoch:  # which was stopped before it was told of, maybe
        watch(state)
    if not state.finished:
        began, start = time.monotonic(), None if (run / RECIPE).exists() else recipe
        with watching(watch):
            train_since(began, job.data, run, recipe=start, resume=run.exists(), measured=False)
    return checkpoint.peek(run)


def _result(study: Any, job: _Job) -> dict[str, Any]:
    """Choose the best trial, write its recipe, and measure it beside the first."""
    found = rows(study)
    best = best_of(found)
    run, first = job.run(best["number"]), job.run(0)
    if not (run / METRICS).exists():
        train(job.data, run, resume=True)
    chosen = Record.read(run).recipe
    write_json(job.folder / RECIPE, {"recipe": chosen.to_json()})
    compare = None if run == first else compare_models(first, run, job.data)
    figures = Record.read(run)
    changes = {
        name: [found[0]["settings"][name], value]
        for name, value in best["settings"].items()
        if value != found[0]["settings"][name]
    }
    note = (
        f"trial {best['number']} was chosen among {sum(row['state'] == 'complete' for row in found)} on the validation "
        "pictures: its figure there is too good"
    )
    if figures.data.test is None:
        note += "; a test/ folder beside validation/ gives a figure that nothing was chosen on"
    return {
        "out": str(job.folder),
        "recipe": str(job.folder / RECIPE),
        "trials": found,
        "best": best["number"],
        "changes": changes,
        "run": str(run),
        **accuracy_of_run(run),
        "compare": compare,
        "notes": [note],
    }
