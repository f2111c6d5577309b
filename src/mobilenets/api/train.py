"""``train``: from DATA to a run folder that holds a measured model and all that led to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from mobilenets.api.out import RUNS, check_folder, run_folder
from mobilenets.api.results import finish
from mobilenets.api.update import find_source, renamed_classes, source_notes
from mobilenets.data.layout import Layout, find_data
from mobilenets.data.listing import Problem
from mobilenets.data.loader import Loader
from mobilenets.data.prepare import Prepared, counts, prepare, prepare_again
from mobilenets.data.presets import build
from mobilenets.data.seen import FILE as SEEN
from mobilenets.data.seen import write_seen
from mobilenets.data.split import write_split
from mobilenets.errors import InputError
from mobilenets.measure.hardware import hardware, pick_device, versions
from mobilenets.measure.plots import draw_schedule
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import TABLE_HINT
from mobilenets.models.network import Network
from mobilenets.runtime.bundle import DESCRIPTION, Bundle, read_bundle, write_bundle
from mobilenets.runtime.cores import threads_spin
from mobilenets.runtime.files import read_json, write_json
from mobilenets.runtime.fork import forked
from mobilenets.runtime.labels import doubts, read_labels
from mobilenets.runtime.notes import keeping_caveats
from mobilenets.runtime.shell import quote
from mobilenets.training import checkpoint
from mobilenets.training.features import cached_features
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe, stated
from mobilenets.training.settings import Settings, spelled_out
from mobilenets.training.start import (
    architecture_of,
    follow,
    fresh_network,
    frozen_parts,
    preprocessing_of,
    refuse_lone_pictures,
    say_what_was_kept,
    settle_norms,
)
from mobilenets.weights.start import open_weights

log = logging.getLogger("mobilenets")

RECIPE = "recipe.json"
SPLIT = "split.csv"
SCHEDULE = "lr.png"
SHOWN_PICTURES = 24


@keeping_caveats
@spelled_out
def train(
    data: str | Path,
    out: str | Path | None = None,
    *,
    recipe: Recipe | str | Path | None = None,
    resume: bool = False,
    **settings: Unpack[Settings],
) -> dict[str, Any]:
    """Train a network on a folder of labelled pictures and measure it on pictures never trained on.

    Parameters
    ----------
    data:
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder a class.
    out:
        The run folder to write; by default the next free ``runs/<data>-N``.
    recipe:
        A ``Recipe``, the name of one (``photos``, ``keras-cifar100``, …), or a ``recipe.json``.
    resume:
        Continue the run in ``out`` (by default the newest unfinished one of ``data`` in ``runs``), to the same weights
        as if it had never stopped.
    **settings:
        Settings of the recipe to change, such as ``epochs=10``; each is named below, with its default in the recipe
        ``photos``.

    Returns the content of ``metrics.json``. Raises ``InputError`` for data or settings that cannot be used,
    ``FaultFound`` when the loss is not finite, and ``KeyboardInterrupt`` on Ctrl-C, with everything done so far in
    ``out``.

    """
    began = time.monotonic()
    for name, place in (("data", data), ("out", out)):
        if place is not None and not isinstance(place, (str, os.PathLike)):
            raise InputError(f"{name} is to be the path of a folder, not {type(place).__name__}")
        if place is not None and not os.fspath(place):
            raise InputError(f"{name} is empty: give the path of a folder")
    if out is None:
        with run_folder(data, out, resume) as chosen_out:
            return train(data, chosen_out, recipe=recipe, resume=resume, **settings)
    data, run = Path(data), Path(out)
    if resume and (run / RECIPE).is_file():
        chosen, prepared, record = _begun(data, run, recipe, cast(dict[str, Any], settings))
    else:
        _refuse_place(run, find_data(data), resume)
        if resume:
            log.warning("there is nothing to go on with in %s: starting anew, with the settings of this command", run)
        chosen, prepared, record = _settled(load_recipe(recipe).replace(**settings)), None, None
    for leftover in run.rglob(".writing-*"):
        leftover.unlink()  # of a process that was killed while it wrote
    if checkpoint.exists(run):
        checkpoint.peek(run)  # a damaged one is refused before anything else is said
    device = pick_device(chosen.device)
    if threads_spin():
        log.info(
            "PyTorch was loaded before mobilenets, so its threads spin while they wait, which is slow beside other "
            "programs: import mobilenets first, or set OMP_WAIT_POLICY=PASSIVE before Python starts"
        )
    with _threads(chosen.threads):
        # A checkpoint holds every weight: the model that the run started from may be gone by then.
        saved = (
            None if checkpoint.exists(run) else open_weights(chosen.weights, chosen.model, chosen.width, chosen.size)
        )
        if saved is not None and record is None:
            chosen = follow(chosen, saved, set(settings) | stated(recipe))
        if record is None:
            architecture, preprocessing = architecture_of(chosen, saved), preprocessing_of(chosen, saved)
        else:
            begun = read_bundle(run)
            architecture, preprocessing = Architecture.from_json(begun.architecture), begun.preprocessing
        augment = build(chosen.augment, preprocessing)
        # Refused before the pictures are read, which may take minutes.
        frozen_parts(fresh_network(chosen, architecture, ("one", "two"), saved)[0], chosen.freeze)
        source = find_source(chosen.weights)
        if prepared is None:
            prepared = prepare(
                data,
                share=chosen.validation_share,
                seed=chosen.seed,
                max_unreadable=chosen.max_unreadable,
                workers=chosen.workers,
                seen=None if source is None else source.seen,
            )
        renamed = renamed_classes(source, prepared) if record is None else record["data"].get("renamed", {})
        network, origin = fresh_network(chosen, architecture, prepared.classes, saved, renamed)
        if saved is not None:
            if record is not None and origin != read_bundle(run).origin:
                raise InputError(
                    f"{chosen.weights}: not the weights that this run began with; train into another folder"
                )
            say_what_was_kept(saved, network, origin)
        refuse_lone_pictures(chosen, network, len(prepared.train))
        if record is None:
            said = source_notes(source, prepared, renamed)
            for note in said:
                log.info("%s", note)
            prepared = dataclasses.replace(prepared, notes=(*prepared.notes, *said))
        labels = read_labels(prepared.layout.root, prepared.classes) if record is None else None
        for doubt in doubts(labels, prepared.classes):
            log.warning("%s", doubt)
        bundle = Bundle(network.architecture.to_json(), prepared.classes, preprocessing, origin, labels)
        if record is None:
            record = _record(data, run, chosen, prepared, renamed, device)
            write_seen(run, prepared.seen.with_earlier(None if source is None else source.seen))
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
        parts = frozen_parts(network, chosen.freeze)
        if parts and checkpoint.exists(run):
            checkpoint.restore_network(run, network)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if parts and chosen.weights == "none" and not checkpoint.exists(run):
            settle_norms(parts, teacher, device)
        features = cached_features(network, chosen, len(parts), teacher, validation, device)
        training = Training(
            network,
            chosen,
            features[0] if features else teacher,
            features[1] if features else validation,
            prepared.classes,
            prepared.layout.root,
            run,
            device,
            parts,
            len(parts) if features else 0,
            measure_before=origin.get("head") == "kept",
            began=began,
        )
        if not (run / SCHEDULE).exists():
            # Before anything is trained, so that a wrong schedule is seen at once.
            steps = sorted({round(part * (training.steps - 1) / 999) for part in range(1000)})
            epochs, rates = ([at / training.steps_per_epoch for at in steps], [training.rate(at) for at in steps])
            draw_schedule(epochs, rates, f"Learning rate: {chosen.schedule}", run / SCHEDULE)
        if run.parent == RUNS:
            log.info("run folder: %s", run)
        log.info(_announcement(network, prepared, training, record["hardware"]))
        state = training.fit()
        return finish(run, prepared, teacher, chosen, record, state, device, since=training.began, source=source)


def _settled(recipe: Recipe) -> Recipe:
    """Take a table in from its file, and name weights by their whole path, so that the run can be repeated anywhere."""
    if isinstance(recipe.table, str):
        recipe = recipe.replace(table=read_json(Path(recipe.table), TABLE_HINT))
    # A folder that happens to be called imagenet is not what --weights imagenet asks for.
    if recipe.weights not in ("none", "imagenet") and Path(recipe.weights).exists():
        recipe = recipe.replace(weights=str(Path(recipe.weights).resolve()))
    return recipe


def _refuse_place(run: Path, layout: Layout, resume: bool) -> None:
    """Refuse to write over something, or among the pictures, where the run's own would become a class."""
    # What stands there before a run counts as begun: see where recipe.json is written.
    unbegun = {SPLIT, SEEN, DESCRIPTION} if resume else set()
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: give a folder by --out")
    if run.exists() and (any(entry.name not in unbegun for entry in run.iterdir())):
        way = "holds no run to go on with:" if resume else "is not empty: go on with it by --resume, or"
        raise InputError(f"{run} {way} give another --out")
    for place in (layout.train, layout.validation, layout.test):
        if place is not None and run.resolve().is_relative_to(place.resolve()):
            there = place.resolve()
            such = quote(str(there.with_name(f"{there.name}-run")))
            raise InputError(f"{run} lies among the pictures in {place}: give an --out elsewhere, such as --out {such}")
    check_folder(run)


def _begun(
    data: Path, run: Path, given: Recipe | str | Path | None, settings: dict[str, Any]
) -> tuple[Recipe, Prepared, dict[str, Any]]:
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
    source = load_recipe(given)
    wished = {name: getattr(source, name) for name in stated(given)} | settings
    wish = _settled(recipe.replace(**wished))
    for name in sorted(wished):
        if getattr(wish, name) != getattr(recipe, name):
            flag = f"--{name.replace('_', '-')}" if name in settings else "--recipe"
            raise InputError(
                f"--resume goes on with the run's own settings, {name} {getattr(recipe, name)} among them: "
                f"leave {flag} out"
            )
    known = (seen.get("notes", []), seen.get("seen_by_source"), seen.get("copies", 0))
    return recipe, prepare_again(data, run / SPLIT, classes, mark, problems, recipe.workers, *known), record


def _record(
    data: Path, run: Path, recipe: Recipe, prepared: Prepared, renamed: dict[str, str], device: torch.device
) -> dict[str, Any]:
    """Write down what a run depends on."""
    return {
        "recipe": recipe.to_json(),
        "command": f"mobilenets train {quote(str(data))} --recipe {quote(str(run / RECIPE))} --out NEW",
        "data": {
            "folder": str(prepared.layout.root.resolve()),
            "classes": list(prepared.classes),
            "fingerprint": prepared.fingerprint,
            "train": counts(prepared.train, prepared.classes),
            "validation": counts(prepared.validation, prepared.classes),
            "test": None if prepared.test is None else counts(prepared.test, prepared.classes),
            "problems": [dataclasses.asdict(problem) for problem in prepared.problems],
            "notes": list(prepared.notes),
            "seen_by_source": prepared.seen_by_source,
            "copies": prepared.copies,
            "renamed": renamed,
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
        f"pictures to learn from, {len(prepared.validation)} to validate; {training.steps} steps in {training.epochs} "
        f"epoch{'s' * (training.epochs > 1)} on {machine['device']} ({machine['processor']})"
    )


@contextlib.contextmanager
def _threads(wish: int | None) -> Iterator[None]:
    """Give PyTorch so many threads while the block runs."""
    before = torch.get_num_threads()
    if forked():
        log.warning("this process was forked, in which PyTorch's threads do not work: training on one thread")
        wish = 1
    if wish is not None:
        torch.set_num_threads(wish)
    try:
        yield
    finally:
        torch.set_num_threads(before)
