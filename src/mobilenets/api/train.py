"""``train``: from DATA to a run folder that holds a measured model and all that led to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.data.folder import Problem
from mobilenets.data.loader import Loader, shuffled
from mobilenets.data.prepare import Prepared, counts, prepare, prepare_again
from mobilenets.data.presets import build
from mobilenets.data.split import write_split
from mobilenets.errors import InputError
from mobilenets.measure.cost import cost
from mobilenets.measure.evaluate import evaluate_samples
from mobilenets.measure.hardware import hardware, pick_device, versions
from mobilenets.measure.plots import draw_confusion, draw_curves
from mobilenets.measure.report import Report, write_report
from mobilenets.models.network import Network
from mobilenets.models.saved import load_model
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.runtime.files import write_json
from mobilenets.runtime.preprocess import Preprocessing
from mobilenets.runtime.progress import duration
from mobilenets.training.checkpoint import State
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe, find_recipe
from mobilenets.training.start import follow, fresh_network, frozen_parts, preprocessing_of, read_weights

log = logging.getLogger("mobilenets")

RECIPE = "recipe.json"
SPLIT = "split.csv"
SHOWN_PICTURES = 24


def train(
    data: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a network on a folder of labelled pictures and measure it on pictures never trained on.

    Parameters
    ----------
    data:
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder a class.
    out:
        The run folder to write.
    recipe:
        A ``Recipe``, the name of one (``photos``, ``keras-cifar100``, …), or a ``recipe.json``.
    resume:
        Go on with the run in ``out``, to the same weights as if it had never stopped.
    **settings:
        Settings of the recipe to change, such as ``epochs=10``.

    Returns the content of ``metrics.json``. Raises ``InputError`` for data or settings that cannot be used,
    ``FaultFound`` when the loss is not finite, and ``KeyboardInterrupt`` on Ctrl-C, with everything done so far in
    ``out``.

    """
    data, run = Path(data), Path(out)
    if resume and (run / RECIPE).is_file():
        chosen, prepared, record = _begun(data, run, settings)
    else:
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run} is not empty: go on with it by --resume, or give another --out")
        chosen, prepared, record = load_recipe(recipe).replace(**settings), None, None
    device = pick_device(chosen.device)
    with _threads(chosen.threads):
        saved = read_weights(chosen)
        if saved is not None and record is None:
            given = set(settings) | _stated(recipe)
            chosen = follow(chosen, saved, given)
        preprocessing = preprocessing_of(chosen, saved)
        augment = build(chosen.augment, preprocessing)
        # Refused before the pictures are read, which may take minutes.
        frozen_parts(fresh_network(chosen, ("one", "two"), saved)[0], chosen.freeze)
        if prepared is None:
            prepared = prepare(
                data,
                share=chosen.validation_share,
                seed=chosen.seed,
                max_unreadable=chosen.max_unreadable,
                workers=chosen.workers,
            )
        network, origin = fresh_network(chosen, prepared.classes, saved)
        bundle = Bundle(network.architecture.to_json(), prepared.classes, preprocessing, origin)
        if record is None:
            record = _record(data, run, chosen, prepared, device)
            write_split(run / SPLIT, prepared.layout.root, prepared.classes, prepared.train, prepared.validation)
            write_bundle(run, bundle)
            # Last, because it is what marks a run as begun.
            write_json(run / RECIPE, record)
        validation = Loader(prepared.validation, len(prepared.classes), preprocessing, workers=chosen.workers)
        teacher = dataclasses.replace(
            validation,
            samples=prepared.train,
            augment=augment,
            mixup=chosen.mixup,
            cutmix=chosen.cutmix,
            seed=chosen.seed,
        )
        training = Training(
            network,
            chosen,
            teacher,
            validation,
            prepared.classes,
            prepared.layout.root,
            run,
            device,
            frozen_parts(network, chosen.freeze),
        )
        log.info(_announcement(network, prepared, training, record["hardware"]))
        state = training.fit()
        return _finish(run, prepared, teacher, chosen, record, state, device)


def load_recipe(recipe: Recipe | str | Path | None) -> Recipe:
    """Return a recipe given as itself, by name, or as a ``recipe.json``; None is the one for photos."""
    if recipe is None:
        return find_recipe("photos")
    if isinstance(recipe, Recipe):
        return recipe
    path = Path(recipe)
    if not path.is_file():
        return find_recipe(str(recipe))
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a recipe; give a recipe.json of a run") from error
    return Recipe.from_json(value.get("recipe", value) if isinstance(value, dict) else value)


def _stated(recipe: Recipe | str | Path | None) -> set[str]:
    """Name the settings that a recipe states: for a recipe given whole, those that differ from the defaults."""
    chosen, default = load_recipe(recipe), Recipe()
    return {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(chosen, field.name) != getattr(default, field.name)
    }


def _begun(data: Path, run: Path, settings: dict[str, Any]) -> tuple[Recipe, Prepared, dict[str, Any]]:
    """Take up a run: its recipe, its pictures, its record."""
    try:
        record = json.loads((run / RECIPE).read_bytes())
        recipe = Recipe.from_json(record["recipe"])
        seen = record["data"]
        classes = tuple(seen["classes"])
        problems = [Problem(**problem) for problem in seen["problems"]]
        mark = seen["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run / RECIPE}: damaged; train again into another folder") from error
    changed = [
        name
        for name, value in settings.items()
        if getattr(recipe.replace(**{name: value}), name) != getattr(recipe, name)
    ]
    if changed:
        raise InputError(f"--resume goes on with the run's own recipe: leave --{changed[0].replace('_', '-')} out")
    return recipe, prepare_again(data, run / SPLIT, classes, mark, problems, recipe.workers), record


def _record(data: Path, run: Path, recipe: Recipe, prepared: Prepared, device: torch.device) -> dict[str, Any]:
    """Write down what a run depends on."""
    return {
        "recipe": recipe.to_json(),
        "command": f"mobilenets train {shlex.quote(str(data))} --recipe {shlex.quote(str(run / RECIPE))} --out NEW",
        "data": {
            "folder": str(data.resolve()),
            "classes": list(prepared.classes),
            "fingerprint": prepared.fingerprint,
            "train": counts(prepared.train, prepared.classes),
            "validation": counts(prepared.validation, prepared.classes),
            "test": None if prepared.test is None else counts(prepared.test, prepared.classes),
            "problems": [dataclasses.asdict(problem) for problem in prepared.problems],
        },
        "hardware": hardware(device),
        "versions": versions(),
    }


def _announcement(network: Network, prepared: Prepared, training: Training, machine: dict[str, Any]) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    architecture = network.architecture
    return (
        f"{architecture.name} ({architecture.variant}) at width {architecture.width:g} and {architecture.size} "
        f"pixels, {parameters / 1e6:.2f} M parameters; {len(prepared.classes)} classes, {len(prepared.train)} "
        f"pictures to learn from, {len(prepared.validation)} to validate; {training.epochs} epochs of "
        f"{training.steps_per_epoch} steps on {machine['device']} ({machine['processor']})"
    )


def _finish(
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
    kept = state.best_epoch if recipe.keep == "best" else state.epoch
    costs = cost(saved.network.architecture, len(prepared.classes))
    notes = []
    if on == "validation" and recipe.keep == "best" and state.epoch > 1:
        notes.append(
            f"Epoch {kept} of {state.epoch} was chosen by its top-1 on these same pictures, so the figure leans a "
            "little to the bright side; a test/ folder beside validation/ gives one that does not."
        )
    metrics = evaluation.to_json() | {
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "notes": notes,
    }
    draw_curves(state.history, run / "curves.png", kept)
    draw_confusion(evaluation.confusion, evaluation.classes, run / "confusion.png")
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
                "weights_from": str(saved.bundle.origin.get("weights", "")),
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
            batch=as_seen(teacher, prepared.classes, recipe),
            versions=record["versions"],
            command=record["command"],
            notes=notes,
            root=prepared.layout.root,
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


def as_seen(teacher: Loader, classes: tuple[str, ...], recipe: Recipe) -> list[tuple[Image.Image, str]]:
    """Return some pictures of the first batch as the network sees them, with what it is told they are."""
    labels = [sample.label for sample in teacher.samples]
    first = shuffled(labels, recipe.batch, recipe.seed, 0, balanced=recipe.balance == "sampling")[0]
    batch = teacher.batch(first[:SHOWN_PICTURES], 0, 0)
    shown = []
    for pixels, target in zip(_pixels(batch.images, teacher.preprocessing), batch.targets, strict=True):
        told = [(share, classes[index]) for index, share in enumerate(target) if share > 0.005]
        words = [name if share > 0.995 else f"{name} {share:.0%}" for share, name in sorted(told, reverse=True)]
        shown.append((Image.fromarray(pixels), " + ".join(words)))
    return shown


def _pixels(images: Any, preprocessing: Preprocessing) -> Any:
    """Undo the normalisation."""
    values = (images * preprocessing.std + preprocessing.mean) / preprocessing.scale
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@contextlib.contextmanager
def _threads(wish: int | None) -> Iterator[None]:
    """Give PyTorch so many threads while the block runs."""
    before = torch.get_num_threads()
    if wish is not None:
        torch.set_num_threads(wish)
    try:
        yield
    finally:
        torch.set_num_threads(before)
