"""What a run leaves when training has ended: figures, pictures and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.base.files import write_json
from mobilenets.base.notes import caveats
from mobilenets.base.progress import duration
from mobilenets.datasets.loader import Loader, shuffled
from mobilenets.datasets.prepare import Dataset
from mobilenets.drawing.confusion import draw_confusions
from mobilenets.drawing.curves import draw_curves
from mobilenets.drawing.explain import explain_picture, has_places
from mobilenets.drawing.report import Report, write_report
from mobilenets.measure.cost import cost
from mobilenets.measure.evaluate import evaluate_samples
from mobilenets.measure.groups import groups_to_json
from mobilenets.models.saved import load_model
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.advice import Outcome, next_steps
from mobilenets.runs.begin import Run
from mobilenets.runs.record import METRICS, total_seconds
from mobilenets.runs.update import compare_with_source
from mobilenets.runtime.labels import Labels
from mobilenets.training.checkpoint import State
from mobilenets.training.keep import MANY_PICTURES, Around, around
from mobilenets.training.recipe import Recipe

log = logging.getLogger("mobilenets")

SHOWN_PICTURES = 24


def finish(run: Run, train_loader: Loader, state: State, device: torch.device, since: float) -> dict[str, Any]:
    """Measure the model that was kept, as anyone would who loads it from the disk, and write it all down.

    ``since`` is the moment, by ``time.monotonic``, up to which the state counts the time. Returns the content of
    ``metrics.json``, with the places of the run and of its report.
    """
    folder, recipe, dataset = run.folder, run.recipe, run.dataset
    saved = load_model(folder)
    network = saved.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = dataclasses.replace(train_loader, samples=dataset.measured, augment=None, mixup=0.0, cutmix=0.0)
    evaluation = evaluate_samples(network, pictures, dataset.classes, dataset.layout.root, device)
    outcome = Outcome(
        recipe=recipe,
        history=state.history,
        kept=state.best_epoch if recipe.keep == "best" else state.epoch,
        train=run.record.data.train,
        evaluation=evaluation,
        evaluated_on="validation" if dataset.test is None else "test",
        scratch=saved.bundle.origin.get("weights") in ("random", "none"),
        side=_typical_side(dataset),
        data=run.record.data.folder,
        run=str(folder),
    )
    renamed = run.record.data.renamed
    before = compare_with_source(run.source, renamed, dataset, evaluation, device, recipe.workers)
    labels = saved.bundle.labels
    metrics = (
        evaluation.to_json()
        | {"groups": None if labels is None else groups_to_json(evaluation, labels)}
        | _figures(run, outcome, state, _total_seconds(folder, state, since), saved.bundle.origin.get("why_not"))
        | {"before": before, "seen_by_source": dataset.seen_by_source, "next_steps": next_steps(outcome)}
    )
    draw_curves(state.history, folder / "curves.png", outcome.kept)
    draw_confusions(evaluation, labels, folder)
    explain = partial(explain_picture, network, saved.bundle.preprocessing)
    report = _report(run, outcome, metrics, labels, as_seen(train_loader, _shown(dataset, labels), recipe))
    if has_places(network.architecture):
        report = dataclasses.replace(report, explain=explain)
    write_report(folder / "report.html", report)
    # Last, because it is what marks a run as measured.
    write_json(folder / METRICS, metrics)
    _say(outcome, metrics["total_seconds"], never=not (dataset.seen_by_source or dataset.copies))
    return {"run": str(folder), "report": str(folder / "report.html"), **metrics}


def _figures(run: Run, outcome: Outcome, state: State, total: float, why_not: str | None) -> dict[str, Any]:
    """Give what ``metrics.json`` says of the training beside the evaluation."""
    recipe, kept, on = run.recipe, outcome.kept, outcome.evaluated_on
    near = around(state.history, run.task.metric, kept) if on == "validation" and recipe.keep == "best" else None
    if len(run.dataset.validation) >= MANY_PICTURES:
        near = None  # a choice among so many is nearly unbiased, and the epochs around it may be truly worse
    notes = [*([why_not] if why_not else []), *run.dataset.notes]
    # A caveat may be a note of these with the folder before it.
    notes += [caveat for caveat in caveats() if not any(note in caveat for note in notes)]
    notes += [note for note in (_chosen(outcome, state, near), _no_better(state, kept, recipe)) if note]
    costs = cost(run.network.architecture, len(run.dataset.classes))
    return {
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "total_seconds": total,
        "top1_around": None if near is None else near.value,
        "epochs_around": None if near is None else [near.first, near.last],
        "weights": recipe.weights,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "notes": notes,
    }


def _report(
    run: Run,
    outcome: Outcome,
    metrics: Mapping[str, Any],
    labels: Labels | None,
    batch: Sequence[tuple[Image.Image, str]],
) -> Report:
    architecture, data = run.network.architecture, run.record.data
    return Report(
        title=Path(data.folder).name,
        model={
            "name": architecture.name,
            "width": architecture.width,
            "size": architecture.size,
            "parameters": metrics["parameters"],
            "macs": metrics["macs"],
            "weights_from": run.recipe.weights,
        },
        evaluation=outcome.evaluation,
        history=outcome.history,
        recipe=run.recipe.to_json(),
        data={
            "train": data.train,
            "validation": data.test or data.validation,
            "source": data.folder,
            "fingerprint": data.fingerprint,
            "left_out": run.dataset.problems,
        },
        hardware=run.record.hardware,
        seconds=metrics["seconds"],
        total_seconds=metrics["total_seconds"],
        best_epoch=outcome.kept,
        batch=batch,
        versions=run.record.versions,
        command=run.record.command,
        notes=metrics["notes"],
        next_steps=metrics["next_steps"],
        labels=labels,
        root=run.dataset.layout.root,
    )


def _shown(dataset: Dataset, labels: Labels | None) -> tuple[str, ...]:
    """Give the names of the classes as people know them."""
    return tuple(dataset.classes if labels is None else labels.shown(dataset.classes))


def _say(outcome: Outcome, seconds: float, *, never: bool) -> None:
    """Log the figure; ``never``: it is on pictures never trained on."""
    evaluation = outcome.evaluation
    low, high = evaluation.top1_interval
    log.info(
        "top-1 %.1f %% (95 %% interval %.1f to %.1f) on %d %s pictures%s, %s in all",
        *(100 * evaluation.top1, 100 * low, 100 * high, len(evaluation.images), outcome.evaluated_on),
        " never trained on" if never else "",
        duration(seconds),
    )


def _chosen(outcome: Outcome, state: State, near: Around | None) -> str | None:
    """Say what the figure is worth where the epoch was chosen on the pictures that it is measured on."""
    kept, evaluation = outcome.kept, outcome.evaluation
    if outcome.evaluated_on != "validation" or outcome.recipe.keep != "best" or kept == 0 or state.epoch < 2:
        return None
    pictures = len(evaluation.images)
    advice = "a test/ folder beside validation/ gives a figure that nothing was chosen on."
    if near is None:
        return (
            f"Epoch {kept} of {state.epoch} was chosen on these same {pictures} pictures: slightly optimistic; {advice}"
        )
    return (
        f"A fairer figure is {100 * near.value:.1f} %, the mean of epochs {near.first} to {near.last} around the "
        f"kept one. The {100 * evaluation.top1:.1f} % is that of epoch {kept}, which was chosen on these same "
        f"{pictures} pictures; {advice}"
    )


def _no_better(state: State, kept: int, recipe: Recipe) -> str | None:
    """Say so where training did not better the model that it started from, or made it worse."""
    if state.before is None:
        return None
    freeze = "" if recipe.freeze == "backbone" else f", or more frozen blocks than --freeze {recipe.freeze}"
    way = f"Try a lower --lr than {recipe.lr:g}, such as {recipe.lr / 10:.3g}{freeze}."
    if kept == 0:
        best = max(row["validation_top1"] for row in state.history)
        return (
            f"The weights that training started from were kept unchanged (epoch 0): they reach "
            f"{100 * state.before:.1f} % on the validation pictures, and no epoch of this training did as well (the "
            f"best reached {100 * best:.1f} %). {way}"
        )
    after = state.history[kept - 1]["validation_top1"]
    if recipe.keep == "best" or after >= state.before:
        return None
    return (
        f"Training made the model worse: validation top-1 {100 * state.before:.1f} % before it, {100 * after:.1f} % at "
        f"the kept epoch {kept}. {way}"
    )


def _total_seconds(run: Path, state: State, since: float) -> float:
    """Return the time since the run was first started, without pauses; that of a measured run stays what it was."""
    measured = total_seconds(run) if state.finished else None
    return state.total_seconds + time.monotonic() - since if measured is None else measured


def _typical_side(dataset: Dataset) -> int | None:
    """Return the median shorter side of some training pictures, from their headers; None where none can be read."""
    sides = []
    with warnings.catch_warnings():
        # A header says the size, however large the picture: nothing is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for sample in dataset.train[:: max(1, len(dataset.train) // SHOWN_PICTURES)]:
            with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(sample.path) as one:
                sides.append(min(one.size))
    return int(median(sides)) if sides else None


def as_seen(train_loader: Loader, classes: tuple[str, ...], recipe: Recipe) -> list[tuple[Image.Image, str]]:
    """Return some pictures of the first batch as the network sees them, with what it is told they are."""
    labels = [sample.label for sample in train_loader.samples]
    first = shuffled(labels, recipe.batch, recipe.seed, 0, balanced=recipe.balance == "sampling")[0]
    # Pictures mix with partners drawn from the whole batch.
    batch = train_loader.batch(first if recipe.mixup or recipe.cutmix else first[:SHOWN_PICTURES], 0, 0)
    pixels_of_all = _pixels(batch.images[:SHOWN_PICTURES], train_loader.preprocessing)
    shown = []
    for pixels, target in zip(pixels_of_all, batch.targets[:SHOWN_PICTURES], strict=True):
        told = [(share, classes[index]) for index, share in enumerate(target) if share > 0.005]
        words = [name if share > 0.995 else f"{name} {share:.0%}" for share, name in sorted(told, reverse=True)]
        shown.append((Image.fromarray(pixels), " + ".join(words)))
    return shown


def _pixels(images: Any, preprocessing: Preprocessing) -> Any:
    """Undo the normalisation."""
    values = (images * preprocessing.std + preprocessing.mean) / preprocessing.scale
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
