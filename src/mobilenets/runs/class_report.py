"""What a classifier's run shows beside its figures: confusions, advice and ``report.html``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.base.text import percent
from mobilenets.datasets.loader import Loader, shards_of, shuffled
from mobilenets.datasets.sides import typical_side
from mobilenets.drawing.explain import explain_picture
from mobilenets.drawing.report import Report, draw_figures, write_report
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.metrics import Evaluation
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.advice import Outcome, next_steps
from mobilenets.runs.begin import Run
from mobilenets.runs.calibrating import Settled
from mobilenets.runs.folds import CROSSED
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.suspects import Suspects
from mobilenets.runs.update import compare_with_source
from mobilenets.training.checkpoint import State
from mobilenets.training.recipe import Recipe

SHOWN_PICTURES = 24


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that has been trained.

    ``kept`` is the epoch of its model, ``on`` the half that it is measured on, ``settled`` the model with its
    temperature, which answers as ``predictor``, ``figures`` what ``metrics.json`` says of any task.
    """

    run: Run
    train_loader: Loader
    state: State
    kept: int
    on: str
    settled: Settled
    predictor: Predictor
    figures: Mapping[str, Any]


def write_class_report(
    finished: Finished,
    evaluation: Evaluation,
    find: Callable[[], Suspects | None],
    device: torch.device,
) -> dict[str, Any]:
    """Write figures and report into the run; returns the entries of ``metrics.json`` that only classifiers have.

    ``find`` finds the labels that look wrong.
    """
    run, bundle = finished.run, finished.predictor.bundle
    data, labels = run.record.data, bundle.labels
    draft = _report(finished, evaluation)
    # Matplotlib holds Python's lock and PyTorch does not, so both go on at once.
    with ThreadPoolExecutor(1) as beside:
        drawn = beside.submit(draw_figures, draft, run.folder)
        suspects = find()
    wrong = None if suspects is None else suspects.to_json()
    steps = next_steps(
        Outcome(
            recipe=run.recipe,
            history=finished.state.history,
            kept=finished.kept,
            train=data.train,
            evaluation=evaluation,
            evaluated_on=finished.on,
            scratch=bundle.origin.get("weights") in ("random", "none"),
            side=typical_side(run.dataset.train),
            data=data.folder,
            run=str(run.folder),
            wrong_labels=wrong,
        )
    )
    shown = () if wrong is None else wrong["suspects"]
    report = replace(draft, next_steps=steps, suspects=shown, figures=drawn.result())
    write_report(run.folder / "report.html", report)
    return {
        "wrong_labels": wrong,
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "before": compare_with_source(run.source, data.renamed, run.dataset, evaluation, device, run.recipe.workers),
        "next_steps": steps,
    }


def _report(finished: Finished, evaluation: Evaluation) -> Report:
    run, figures = finished.run, finished.figures
    data, dataset, architecture = run.record.data, run.dataset, run.network.architecture
    file, labels = finished.predictor.file, finished.predictor.bundle.labels
    names = dataset.classes if labels is None else labels.shown(dataset.classes)
    explained = file is not None and file.evidence and finished.on != CROSSED
    return Report(
        title=Path(data.folder).name,
        model={
            "name": architecture.name,
            "width": architecture.width,
            "size": architecture.size,
            "parameters": figures["parameters"],
            "macs": figures["macs"],
            "weights_from": run.recipe.weights,
        },
        evaluation=evaluation,
        history=finished.state.history,
        recipe=settings_shown(run.recipe),
        data={
            "train": data.train,
            "validation": data.train if finished.on == CROSSED else data.test or data.validation,
            "source": data.folder,
            "fingerprint": data.fingerprint,
            "left_out": dataset.problems,
        },
        hardware=run.record.hardware,
        seconds=figures["seconds"],
        total_seconds=figures["total_seconds"],
        best_epoch=finished.kept,
        batch=as_seen(finished.train_loader, names, run.recipe),
        versions=run.record.versions,
        command=run.record.command,
        notes=figures["notes"],
        labels=labels,
        root=dataset.layout.root,
        calibration=figures.get("calibration", {}),
        reliability=(finished.settled.before, finished.settled.after),
        cross_validation=figures["cross_validation"],
        crossed=finished.on == CROSSED,
        seeds=figures["seeds"],
        taught_by=" and ".join(one["words"] for one in run.record.teaching.get("teachers", ())),
        # Of an answer of another model, that of a fold, this one has nothing to show.
        explain=partial(explain_picture, finished.predictor) if explained else None,
    )


def settings_shown(recipe: Recipe) -> dict[str, Any]:
    """Give the settings as the report shows them: of fixes only how many there are."""
    settings = recipe.to_json()
    return settings | ({"fixes": f"{len(recipe.fixes)} pictures"} if isinstance(recipe.fixes, list) else {})


def as_seen(train_loader: Loader, classes: tuple[str, ...], recipe: Recipe) -> list[tuple[Image.Image, str]]:
    """Return some pictures of the first batch as the network sees them, with what it is told they are."""
    labels = [sample.label for sample in train_loader.samples]
    shards = shards_of(train_loader.samples)
    first = shuffled(labels, recipe.batch, recipe.seed, 0, balanced=recipe.balance == "sampling", shards=shards)[0]
    # Pictures mix with partners drawn from the whole batch.
    batch = train_loader.batch(first if recipe.mixup or recipe.cutmix else first[:SHOWN_PICTURES], 0, 0)
    pixels_of_all = pixels_of(batch.images[:SHOWN_PICTURES], train_loader.preprocessing)
    shown = []
    for pixels, target in zip(pixels_of_all, batch.targets[:SHOWN_PICTURES], strict=True):
        told = [(share, classes[index]) for index, share in enumerate(target) if share > 0.005]
        words = [name if share > 0.995 else f"{name} {percent(share, 0)}" for share, name in sorted(told, reverse=True)]
        shown.append((Image.fromarray(pixels), " + ".join(words)))
    return shown


def pixels_of(images: Any, preprocessing: Preprocessing) -> Any:
    """Undo the normalisation."""
    values = (images * preprocessing.std + preprocessing.mean) / preprocessing.scale
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
