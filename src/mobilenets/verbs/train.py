"""``train``: from DATA to a run folder that holds a measured model and all that led to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from mobilenets.base.cores import threads_spin
from mobilenets.base.files import read_json, write_json
from mobilenets.base.fork import forked
from mobilenets.base.notes import keeping_caveats
from mobilenets.base.shell import quote
from mobilenets.bench.hardware import hardware, pick_device, versions
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.listing import Problem
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Prepared, counts, prepare, prepare_again
from mobilenets.datasets.seen import FILE as SEEN
from mobilenets.datasets.seen import write_seen
from mobilenets.datasets.split import write_split
from mobilenets.drawing.curves import draw_schedule
from mobilenets.errors import InputError
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import TABLE_HINT
from mobilenets.models.network import Network
from mobilenets.pictures.augment.presets import build
from mobilenets.runs.folder import RUNS, check_folder, run_folder
from mobilenets.runs.results import finish
from mobilenets.runs.update import find_source, renamed_classes, source_notes
from mobilenets.runtime.bundle import DESCRIPTION, Bundle, read_bundle, write_bundle
from mobilenets.runtime.labels import doubts, read_labels
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.auto import resolve
from mobilenets.training.estimate import about, estimate
from mobilenets.training.recipe import AUTO, Recipe, left_to_auto
from mobilenets.training.recipes import load_recipe, stated
from mobilenets.training.run import fit
from mobilenets.training.settings import Settings, spelled_out
from mobilenets.training.stages import Stage, rates, stages
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
from mobilenets.weights.auto import Found, find
from mobilenets.weights.start import NAMED, open_weights

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
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder per class.
    out:
        The run folder to write; by default the next free ``runs/<data>-N``.
    recipe:
        A ``Recipe``, the name of one (``photos``, ``keras-cifar100``, …), or a ``recipe.json``.
    resume:
        Continue the run in ``out`` (by default the newest unfinished one of ``data`` in ``runs``), to the same weights
        as if it had never stopped.
    **settings:
        Settings of the recipe to change, such as ``epochs=10`` or ``weights="none"``; each is named below, with its
        default in the recipe ``photos``. By default (``"auto"``) training begins with published ImageNet weights where
        they can be had; the result's ``notes`` say if not.

    Returns the content of ``metrics.json``. Raises ``InputError`` for data or settings that cannot be used,
    ``FaultFound`` when the loss is not finite, and ``KeyboardInterrupt`` on Ctrl-C, with everything done so far in
    ``out``.

    """
    began = time.monotonic()
    for name, place in (("data", data), ("out", out)):
        if place is not None and not isinstance(place, (str, os.PathLike)):
            raise InputError(f"{name} must be the path of a folder, not {type(place).__name__}")
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
            log.warning(
                "there is nothing to continue in %s: starting from the beginning, with the settings of this command",
                run,
            )
        chosen, prepared, record = _settled(load_recipe(recipe).replace(**settings)), None, None
    for leftover in run.rglob(".writing-*"):
        leftover.unlink()  # of a process that was killed while it wrote
    if checkpoint.exists(run):
        checkpoint.peek(run)  # a damaged one is refused before anything else is said
    task, device = find_task(chosen.task), pick_device(chosen.device)
    if threads_spin() and (chosen.threads or torch.get_num_threads()) > 1:
        log.info(
            "PyTorch was imported before mobilenets, so its threads spin while they wait; this is slow on a busy "
            "machine: import mobilenets first, or set OMP_WAIT_POLICY=PASSIVE before Python starts"
        )
    with _threads(chosen.threads):
        asked = chosen.weights
        begin_with = _weights(chosen, run)
        chosen, saved, why_not = chosen.replace(weights=begin_with.weights), begin_with.model, begin_with.why_not
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
        prepared = prepared.annotated(task.annotated)
        renamed = renamed_classes(source, prepared) if record is None else record["data"].get("renamed", {})
        network, origin = fresh_network(chosen, architecture, prepared.classes, saved, renamed)
        if saved is not None:
            if record is not None and origin != read_bundle(run).origin:
                raise InputError(
                    f"{chosen.weights}: not the weights that this run started from; train again with another --out"
                )
            say_what_was_kept(saved, network, origin)
        if record is None:
            trained, kept = saved is not None, origin.get("head") == "kept"
            chosen = resolve(chosen, len(prepared.train), architecture, trained=trained, head_kept=kept)
            if why_not is not None:
                origin = origin | {"why_not": why_not}
        refuse_lone_pictures(chosen, network, len(prepared.train))
        if record is None:
            said = source_notes(source, prepared, renamed)
            for note in said:
                log.info("%s", note)
            prepared = dataclasses.replace(prepared, notes=(*prepared.notes, *said))
        labels = read_labels(prepared.layout.root, prepared.classes) if record is None else None
        for doubt in doubts(labels, prepared.classes):
            log.warning("%s", doubt)
        outputs = None if network.classes == len(prepared.classes) else network.classes
        bundle = Bundle(
            network.architecture.to_json(),
            prepared.classes,
            preprocessing,
            origin,
            labels,
            task=chosen.task,
            outputs=outputs,
        )
        if record is None:
            record = _record(data, run, chosen, prepared, renamed, device)
            record |= {"weights": {"asked": asked, "why_not": why_not}}
            write_seen(run, prepared.seen.with_earlier(None if source is None else source.seen))
            write_split(run / SPLIT, prepared.layout.root, prepared.classes, prepared.train, prepared.validation)
            write_bundle(run, bundle)
            # Last, because it is what marks a run as begun.
            write_json(run / RECIPE, record)
        validation = Loader(prepared.validation, network.classes, preprocessing, task, workers=chosen.workers)
        train_loader = dataclasses.replace(
            validation,
            samples=prepared.train,
            augment=augment,
            mixup=chosen.mixup,
            cutmix=chosen.cutmix,
            seed=chosen.seed,
        )
        plan = stages(chosen, len(prepared.train))
        frozen = frozen_parts(network, plan[0].recipe.freeze)
        if frozen and checkpoint.exists(run):
            checkpoint.restore_network(run, network)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if frozen and chosen.weights == "none" and not checkpoint.exists(run):
            settle_norms(frozen, train_loader, device)
        if not (run / SCHEDULE).exists():
            # Before anything is trained, so that a wrong schedule is seen at once.
            draw_schedule(*rates(plan), f"Learning rate: {chosen.schedule}", run / SCHEDULE)
        if run.parent == RUNS:
            log.info("run folder: %s", run)
        done = checkpoint.peek(run).epoch if checkpoint.exists(run) else 0
        measured = len(prepared.measured)
        seconds = estimate(network, plan, done, task, train_loader, validation, measured, device, open_trunk)
        log.info("%s; %s on this machine", _announcement(network, prepared, plan, record["hardware"]), about(seconds))
        state, since = fit(
            network,
            plan,
            task,
            train_loader,
            validation,
            prepared.classes,
            prepared.layout.root,
            run,
            device,
            measure_before=origin.get("head") == "kept",
            began=began,
            opener=open_trunk,
        )
        return finish(run, task, prepared, train_loader, chosen, record, state, device, since, source)


def _weights(recipe: Recipe, run: Path) -> Found:
    """Open what a run begins with; auto says here why there are no weights, and ``finish`` says it again."""
    if recipe.weights == AUTO:
        found = find(architecture_of(recipe, None))
        if found.why_not is not None:
            log.warning("%s", found.why_not)
        return found
    # A checkpoint holds every weight: the model that the run started from may be gone by then.
    if checkpoint.exists(run):
        return Found(recipe.weights)
    return Found(recipe.weights, open_weights(recipe.weights, recipe.model, recipe.width, recipe.size))


def _settled(recipe: Recipe) -> Recipe:
    """Take a table in from its file, and name weights by their whole path, so that the run can be repeated anywhere."""
    if isinstance(recipe.table, str):
        recipe = recipe.replace(table=read_json(Path(recipe.table), TABLE_HINT))
    # A folder that happens to be called imagenet is not what --weights imagenet asks for.
    if recipe.weights not in (AUTO, *NAMED) and Path(recipe.weights).exists():
        recipe = recipe.replace(weights=str(Path(recipe.weights).resolve()))
    return recipe


def _refuse_place(run: Path, layout: Layout, resume: bool) -> None:
    """Refuse to write over something, or among the pictures, where the run's own would become a class."""
    # What stands there before a run counts as begun: see where recipe.json is written.
    unbegun = {SPLIT, SEEN, DESCRIPTION} if resume else set()
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: give a folder with --out")
    if run.exists() and (any(entry.name not in unbegun for entry in run.iterdir())):
        way = "holds no run to continue:" if resume else "is not empty: continue it with --resume, or"
        raise InputError(f"{run} {way} use another --out")
    for place in (layout.train, layout.validation, layout.test):
        if place is not None and run.resolve().is_relative_to(place.resolve()):
            there = place.resolve()
            such = quote(str(there.with_name(f"{there.name}-run")))
            raise InputError(f"{run} is inside the picture folder {place}: choose an --out outside it, such as {such}")
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
        raise InputError(f"{run / RECIPE}: damaged; train again with another --out") from error
    source = load_recipe(given)
    wished = {name: getattr(source, name) for name in stated(given)} | settings
    wish = _settled(recipe.replace(**wished))
    for name in sorted(wished):
        # What auto came to is written in the run's own recipe.
        if not left_to_auto(name, wished[name]) and getattr(wish, name) != getattr(recipe, name):
            flag = f"--{name.replace('_', '-')}" if name in settings else "--recipe"
            raise InputError(
                f"--resume keeps the run's own settings, here {name} {getattr(recipe, name)}: leave {flag} out"
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


def _announcement(network: Network, prepared: Prepared, plan: Sequence[Stage], machine: dict[str, Any]) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    architecture, stage = network.architecture, plan[-1]
    turn = ""
    if len(plan) > 1:
        turn = (
            f"; epochs 1 to {stage.first} train only the classifier, {stage.first + 1} to {stage.last} also the "
            f"blocks after the first {stage.recipe.freeze}"
        )
    return (
        f"{architecture.name} ({architecture.variant}) at width {architecture.width:g} and {architecture.size} "
        f"pixels, {parameters / 1e6:.2f} M parameters; {len(prepared.classes)} classes, {len(prepared.train)} "
        f"training and {len(prepared.validation)} validation pictures; {stage.steps} steps in {stage.epochs} "
        f"epoch{'s' * (stage.epochs > 1)} on {machine['device']} ({machine['processor']}){turn}"
    )


@contextlib.contextmanager
def _threads(wish: int | None) -> Iterator[None]:
    """Give PyTorch this many threads while the block runs."""
    before = torch.get_num_threads()
    if forked():
        log.warning("this process was forked, and PyTorch's threads do not work there: training on one thread")
        wish = 1
    if wish is not None:
        torch.set_num_threads(wish)
    try:
        yield
    finally:
        torch.set_num_threads(before)
