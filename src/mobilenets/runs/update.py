"""A model trained further on more pictures: what its source had seen, and which of the two is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilenets.base.notes import log
from mobilenets.base.text import percent
from mobilenets.datasets.folder import Sample, content_hashes
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import FaultFound, InputError
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import paired_interval
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import CLASSIFICATION, DESCRIPTION, WEIGHTS, find_bundle, read_bundle
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.training.recipe import AUTO
from mobilenets.weights.start import NAMED


@dataclass(frozen=True)
class Source:
    """The mobilenets model that a run starts from: its folder, its classes, what it saw (None if unknown)."""

    folder: Path
    classes: tuple[str, ...]
    seen: SeenPictures | None


def find_source(weights: str) -> Source | None:
    """Return the model that ``--weights`` names, None for published weights, foreign files and none."""
    path = Path(weights)
    if weights in (AUTO, *NAMED) or not (path.is_dir() or path.name in (WEIGHTS, DESCRIPTION)):
        return None
    try:
        folder = find_bundle(path)
        classes = read_bundle(folder).classes
    except InputError:
        return None  # said where the weights are opened, or gone since the run began
    return Source(folder, classes, read_seen(folder))


def renamed_classes(source: Source | None, dataset: Dataset) -> dict[str, str]:
    """Give the source's name of each class that DATA calls otherwise, as far as the pictures tell."""
    if source is None or source.seen is None:
        return {}
    samples = [sample for half in dataset.halves.values() for sample in half]
    found = source.seen.renamed(samples, dataset.contents, dataset.classes)
    return {name: old for name, old in found.items() if old in source.classes}


def source_notes(source: Source | None, dataset: Dataset, renamed: Mapping[str, str]) -> list[str]:
    """Say how DATA's classes differ from the source's, and what the source had seen of the pictures measured on."""
    if source is None or not source.classes:
        return []
    kept = {renamed.get(name, name) for name in dataset.classes}
    if kept.isdisjoint(source.classes):
        return []  # another task: nothing to compare
    notes = [f"class {old} is now called {name}: its pictures are those of {old}" for name, old in renamed.items()]
    new = [name for name in dataset.classes if renamed.get(name, name) not in source.classes]
    gone = [name for name in source.classes if name not in kept]
    if new:
        notes.append(f"new classes: {', '.join(new)}; the classifier's weights for the others were kept")
    if gone:
        notes.append(
            f"DATA has no pictures of {', '.join(gone)}, which the model knew: the new model does not have "
            "these classes"
        )
    if source.seen is None:
        notes.append(
            f"{source.folder} does not say which pictures it was trained on: if some of them are among the "
            f"{len(dataset.measured)} measured on, the figures are too high"
        )
    elif not source.seen.pictures.keys() & set(dataset.contents.values()):
        notes.append(
            "none of the pictures that the model was trained on are in DATA: it may forget them; put old and new "
            "pictures into one folder"
        )
    return [*notes, *notes_on_seen(dataset, source)]


def notes_on_seen(dataset: Dataset, source: Source | None) -> list[str]:
    """Say so where the model that a run starts from learned from pictures that are measured on."""
    if source is None or source.seen is None:
        return []
    seen, count = len(source.seen.sides(dataset.measured, dataset.contents)[0]), len(dataset.measured)
    if not seen:
        return []
    return [
        f"{seen} of the {count} pictures measured on were already training pictures of the model it started from "
        f"({percent(seen / count)}): the figures are too high"
    ]


def compare_with_source(
    source: Source | None,
    renamed: Mapping[str, str],
    dataset: Dataset,
    evaluation: Evaluation,
    device: torch.device,
    workers: int | None,
) -> dict[str, Any] | None:
    """Measure the source on the pictures of ``evaluation`` that it can be right about and did not learn from.

    Returns ``images``, ``top1`` of the source, ``top1_now``, ``change``, its 95 % ``change_interval``, and the
    ``classes`` compared on; None where there is no such source or picture.
    """
    if source is None:
        return None
    named = {name: renamed.get(name, name) for name in dataset.classes}
    places = {name: source.classes.index(old) for name, old in named.items() if old in source.classes}
    contents = dataset.contents
    if not contents and source.seen is not None:  # a run that was taken up again
        contents = content_hashes([sample.path for sample in dataset.measured])
    chosen = [
        index
        for index, sample in enumerate(dataset.measured)
        if dataset.classes[sample.label] in places
        and not (source.seen is not None and source.seen.learned(contents[sample.path]))
    ]
    if not chosen:
        return None
    try:
        predictor = Predictor(source.folder, str(device))
    except InputError as error:  # hours may lie between
        log.warning("the model that training started from is not compared: %s", error)
        return None
    if predictor.bundle.task != CLASSIFICATION:
        return None
    samples = [
        Sample(dataset.measured[index].path, places[dataset.classes[dataset.measured[index].label]]) for index in chosen
    ]
    try:
        [measured] = evaluate_predictors([predictor], samples, dataset.layout.root, workers=workers)
        was = classified(measured).ranks == 0
    except FaultFound:
        log.warning("the model that training started from is not compared: its output is not finite")
        return None
    now = evaluation.ranks[chosen] == 0
    both, lost, gained = int((was & now).sum()), int((was & ~now).sum()), int((~was & now).sum())
    low, high = paired_interval(both, lost, gained, len(chosen) - both - lost - gained)
    return {
        "model": str(source.folder),
        "images": len(chosen),
        "top1": float(np.mean(was)),
        "top1_now": float(np.mean(now)),
        "change": (gained - lost) / len(chosen),
        "change_interval": [low, high],
        "gained": gained,
        "lost": lost,
        "classes": list(places),
    }
