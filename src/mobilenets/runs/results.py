"""What a run leaves when training has ended: figures, pictures and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
import warnings
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
from mobilenets.datasets.prepare import Prepared
from mobilenets.drawing.confusion import draw_confusions
from mobilenets.drawing.curves import draw_curves
from mobilenets.drawing.explain import explain_picture, has_places
from mobilenets.drawing.report import Report, write_report
from mobilenets.measure.cost import cost
from mobilenets.measure.evaluate import evaluate_samples
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.metrics import Evaluation
from mobilenets.models.saved import load_model
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.advice import Seen, next_steps
from mobilenets.runs.update import Source, compare_with_source
from mobilenets.training.checkpoint import State
from mobilenets.training.keep import MANY_PICTURES, Around, around
from mobilenets.training.recipe import Recipe

log = logging.getLogger("mobilenets")

SHOWN_PICTURES = 24
METRICS = "metrics.json"


def finish(
    run: Path,
    prepared: Prepared,
    teacher: Loader,
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
    on = "test" if prepared.test is not None else "validation"
    network = saved.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = dataclasses.replace(teacher, samples=prepared.measured, augment=None, mixup=0.0, cutmix=0.0)
    evaluation = evaluate_samples(network, pictures, prepared.classes, prepared.layout.root, device)
    explain = partial(explain_picture, network, saved.bundle.preprocessing)
    kept = state.best_epoch if recipe.keep == "best" else state.epoch
    costs = cost(saved.network.architecture, len(prepared.classes))
    near = around(state.history, kept) if on == "validation" and recipe.keep == "best" else None
    if len(prepared.validation) >= MANY_PICTURES:
        near = None  # a choice among so many is nearly unbiased, and the epochs around it may be truly worse
    why_not = saved.bundle.origin.get("why_not")
    notes = [*([why_not] if why_not else []), *prepared.notes]
    # A caveat may be a note of these with the folder before it.
    notes += [caveat for caveat in caveats() if not any(note in caveat for note in notes)]
    notes += [
        note for note in (_chosen(evaluation, on, state, kept, recipe, near), _before(state, kept, recipe)) if note
    ]
    renamed = record["data"].get("renamed", {})
    before = compare_with_source(source, renamed, prepared, evaluation, device, recipe.workers)
    steps = next_steps(
        Seen(
            recipe=recipe,
            history=state.history,
            kept=kept,
            train=record["data"]["train"],
            evaluation=evaluation,
            evaluated_on=on,
            scratch=saved.bundle.origin.get("weights") in ("random", "none"),
            side=_typical_side(prepared),
            data=record["data"]["folder"],
            run=str(run),
        )
    )
    total = _total_seconds(run, state, since)
    labels = saved.bundle.labels
    names = prepared.classes if labels is None else labels.shown(prepared.classes)
    metrics = evaluation.to_json() | {
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "total_seconds": total,
        "top1_around": None if near is None else near.top1,
        "epochs_around": None if near is None else [near.first, near.last],
        "weights": recipe.weights,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "notes": notes,
        "before": before,
        "seen_by_source": prepared.seen_by_source,
        "next_steps": steps,
    }
    draw_curves(state.history, run / "curves.png", kept)
    draw_confusions(evaluation, labels, run)
    data = record["data"]
    write_report(
        run / "report.html",
        Report(
            title=Path(data["folder"]).name,
            model={
                "name": costs.name,
                "width": costs.width,
                "size": costs.size,
                "parameters": costs.parameters,
                "macs": costs.macs,
                "weights_from": recipe.weights,
            },
            evaluation=evaluation,
            history=state.history,
            recipe=recipe.to_json(),
            data={
                "train": data["train"],
                "validation": data["test"] or data["validation"],
                "source": data["folder"],
                "fingerprint": data["fingerprint"],
                "left_out": prepared.problems,
            },
            hardware=record["hardware"],
            seconds=state.seconds,
            total_seconds=total,
            best_epoch=kept,
            batch=as_seen(teacher, names, recipe),
            versions=record["versions"],
            command=record["command"],
            notes=notes,
            next_steps=steps,
            labels=labels,
            root=prepared.layout.root,
            explain=explain if has_places(network.architecture) else None,
        ),
    )
    # Last, because it is what marks a run as measured.
    write_json(run / METRICS, metrics)
    low, high = evaluation.top1_interval
    log.info(
        "top-1 %.1f %% (95 %% interval %.1f to %.1f) on %d %s pictures%s, %s in all",
        100 * evaluation.top1,
        100 * low,
        100 * high,
        len(evaluation.images),
        on,
        "" if prepared.seen_by_source or prepared.copies else " never trained on",
        duration(total),
    )
    return {"run": str(run), "report": str(run / "report.html"), **metrics}


def _chosen(
    evaluation: Evaluation, on: str, state: State, kept: int, recipe: Recipe, near: Around | None
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
        f"A fairer figure is {100 * near.top1:.1f} %, the mean of epochs {near.first} to {near.last} around the "
        f"kept one. The {100 * evaluation.top1:.1f} % is that of epoch {kept}, which was chosen on these same "
        f"{pictures} pictures; {advice}"
    )


def _before(state: State, kept: int, recipe: Recipe) -> str | None:
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
    if state.finished and (run / METRICS).is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads((run / METRICS).read_bytes())["total_seconds"])
    return state.total_seconds + time.monotonic() - since


def _typical_side(prepared: Prepared) -> int | None:
    """Return the median shorter side of some training pictures, from their headers; None where none can be read."""
    sides = []
    with warnings.catch_warnings():
        # A header says the size, however large the picture: nothing is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for sample in prepared.train[:: max(1, len(prepared.train) // SHOWN_PICTURES)]:
            with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(sample.path) as one:
                sides.append(min(one.size))
    return int(median(sides)) if sides else None


def as_seen(teacher: Loader, classes: tuple[str, ...], recipe: Recipe) -> list[tuple[Image.Image, str]]:
    """Return some pictures of the first batch as the network sees them, with what it is told they are."""
    labels = [sample.label for sample in teacher.samples]
    first = shuffled(labels, recipe.batch, recipe.seed, 0, balanced=recipe.balance == "sampling")[0]
    # Pictures mix with partners drawn from the whole batch.
    batch = teacher.batch(first if recipe.mixup or recipe.cutmix else first[:SHOWN_PICTURES], 0, 0)
    pixels_of_all = _pixels(batch.images[:SHOWN_PICTURES], teacher.preprocessing)
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
