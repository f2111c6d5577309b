"""Settings of a recipe that are worth trying, and the Optuna study in which trials of them are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from mobilenets.base.extras import how_to_install
from mobilenets.base.files import explaining, no_room
from mobilenets.errors import InputError
from mobilenets.training.recipe import Recipe

STUDY, FILE = "tune", "study.db"
TOP1 = "validation_top1"
# A trial's figure is the mean of its last epochs, a third of them and at most so many: one epoch may be lucky.
LAST = 5
# So many trials are drawn at random, the one that changes nothing among them, before those that went well lead.
RANDOM = 6
# A trial is given up only where so many others came as far, and never in the first third of its epochs.
OTHERS = 3
# For so many seconds another program, such as a dashboard, may hold the file.
PATIENCE = 60.0


def optuna() -> Any:
    """Return Optuna; raises ``InputError`` with the line that installs it."""
    try:
        import optuna as found
    except ImportError as error:
        raise InputError(f"tune needs Optuna: {how_to_install('tune')}") from error
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def space(recipe: Recipe, fixed: Set[str]) -> dict[str, Any]:
    """Give Optuna's distributions of the settings to try, around those of ``recipe``, which has no auto left.

    Settings in ``fixed`` keep their value. ``size``, ``width`` and the network are not among them: the larger one wins,
    and what it costs is another question.
    """
    between, among = optuna().distributions.FloatDistribution, optuna().distributions.CategoricalDistribution
    found = {"lr": between(recipe.lr / 10, 10 * recipe.lr, log=True)}
    decay = recipe.weight_decay
    known = 0 < decay <= 1
    found["weight_decay"] = between(decay / 30, 10 * decay, log=True) if known else among(_with(decay, 1e-4, 0.05))
    found["batch"] = among(_with(recipe.batch, max(1, recipe.batch // 2), 2 * recipe.batch))
    found["label_smoothing"] = among(_with(recipe.label_smoothing, 0.0, 0.1, 0.2))
    found["dropout"] = among(_with(recipe.dropout, 0.0, 0.2, 0.5))
    found["mixup"] = among(_with(recipe.mixup, 0.0, 0.2))
    if isinstance(recipe.augment, str):
        found["augment"] = among(_with(recipe.augment, "light", "photo", "strong"))
    if recipe.weights != "none":
        found["freeze"] = among(_with(recipe.freeze, "none"))
    return {name: one for name, one in found.items() if name not in fixed}


def _with(value: Any, *others: Any) -> list[Any]:
    """List a setting's value first, and then others."""
    return list(dict.fromkeys([value, *others]))


@contextmanager
def opened_study(folder: Path) -> Iterator[Any]:
    """Open the study in ``folder``, or begin it: an SQLite file.

    SQLite leaves the file whole whatever is killed, and Optuna's dashboard reads it. A journal, Optuna's other file,
    can end in half a line. Raises ``InputError``, in the block too, where SQLite cannot read or write it.
    """
    found, file = optuna(), (folder / FILE).resolve()
    with explaining(file), _readable(file):
        # Not as an URL, in which a folder's ? and % mean something else.
        creator = partial(sqlite3.connect, file, timeout=PATIENCE, check_same_thread=False)
        storage = found.storages.RDBStorage("sqlite://", {"creator": creator})
        try:
            yield found.create_study(study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say in one line what SQLite says of ``file``, where that is why the block fails, and what to do."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__ or cause.__context__
        if cause is None or no_room(error) is not None:
            raise
        way = "bring back a copy of it, or give another --out"
        if "locked" in str(cause):
            way = "close the program that holds it, then run the same command again"
        raise InputError(f"{file}: cannot be used: {cause}; {way}") from error


def prepare(study: Any, seed: int, epochs: int) -> None:
    """Have the next trial drawn from the seed and the trials so far, so that it is the same after a stop."""
    found = optuna()
    study.sampler = found.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=RANDOM)
    study.pruner = found.pruners.MedianPruner(n_startup_trials=OTHERS, n_warmup_steps=epochs // 3)


def draw(study: Any, choices: Mapping[str, Any]) -> Any:
    """Begin a trial with values of all ``choices``.

    They are written at once: Optuna's ``ask`` writes one after the other, and a stop in between leaves some out.
    """
    make, running = optuna().trial.create_trial, optuna().trial.TrialState.RUNNING
    blank = make(state=running)
    drawn = {name: study.sampler.sample_independent(study, blank, name, one) for name, one in choices.items()}
    study.add_trial(make(state=running, params=drawn, distributions=dict(choices)))
    return unended(study)[-1]


def unended(study: Any) -> list[Any]:
    """Give the trials that have begun and not ended."""
    api = optuna().trial
    return [api.Trial(study, one._trial_id) for one in study.trials if one.state == api.TrialState.RUNNING]


def figure(history: list[dict[str, float]]) -> float:
    """Give the figure of a trial: the mean validation top-1 of its last epochs."""
    last = max(1, min(LAST, len(history) // 3))
    return fmean(row[TOP1] for row in history[-last:])


def by_epoch(history: list[dict[str, float]]) -> dict[int, float]:
    """Give the validation top-1 by epoch."""
    return {int(row["epoch"]): row[TOP1] for row in history}


def rows(study: Any) -> list[dict[str, Any]]:
    """Give a row for each trial: ``state`` is complete, pruned, failed or unfinished."""
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    return [
        {
            "number": one.number,
            "state": words.get(one.state.name, "unfinished"),
            "value": one.value if one.state.name == "COMPLETE" else None,
            "settings": dict(one.params),
            "epochs": {str(step): value for step, value in sorted(one.intermediate_values.items())},
            "seconds": one.user_attrs.get("seconds"),
            "why": one.user_attrs.get("why"),
        }
        for one in study.trials
    ]


def best_of(found: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Give the best row that is complete, of equals the first, which changes less."""
    return max((row for row in found if row["state"] == "complete"), key=lambda row: (row["value"], -row["number"]))
