"""What a run leaves when training has ended: figures, pictures and the report."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.data.loader import Loader, shuffled
from mobilenets.data.prepare import Prepared
from mobilenets.measure.cost import cost
from mobilenets.measure.evaluate import evaluate_samples
from mobilenets.measure.explain import explain_picture, has_places
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.plots import draw_confusions, draw_curves
from mobilenets.measure.report import Report, write_report
from mobilenets.models.saved import load_model
from mobilenets.runtime.files import write_json
from mobilenets.runtime.preprocess import Preprocessing
from mobilenets.runtime.progress import duration
from mobilenets.training.checkpoint import State
from mobilenets.training.recipe import Recipe

log = logging.getLogger("mobilenets")

SHOWN_PICTURES = 24


def finish(
    run: Path,
    prepared: Prepared,
    teacher: Loader,
    recipe: Recipe,
    record: dict[str, Any],
    state: State,
    device: torch.device,
) -> dict[str, Any]:
    """Measure the model that was kept, as anyone would who loads it from the disk, and write it all down."""
    saved = load_model(run)
    on = "test" if prepared.test is not None else "validation"
    network = saved.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = dataclasses.replace(teacher, samples=prepared.measured, augment=None, mixup=0.0, cutmix=0.0)
    evaluation = evaluate_samples(network, pictures, prepared.classes, prepared.layout.root, device)
    explain = partial(explain_picture, network, saved.bundle.preprocessing)
    kept = state.best_epoch if recipe.keep == "best" else state.epoch
    costs = cost(saved.network.architecture, len(prepared.classes))
    notes = [saved.bundle.origin["why_not"]] if "why_not" in saved.bundle.origin else []
    if on == "validation" and recipe.keep == "best" and state.epoch > 1:
        notes.append(
            f"Epoch {kept} of {state.epoch} was chosen by its top-1 on these same pictures, so the figure leans a "
            "little to the bright side; a test/ folder beside validation/ gives one that does not."
        )
    worse = _worse_than_before(state, kept, recipe)
    if worse is not None:
        notes.append(worse)
    labels = saved.bundle.labels
    names = prepared.classes if labels is None else labels.shown(prepared.classes)
    metrics = evaluation.to_json() | {
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "weights": recipe.weights,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "notes": notes,
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
            best_epoch=kept,
            batch=as_seen(teacher, names, recipe),
            versions=record["versions"],
            command=record["command"],
            notes=notes,
            labels=labels,
            root=prepared.layout.root,
            explain=explain if has_places(network.architecture) else None,
        ),
    )
    # Last, because it is what marks a run as measured.
    write_json(run / "metrics.json", metrics)
    low, high = evaluation.top1_interval
    log.info(
        "top-1 %.1f %% (95 %% interval %.1f to %.1f) on %d %s pictures never trained on, after %s of training",
        100 * evaluation.top1,
        100 * low,
        100 * high,
        len(evaluation.images),
        on,
        duration(state.seconds),
    )
    return {"run": str(run), "report": str(run / "report.html"), **metrics}


def _worse_than_before(state: State, kept: int, recipe: Recipe) -> str | None:
    """Say so when the kept epoch does worse on the validation pictures than the model that training started from."""
    after = state.history[kept - 1]["validation_top1"]
    if state.before is None or after >= state.before:
        return None
    freeze = "" if recipe.freeze == "backbone" else f", or more frozen blocks than --freeze {recipe.freeze}"
    return (
        f"Training made the model worse: validation top-1 {100 * state.before:.1f} % before it, {100 * after:.1f} % at "
        f"the kept epoch {kept}. Try a lower --lr than {recipe.lr:g}, such as {recipe.lr / 10:.3g}{freeze}."
    )


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
