"""What a run leaves when training has ended: a model that knows its limits, figures, pictures and the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.files import write_json
from mobilenets.base.notes import caveats, log
from mobilenets.base.progress import duration
from mobilenets.datasets.folder import content_hashes, relative
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset
from mobilenets.drawing.curves import draw_curves
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.measure.cost import cost
from mobilenets.measure.known import above, called_crosswise, find_bar, fit_space, why_not
from mobilenets.measure.metric import Metric
from mobilenets.measure.metrics import Evaluation as Classified
from mobilenets.measure.metrics import wilson_interval
from mobilenets.models.distance import save_space
from mobilenets.models.saved import SavedModel, load_model, temperature_of
from mobilenets.runs.asked import Asked, ask, known_places
from mobilenets.runs.begin import Run
from mobilenets.runs.calibrating import Settled, settle, untempered, write_settled
from mobilenets.runs.class_report import Finished, write_class_report
from mobilenets.runs.copies import copies_of_run
from mobilenets.runs.folds import CROSSED, CrossValidation
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.record import METRICS, total_seconds
from mobilenets.runs.seeds import Seeds
from mobilenets.runs.suspects import can_look, find_suspects
from mobilenets.runs.test_set import open_test_set
from mobilenets.runtime.bar import SPACE, Bar
from mobilenets.runtime.bundle import CLASSIFICATION
from mobilenets.runtime.exported import file_hash
from mobilenets.tasks.base import Evaluation
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.training.checkpoint import State
from mobilenets.training.keep import MANY_PICTURES, Around, around
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import move_end, stages

FALSE_ALARMS = 0.05


def learn_known(
    folder: Path, saved: SavedModel, dataset: Dataset, asked: Mapping[str, Asked], device: torch.device
) -> SavedModel:
    """Fit the distance of a finished classifier and set its bar; writes ``distance.safetensors``.

    ``asked`` has what its network gave, whose last layer may have been divided since. The bar is set on the validation
    pictures, and the share of false alarms measured on the test pictures; where there are none, on the validation
    pictures crosswise. A model with too few pictures stays as it is, which is said.
    """
    reason = why_not(len(dataset.train), len(dataset.validation), len(dataset.classes))
    if reason is not None:
        log.warning('this model does not say "none of these": %s', reason)
        return saved
    places = known_places(dataset)
    answers = {half: asked[half].answered(saved.network, device, some) for half, some in places.items() if len(some)}
    trained, held, test = answers["train"], answers["validation"], answers.get("test")
    if not all(np.isfinite(part).all() for part in (*trained, *held)):
        return saved
    labels = np.array([dataset.train[place].label for place in places["train"]], np.int64)
    space = fit_space(trained, labels, held)
    save_space(folder / SPACE, replace(space, scale=np.full(1, temperature_of(saved), np.float32)))
    distances = space.distances(*held)
    bar = find_bar(distances, FALSE_ALARMS)
    if test is None:
        count, called = len(distances), called_crosswise(distances, FALSE_ALARMS)
    else:
        count, called = len(test.logits), int(above(space.distances(*test), bar).sum())
    known = Bar(
        bar,
        FALSE_ALARMS,
        called / count,
        wilson_interval(called, count),
        count,
        cross_fitted=test is None,
        sha256=file_hash(folder / SPACE),
    )
    return replace(saved, space=space, bundle=replace(saved.bundle, none_of_these=known))


def finish(
    run: Run,
    train_loader: Loader,
    state: State,
    device: torch.device,
    since: float,
    crossed: CrossValidation | None = None,
    seeds: Seeds | None = None,
) -> dict[str, Any]:
    """Measure the model that was kept, loaded from the disk, and write it all down.

    ``since`` is the moment, by ``time.monotonic``, up to which the state counts the time. ``crossed`` has what folds
    came to: where there is no test half, these are the figures. ``seeds`` has what several trainings came to, of which
    this is the kept one. Returns the content of ``metrics.json``, with the places of the run and of its report.
    """
    folder, dataset = run.folder, run.dataset
    on = "test" if dataset.test is not None else "validation" if crossed is None else CROSSED
    settled, predictor, values = _settled(run, train_loader, device, crossed)
    saved, evaluation = settled.saved, settled.evaluation
    opened = None
    if on == "test":
        contents = dataset.contents or content_hashes([sample.path for sample in dataset.measured])
        opened = open_test_set(folder, "train", [contents[sample.path] for sample in dataset.measured])
    kept = state.best_epoch if run.recipe.keep == "best" and crossed is None else state.epoch
    costs = cost(saved.network.architecture, saved.bundle.network_outputs)
    metrics = evaluation.to_json() | {
        **settled.figures,
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "total_seconds": seconds_in_all(folder, state, since),
        **said(run, state, evaluation, on, kept, saved.bundle.origin.get("why_not"), (crossed, seeds)),
        "cross_validation": None if crossed is None else crossed.to_json(),
        "seeds": None if seeds is None else seeds.to_json(),
        "weights": run.recipe.weights,
        "taught_by": dict(run.record.teaching) or None,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "seen_by_source": dataset.seen_by_source,
        "test_set": None if opened is None else asdict(opened),
        "none_of_these": None if saved.bundle.none_of_these is None else saved.bundle.none_of_these.to_json(),
    }
    written = {}
    if not isinstance(evaluation, Classified):
        draw_curves(state.history, run.task.metric, folder / "curves.png", kept)
    else:
        metrics["copies"] = None if on == CROSSED else copies_of_run(folder, evaluation)
        finished = Finished(run, train_loader, state, kept, on, settled, predictor, metrics)
        metrics |= write_class_report(finished, evaluation, partial(find_suspects, run, values, crossed), device)
        written = {"report": str(folder / "report.html")}
    write_metrics(run, metrics, evaluation, on, seconds_in_all(folder, state, since))
    return {"run": str(folder), **written, **metrics}


def write_metrics(run: Run, metrics: dict[str, Any], evaluation: Evaluation, on: str, seconds: float) -> None:
    """Write ``metrics.json`` after all else, because it marks a run as measured, and say how good the model is.

    ``seconds`` are those of the whole run, the report among them.
    """
    metrics["total_seconds"] = seconds
    write_json(run.folder / METRICS, metrics)
    fair = "" if run.dataset.seen_by_source or run.dataset.copies else " never trained on"
    which = f"{on} pictures{fair}"
    if on == CROSSED:
        which = "pictures, each answered by a model that did not learn from it"
    log.info("%s on %d %s, %s in all", evaluation.summary(), len(evaluation.images), which, duration(seconds))


def _settled(
    run: Run, loader: Loader, device: torch.device, crossed: CrossValidation | None
) -> tuple[Settled, Predictor, npt.NDArray[np.float32] | None]:
    """Ask the model that was kept about its pictures; calibrate it, and teach it what is none of its classes.

    All is made of one pass over the pictures, and then written. Also gives the model as others open it, and the
    features of the pictures whose labels are looked at, where there is need of them.
    """
    folder, dataset, kept = run.folder, run.dataset, load_model(run.folder)
    if kept.bundle.task != CLASSIFICATION or kept.bundle.outputs is not None:
        saved = write_settled(folder, kept, kept)
        predictor = Predictor(folder, str(device))
        [evaluation] = evaluate_predictors([predictor], dataset.measured, dataset.layout.root, workers=loader.workers)
        return Settled(saved, evaluation), predictor, None
    labels = crossed is None and can_look(dataset, kept.network.plan.pooled.shape[0])
    asked = ask(kept.network, dataset, loader, labels, device, open_trunk)
    settled = settle(kept, *_answers(run, kept, asked, crossed))
    saved = learn_known(folder, settled.saved, dataset, asked, device)
    saved = write_settled(folder, kept, saved)
    values = np.concatenate([asked["train"].values, asked["validation"].values]) if labels else None
    return replace(settled, saved=saved), Predictor(folder, str(device)), values


def _answers(
    run: Run, kept: SavedModel, asked: Mapping[str, Asked], crossed: CrossValidation | None
) -> tuple[Classified, Classified | None]:
    """Give the answers to the pictures that are measured, and to those that a temperature is fitted on, without one.

    The latter is None where they are the same.
    """

    def of(half: str) -> Classified:
        samples = run.dataset.halves[half]
        images = [relative(sample.path, run.dataset.layout.root) for sample in samples]
        found = run.task.evaluation(run.dataset.classes, images, samples, asked[half].logits)
        return untempered(classified(found), kept)

    held = None if crossed is None else crossed.evaluation
    if run.dataset.test is None:
        return held or of("validation"), None
    return of("test"), held or of("validation")


def said(
    run: Run,
    state: State,
    evaluation: Evaluation,
    on: str,
    kept: int,
    why_not: str | None,
    more: Sequence[CrossValidation | Seeds | None],
) -> dict[str, Any]:
    """Say what the figures are worth: the mean around the kept epoch, and all notes and caveats."""
    recipe, metric = run.recipe, run.task.metric
    near = around(state.history, metric, kept) if on == "validation" and recipe.keep == "best" else None
    if len(run.dataset.validation) >= MANY_PICTURES:
        near = None  # a choice among so many is nearly unbiased, and the epochs around it may be truly worse
    notes = [*([why_not] if why_not else []), *run.dataset.notes, *run.record.resumed]
    # A caveat may be a note of these with the folder before it.
    notes += [caveat for caveat in caveats() if not any(note in caveat for note in notes)]
    said = (
        *(None if one is None else one.note for one in more),
        _chosen(evaluation, metric, on, state, kept, recipe, near),
        _no_better(metric, state, kept, recipe),
        _moved(recipe, state, run.record.pictures),
    )
    return {
        f"{metric.name}_around": None if near is None else near.value,
        "epochs_around": None if near is None else [near.first, near.last],
        "notes": [*notes, *filter(None, said)],
    }


def _chosen(
    evaluation: Evaluation, metric: Metric, on: str, state: State, kept: int, recipe: Recipe, near: Around | None
) -> str | None:
    """Say what the figure is worth where the epoch was chosen on the pictures that it is measured on."""
    if on != "validation" or recipe.keep != "best" or kept == 0 or state.epoch < 2:
        return None
    pictures = len(evaluation.images)
    advice = "a test/ folder beside validation/ gives a figure that nothing was chosen on."
    figure = metric.shown(evaluation.metrics[metric.name])
    if near is None or metric.shown(near.value) == figure:
        worth = "slightly optimistic" if near is None else f"epochs {near.first} to {near.last} have as much on average"
        return f"Epoch {kept} of {state.epoch} was chosen on these same {pictures} pictures: {worth}; {advice}"
    return (
        f"A fairer figure is {metric.shown(near.value)}, the mean of epochs {near.first} to {near.last} around the "
        f"kept one. The {figure} is that of epoch {kept}, which was chosen on these same {pictures} pictures; {advice}"
    )


def _no_better(metric: Metric, state: State, kept: int, recipe: Recipe) -> str | None:
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


def _moved(recipe: Recipe, state: State, pictures: int) -> str | None:
    """Say so where the clock made the run shorter or longer than its plan."""
    plan = stages(recipe, pictures)
    planned = plan[-1].steps / plan[-1].steps_per_epoch
    for done, end in state.ends:
        plan = move_end(plan, done, end)
    now = min(state.epoch, plan[-1].steps / plan[-1].steps_per_epoch)
    if recipe.minutes is None or f"{now:.1f}" == f"{planned:.1f}":
        return None
    why = (
        "The machine was slower than in the first seconds" if now < planned else "There was time for more than planned"
    )
    return f"{why}: {round(now, 1):g} instead of {round(planned, 1):g} epochs in {duration(60 * recipe.minutes)}."


def seconds_in_all(run: Path, state: State, since: float) -> float:
    """Return the time since the run was first started, without pauses; that of a measured run stays what it was."""
    measured = total_seconds(run) if state.finished else None
    return state.total_seconds + time.monotonic() - since if measured is None else measured
