"""What a run leaves when training has ended: figures, pictures and the report."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from mobilenets.base.files import write_json
from mobilenets.base.notes import caveats
from mobilenets.base.progress import duration
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Prepared
from mobilenets.drawing.curves import draw_curves
from mobilenets.exports.beside import write_graph
from mobilenets.measure import metrics as classified
from mobilenets.measure.cost import cost
from mobilenets.measure.metric import Metric
from mobilenets.models.saved import load_model
from mobilenets.runs.class_report import Finished, write_class_report
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.update import Source
from mobilenets.tasks.base import Evaluation, Task
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.training.checkpoint import State
from mobilenets.training.keep import MANY_PICTURES, Around, around
from mobilenets.training.recipe import Recipe

log = logging.getLogger("mobilenets")

METRICS = "metrics.json"


def finish(
    run: Path,
    task: Task,
    prepared: Prepared,
    train_loader: Loader,
    recipe: Recipe,
    record: dict[str, Any],
    state: State,
    device: torch.device,
    since: float,
    source: Source | None = None,
) -> dict[str, Any]:
    """Measure the model that was kept, as anyone would who loads it from the disk, and write it all down.

    ``since`` is the moment, by ``time.monotonic``, up to which the state counts the time. ``source`` is the run or
    bundle that training began with: it is measured on the same pictures.
    """
    saved = load_model(run)
    write_graph(run, saved)
    on = "test" if prepared.test is not None else "validation"
    predictor = Predictor(run, str(device))
    [evaluation] = evaluate_predictors([predictor], prepared.measured, prepared.layout.root, workers=recipe.workers)
    kept = state.best_epoch if recipe.keep == "best" else state.epoch
    costs = cost(saved.network.architecture, saved.bundle.network_outputs)
    near = around(state.history, task.metric, kept) if on == "validation" and recipe.keep == "best" else None
    if len(prepared.validation) >= MANY_PICTURES:
        near = None  # a choice among so many is nearly unbiased, and the epochs around it may be truly worse
    why_not = saved.bundle.origin.get("why_not")
    notes = [*([why_not] if why_not else []), *prepared.notes]
    # A caveat may be a note of these with the folder before it.
    notes += [caveat for caveat in caveats() if not any(note in caveat for note in notes)]
    said = (
        _chosen(evaluation, task.metric, on, state, kept, recipe, near),
        _before(task.metric, state, kept, recipe),
    )
    notes += [note for note in said if note]
    total = _total_seconds(run, state, since)
    finished = Finished(
        run, prepared, train_loader, recipe, record, state, kept, on, predictor, costs, notes, total, device, source
    )
    metrics = evaluation.to_json() | _course(finished, task.metric, near)
    draw_curves(state.history, task.metric, run / "curves.png", kept)
    written = {}
    if isinstance(evaluation, classified.Evaluation):
        metrics |= write_class_report(finished, evaluation)
        written = {"report": str(run / "report.html")}
    # Last, because it is what marks a run as measured.
    write_json(run / METRICS, metrics)
    log.info(
        "%s on %d %s pictures%s, %s in all",
        evaluation.summary(),
        len(evaluation.images),
        on,
        "" if prepared.seen_by_source or prepared.copies else " never trained on",
        duration(total),
    )
    return {"run": str(run), **written, **metrics}


def _course(finished: Finished, metric: Metric, near: Around | None) -> dict[str, Any]:
    """Give the entries of ``metrics.json`` that say how the model came about."""
    return {
        "evaluated_on": finished.on,
        "epoch": finished.kept,
        "epochs": finished.state.epoch,
        "seconds": finished.state.seconds,
        "total_seconds": finished.total,
        f"{metric.name}_around": None if near is None else near.value,
        "epochs_around": None if near is None else [near.first, near.last],
        "weights": finished.recipe.weights,
        "parameters": finished.costs.parameters,
        "macs": finished.costs.macs,
        "notes": finished.notes,
        "seen_by_source": finished.prepared.seen_by_source,
    }


def _chosen(
    evaluation: Evaluation, metric: Metric, on: str, state: State, kept: int, recipe: Recipe, near: Around | None
) -> str | None:
    """Say what the figure is worth where the epoch was chosen on the pictures that it is measured on."""
    if on != "validation" or recipe.keep != "best" or kept == 0 or state.epoch < 2:
        return None
    pictures = len(evaluation.images)
    advice = "a test/ folder beside validation/ gives a figure that nothing was chosen on."
    if near is None:
        return (
            f"Epoch {kept} of {state.epoch} was chosen on these same {pictures} pictures: slightly optimistic; {advice}"
        )
    return (
        f"A fairer figure is {metric.shown(near.value)}, the mean of epochs {near.first} to {near.last} around the "
        f"kept one. The {metric.shown(evaluation.metrics[metric.name])} is that of epoch {kept}, which was chosen on "
        f"these same {pictures} pictures; {advice}"
    )


def _before(metric: Metric, state: State, kept: int, recipe: Recipe) -> str | None:
    """Say so where training did not better the model that it started from, or made it worse."""
    if state.before is None:
        return None
    freeze = "" if recipe.freeze == "backbone" else f", or more frozen blocks than --freeze {recipe.freeze}"
    way = f"Try a lower --lr than {recipe.lr:g}, such as {recipe.lr / 10:.3g}{freeze}."
    values = [row[f"validation_{metric.name}"] for row in state.history]
    if kept == 0:
        return (
            f"The weights that training started from were kept unchanged (epoch 0): they reach "
            f"{metric.shown(state.before)} on the validation pictures, and no epoch of this training did as well (the "
            f"best reached {metric.shown(max(values, key=metric.merit))}). {way}"
        )
    after = values[kept - 1]
    if recipe.keep == "best" or metric.merit(after) >= metric.merit(state.before):
        return None
    return (
        f"Training made the model worse: validation {metric.words} {metric.shown(state.before)} before it, "
        f"{metric.shown(after)} at the kept epoch {kept}. {way}"
    )


def _total_seconds(run: Path, state: State, since: float) -> float:
    """Return the time since the run was first started, without pauses; that of a measured run stays what it was."""
    if state.finished and (run / METRICS).is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads((run / METRICS).read_bytes())["total_seconds"])
    return state.total_seconds + time.monotonic() - since
