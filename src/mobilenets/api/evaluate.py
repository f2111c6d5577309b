"""``evaluate``: how good a model is on labelled pictures, with intervals."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mobilenets.data.folder import Folder, Sample, find_data, fingerprint, read_folder
from mobilenets.data.loader import Loader, default_workers
from mobilenets.data.readable import check_readable
from mobilenets.data.split import read_split
from mobilenets.errors import FaultFound, InputError
from mobilenets.measure.evaluate import evaluate_samples
from mobilenets.measure.groups import find_threshold, groups_to_json, sure_to_json
from mobilenets.measure.hardware import pick_device
from mobilenets.measure.plots import draw_confusion, draw_reliability
from mobilenets.models.saved import load_classifier
from mobilenets.runtime.bundle import find_bundle, write_bundle
from mobilenets.runtime.files import write_json

log = logging.getLogger("mobilenets")


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    accuracy: float | None = None,
) -> dict[str, Any]:
    """Measure a model on labelled pictures.

    DATA's ``test/`` is used where there is one, else its ``validation/``, else all its class folders. A run's own
    unsplit folder is measured on the pictures that the run held out, never on those it learned from. Labels are
    matched by class name.

    Where the model's classes have groups, ``groups`` says how often the group was right. ``accuracy``, a fraction,
    asks for the confidence from which on the answers given are right that often: it goes into ``model.json``, and
    ``predict`` says "not sure" below it.

    Returns the object of ``evaluate --json``; with ``out`` it is also written there as ``metrics.json``, beside
    ``confusion.png`` and ``reliability.png``. Pictures that cannot be read are listed under ``problems``. Raises
    ``InputError`` for a model or a folder that cannot be used, ``FaultFound`` when no confidence gives ``accuracy``.
    """
    if accuracy is not None and not 0 < accuracy <= 1:
        raise InputError(f"accuracy {accuracy:g}: give a fraction above 0 and up to 1, such as 0.95")
    place = pick_device(device)
    saved = load_classifier(Path(model))
    if out is not None:
        # Refused before the pictures are read, which may take minutes.
        _make_folder(Path(out))
    folder, which = pictures_to_measure(Path(model), Path(data), saved.bundle.classes)
    samples, unreadable = check_readable(folder.samples, default_workers())
    problems = [*folder.problems, *unreadable]
    for problem in problems:
        log.warning("%s: %s (%s)", problem.path, problem.detail, problem.kind.replace("_", " "))
    if not samples:
        raise InputError(f"{data}: no readable picture to measure on")
    network = saved.network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader = Loader(samples, len(saved.bundle.classes), saved.bundle.preprocessing)
    evaluation = evaluate_samples(network, loader, saved.bundle.classes, folder.root, place)
    labels, threshold = saved.bundle.labels, saved.bundle.threshold
    if accuracy is not None:
        threshold = find_threshold(evaluation, accuracy)
        if threshold is None:
            raise FaultFound(
                f"not even its surest answers are right in {accuracy:.1%} of the cases: ask for less, or train further"
            )
        write_bundle(find_bundle(Path(model)), replace(saved.bundle, threshold=threshold))
    result = evaluation.to_json() | {
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "sure": None if threshold is None else sure_to_json(evaluation, threshold),
        "evaluated_on": which,
        "problems": [{"kind": p.kind, "path": p.path, "detail": p.detail} for p in problems],
    }
    if out is not None:
        draw_confusion(evaluation.confusion, evaluation.classes, Path(out) / "confusion.png")
        draw_reliability(evaluation, Path(out) / "reliability.png")
        write_json(Path(out) / "metrics.json", result)
    return result


def pictures_to_measure(model: Path, data: Path, classes: tuple[str, ...]) -> tuple[Folder, str]:
    """Return the pictures that a figure may honestly be taken on, and what they are called."""
    layout = find_data(data)
    if layout.test is not None:
        return read_folder(layout.test, classes), "test"
    if layout.validation is not None:
        return read_folder(layout.validation, classes), "validation"
    held_out = _held_out(find_bundle(model), layout.root, classes)
    if held_out is None:
        folder = read_folder(layout.train, classes)
        log.info("measuring on all pictures there; any that the model learned from would flatter the figure")
        return folder, "all"
    log.info("this is the folder that the model learned from: measuring on the %d held out", len(held_out))
    return Folder(layout.root, classes, held_out, ()), "validation"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: no folder can be written there ({error.strerror}); give another --out") from error


def _held_out(run: Path, root: Path, classes: tuple[str, ...]) -> tuple[Sample, ...] | None:
    """Return what a run held out of these pictures, wherever they lie now; None where they are not the run's."""
    try:
        record = json.loads((run / "recipe.json").read_bytes())["data"]
        folder, mark = record["folder"], record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same_place = folder == str(root.resolve())
    try:
        halves = read_split(run / "split.csv", root, classes)
        if same_place or fingerprint([*halves.train, *halves.validation], root) == mark:
            return halves.validation
    except InputError:
        if same_place:
            raise
    return None
