"""What a classifier's run shows beside its figures: confusions, advice and ``report.html``."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.datasets.loader import Loader, shuffled
from mobilenets.datasets.prepare import Prepared
from mobilenets.drawing.confusion import draw_confusions
from mobilenets.drawing.explain import explain_picture
from mobilenets.drawing.report import Report, write_report
from mobilenets.measure.cost import Cost
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.metrics import Evaluation
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.advice import Seen, next_steps
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.update import Source, compare_with_source
from mobilenets.training.checkpoint import State
from mobilenets.training.recipe import Recipe

SHOWN_PICTURES = 24


@dataclass(frozen=True)
class Finished:
    """A run that has been trained: ``kept`` is the epoch of its model, ``on`` the half that it is measured on.

    ``total`` counts the seconds since the run was first started. ``source`` is the model that it began with.
    """

    run: Path
    prepared: Prepared
    train_loader: Loader
    recipe: Recipe
    record: dict[str, Any]
    state: State
    kept: int
    on: str
    predictor: Predictor
    costs: Cost
    notes: list[str]
    total: float
    device: torch.device
    source: Source | None


def write_class_report(finished: Finished, evaluation: Evaluation) -> dict[str, Any]:
    """Write confusions and report into the run; returns the entries of ``metrics.json`` that only classifiers have."""
    run, prepared, recipe, data = finished.run, finished.prepared, finished.recipe, finished.record["data"]
    bundle, costs = finished.predictor.bundle, finished.costs
    labels = bundle.labels
    steps = _advice(finished, evaluation)
    draw_confusions(evaluation, labels, run)
    names = prepared.classes if labels is None else labels.shown(prepared.classes)
    explains = finished.predictor.file is not None and finished.predictor.file.evidence
    report = Report(
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
        history=finished.state.history,
        recipe=recipe.to_json(),
        data={
            "train": data["train"],
            "validation": data["test"] or data["validation"],
            "source": data["folder"],
            "fingerprint": data["fingerprint"],
            "left_out": prepared.problems,
        },
        hardware=finished.record["hardware"],
        seconds=finished.state.seconds,
        total_seconds=finished.total,
        best_epoch=finished.kept,
        batch=as_seen(finished.train_loader, names, recipe),
        versions=finished.record["versions"],
        command=finished.record["command"],
        notes=finished.notes,
        next_steps=steps,
        labels=labels,
        root=prepared.layout.root,
        explain=partial(explain_picture, finished.predictor) if explains else None,
    )
    write_report(run / "report.html", report)
    renamed = data.get("renamed", {})
    return {
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "before": compare_with_source(finished.source, renamed, prepared, evaluation, finished.device, recipe.workers),
        "next_steps": steps,
    }


def _advice(finished: Finished, evaluation: Evaluation) -> list[str]:
    data = finished.record["data"]
    return next_steps(
        Seen(
            recipe=finished.recipe,
            history=finished.state.history,
            kept=finished.kept,
            train=data["train"],
            evaluation=evaluation,
            evaluated_on=finished.on,
            scratch=finished.predictor.bundle.origin.get("weights") in ("random", "none"),
            side=_typical_side(finished.prepared),
            data=data["folder"],
            run=str(finished.run),
        )
    )


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
