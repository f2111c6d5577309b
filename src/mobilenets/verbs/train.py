"""``train``: from DATA to a run folder that holds a measured model and all that led to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from mobilenets.base.cores import threads_spin
from mobilenets.base.notes import keeping_caveats, log
from mobilenets.base.progress import about
from mobilenets.bench.hardware import hardware, versions
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.shards.open import open_data
from mobilenets.drawing.curves import draw_schedule
from mobilenets.errors import InputError
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.device import pick_device
from mobilenets.runs.asked import ending
from mobilenets.runs.begin import Run, begin, take_up
from mobilenets.runs.conditions import carry_on, kernels_of, threads_of
from mobilenets.runs.detection.train import train_boxes
from mobilenets.runs.fitting import Allowance, paced
from mobilenets.runs.folder import RUNS, owning, run_folder
from mobilenets.runs.folds import seconds_of_folds, train_folds
from mobilenets.runs.record import RECIPE
from mobilenets.runs.request import Request, looked_at
from mobilenets.runs.results import finish
from mobilenets.runs.seeds import SeedPlan, seeds_asked, train_seeds
from mobilenets.runs.settle import Settled, settle
from mobilenets.runs.shown import Trained
from mobilenets.runs.together import agree, follow, hand_out, refuse_together, silent
from mobilenets.runtime.bundle import DETECTION
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.estimate import PLOT, estimate
from mobilenets.training.forecast import Forecast
from mobilenets.training.joining import joined
from mobilenets.training.machine import machine
from mobilenets.training.minutes import say
from mobilenets.training.pace import Pace
from mobilenets.training.processes import Processes, device_of
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe
from mobilenets.training.run import fit, long_run
from mobilenets.training.settings import Settings, spelled_out
from mobilenets.training.stages import Stage, rates, stages
from mobilenets.training.start import place_network

SCHEDULE = "lr.png"


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
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder per class. Where it has
        boxes, as COCO, VOC, YOLO or CSV, a detector is trained, by default with the recipe ``boxes``.
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

    Returns the content of ``metrics.json``, and ``run`` and ``report``, where they are; a notebook shows it with the
    plots. Raises ``InputError`` for data
    or settings that cannot be used, ``FaultFound`` when the loss is not finite, and ``KeyboardInterrupt`` on Ctrl-C,
    with everything done so far in ``out``.

    >>> result = mobilenets.train("photos", "small", model="mobilenet_v1_cifar", size=32, weights="none", epochs=1)
    >>> result["run"], result["images"], sorted(result["classes"])
    ('small', 12, ['cat', 'dog', 'owl'])

    """
    return Trained(train_since(time.monotonic(), data, out, recipe=recipe, resume=resume, **settings))


@keeping_caveats
def train_since(
    began: float,
    data: str | Path,
    out: str | Path | None = None,
    *,
    recipe: Recipe | str | Path | None = None,
    resume: bool = False,
    measured: bool = True,
    **settings: Unpack[Settings],
) -> dict[str, Any]:
    """Do what ``train`` does for a command that began at ``began``, by ``time.monotonic``.

    What is not ``measured`` only trains: it returns the ``run``, and its ``epochs`` and ``seconds`` of training.
    """
    for name, place in (("data", data), ("out", out)):
        if place is not None and not isinstance(place, (str, os.PathLike)):
            raise InputError(f"{name} must be the path of a folder, not {type(place).__name__}")
        if place is not None and not os.fspath(place):
            raise InputError(f"{name} is empty: give the path of a folder")
    with joined() as processes:
        if not processes.first:
            with silent():
                return _follow(processes, open_data(data), began)
        if out is None:
            with run_folder(data, out, resume) as chosen_out:
                return train_since(began, data, chosen_out, recipe=recipe, resume=resume, measured=measured, **settings)
        request = Request(open_data(data), Path(out), recipe, dict(settings), resume, processes, measured)
        result = _train(request, began)
        if processes.count > 1:
            processes.publish(json.dumps(result))
        return result


def _follow(processes: Processes, data: Path, began: float) -> dict[str, Any]:
    """Make a run with the first process, which writes and measures it; returns its result."""
    with tempfile.TemporaryDirectory(prefix="mobilenets-") as folder:
        run = follow(processes, data, Path(folder))
        device = device_of(processes, pick_device(run.recipe.device))
        with machine(run.recipe.threads or threads_of(run.record), device), kernels_of(run.record):
            plan = stages(run.recipe, len(run.dataset.train))
            run.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            agree(processes, run.network)
            _fit(run, plan, run.loaders(), device, began, None, processes)
    result: dict[str, Any] = json.loads(processes.published())
    return result


@keeping_caveats
def _train(request: Request, began: float) -> dict[str, Any]:
    """Train in a folder that nobody else trains in meanwhile: once, or with several seeds."""
    request = looked_at(request)
    with contextlib.ExitStack() as held:
        # Before anything is read; a folder that is missing is made only when all is known to be right.
        there = request.run.is_dir()
        if there:
            held.enter_context(owning(request.run))
        several = seeds_asked(request)
        _refuse_of_other_task(request)
        if request.processes.count > 1:
            wished = load_recipe(request.recipe).replace(**request.settings)
            refuse_together(request.processes, wished, several is not None)
        if several is not None:
            return _train_several(request, several, began)
        settled = settle(request)
        refuse_together(request.processes, settled.recipe)
        if not there:
            held.enter_context(owning(request.run))
        return _train_one(request, settled, began)


def _refuse_of_other_task(request: Request) -> None:
    """Raise ``InputError`` for a setting that would be without effect, or fail for another reason, in this task."""
    given = {name for name, value in request.settings.items() if value is not None}
    if request.task == DETECTION and "seeds" in given:
        raise InputError("seeds: not for boxes yet; leave --seeds out")
    for name, flag in (("box_loss", "box-loss"), ("max_bad", "max-bad"), ("self_test", "no-self-test")):
        # Whoever gives all settings of a recipe, in Python, changes none by that.
        changed = name in given and request.settings[name] != getattr(Recipe, name)
        if request.task != DETECTION and changed and not (request.run / RECIPE).is_file():
            raise InputError(f"{name}: for boxes, and here whole pictures are told apart; leave --{flag} out")


def _train_several(request: Request, several: SeedPlan, began: float) -> dict[str, Any]:
    run, state, seeds = train_seeds(request, several, began, _train)
    device, now = pick_device(run.recipe.device), time.monotonic()
    with machine(run.recipe.threads, device):
        return finish(run, run.loaders()[0], state, device, now, seeds=seeds)


def _train_one(request: Request, settled: Settled, began: float) -> dict[str, Any]:
    """Train what was settled, on the machine as the recipe wants it or, of a run that goes on, as it was."""
    chosen, record, processes = settled.recipe, settled.record, request.processes
    device, threads = device_of(processes, pick_device(chosen.device)), chosen.threads or threads_of(record)
    if threads_spin() and (threads or torch.get_num_threads()) > 1:
        log.info(
            "PyTorch was imported before mobilenets, so its threads spin while they wait; this is slow on a busy "
            "machine: import mobilenets first, or set OMP_WAIT_POLICY=PASSIVE before Python starts"
        )
    with machine(threads, device), kernels_of(record):
        here = hardware(device) | {"processes": processes.count}
        if chosen.task == DETECTION:
            return train_boxes(request, settled, device, began, (here, versions()))
        if record is None or settled.dataset is None:
            allowance = None if chosen.minutes is None else Allowance(60 * chosen.minutes, began, device)
            run = begin(request, chosen, here, versions(), allowance)
        else:
            run = take_up(request, chosen, record, settled.dataset)
        loaders = run.loaders()
        plan = stages(run.recipe, run.record.pictures)
        before = checkpoint.peek(run.folder) if checkpoint.exists(run.folder) else State()
        if record is not None and not before.finished:
            long = any(long_run(run.network, stage) for stage in plan)
            now = carry_on(run.folder, record, here, versions(), long)
            run = dataclasses.replace(run, record=now)
        plot = _make_ready(run, plan, loaders[0], device)
        if run.choice is not None:
            forecast = run.choice.forecast
        else:
            after = ending(run.dataset, run.network, run.recipe, plot)
            task, timed = run.taught(_timed_on(run, loaders))
            forecast = estimate(run.network, plan, before.epoch, task, *timed, after, device, open_trunk)
        pace = paced(run.record, run.choice, plan, forecast, before, began)
        told = before.total_seconds + _announce(run, plan if pace is None else pace.plan, forecast, before, began)
        crossed = None
        if run.recipe.folds is not None:
            state, since, crossed = train_folds(run, loaders, device, began)
        else:
            hand_out(processes, run)
            state, since = _fit(run, plan, loaders, device, began, pace, processes)
        if not request.measured:
            return {"run": str(run.folder), "epochs": state.epoch, "seconds": state.seconds}
        return finish(run, loaders[0], state, device, since, crossed) | {"forecast_seconds": told}


def _fit(
    run: Run,
    plan: Sequence[Stage],
    loaders: tuple[Loader, Loader],
    device: torch.device,
    began: float,
    pace: Pace | None,
    processes: Processes,
) -> tuple[State, float]:
    task, pictures = run.taught(loaders)
    return fit(
        run.network,
        plan,
        task,
        *pictures,
        run.dataset.classes,
        run.dataset.layout.root,
        run.folder,
        device,
        # Whole weights do not compete with sparse ones.
        measure_before=run.head_kept and not run.recipe.share_of_zeros,
        began=began,
        opener=open_trunk,
        pace=pace,
        processes=processes,
    )


def _timed_on(run: Run, loaders: tuple[Loader, Loader]) -> tuple[Loader, Loader]:
    """Give what a training is timed on: with folds about as many pictures are measured on as each holds out."""
    if run.recipe.folds is None:
        return loaders
    return loaders[0], dataclasses.replace(loaders[1], samples=run.dataset.train[:: run.recipe.folds])


def _make_ready(run: Run, plan: Sequence[Stage], train_loader: Loader, device: torch.device) -> float:
    """Bring the network to its device, with the statistics that frozen blocks need, and draw the schedule.

    Returns the seconds that a small plot takes here.
    """
    place_network(run.network, run.folder, plan[0].recipe, train_loader, device)
    if (run.folder / SCHEDULE).exists():
        return PLOT
    drawn = time.monotonic()
    # Before anything is trained, so that a wrong schedule is seen at once.
    draw_schedule(*rates(plan), f"Learning rate: {run.recipe.schedule}", run.folder / SCHEDULE)
    return time.monotonic() - drawn


def _announce(run: Run, plan: Sequence[Stage], forecast: Forecast, before: State, began: float) -> float:
    """Say what is trained on what, and how long that takes; returns the seconds, with those that went by already."""
    if run.folder.parent == RUNS:
        log.info("run folder: %s", run.folder)
    network, dataset, stage = run.network, run.dataset, plan[-1]
    spent = time.monotonic() - began
    seconds = spent + forecast.seconds(plan, before.epoch) + seconds_of_folds(run, plan, forecast)
    if run.choice is not None and run.recipe.minutes is not None:
        say(run.choice, len(network.body), spent, 60 * run.recipe.minutes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    architecture, here = network.architecture, run.record.hardware
    folds, count, more = run.recipe.folds, len(dataset.train), run.record.pictures - len(dataset.train)
    beside = f" and {more} more without labels" if more else ""
    pictures = (
        f"{count} training{beside} and {len(dataset.validation)} validation pictures"
        if folds is None
        else f"{count} pictures in {folds} folds, and so {folds + 1} trainings"
    )
    turn = ""
    if len(plan) > 1:
        turn = (
            f"; epochs 1 to {stage.first} train only the classifier, {stage.first + 1} to {stage.last} also the "
            f"blocks after the first {stage.recipe.freeze}"
        )
    together = "" if here.get("processes", 1) == 1 else f" in {here['processes']} processes"
    log.info(
        "%s; %s on this machine%s",
        f"{architecture.name} ({architecture.variant}) at width {architecture.width:g} and {architecture.size} "
        f"pixels, {parameters / 1e6:.2f} M parameters; {len(dataset.classes)} classes, {pictures}; "
        f"{stage.steps} steps in {stage.epochs} "
        f"epoch{'s' * (stage.epochs > 1)} on {here['device']} ({here['processor']}){together}{turn}",
        about(seconds),
        ", for one process alone" if together else "",
    )
    return seconds
