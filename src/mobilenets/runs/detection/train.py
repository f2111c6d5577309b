"""The run of a detector: begun or taken up, trained, measured."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from mobilenets.base.files import write_json
from mobilenets.base.progress import about
from mobilenets.drawing.curves import draw_schedule
from mobilenets.runs.begin import Run
from mobilenets.runs.conditions import carry_on
from mobilenets.runs.detection.begin import begin_boxes, box_loaders, detector_of, take_up_boxes
from mobilenets.runs.detection.finish import finish_boxes
from mobilenets.runs.fitting import paced
from mobilenets.runs.request import Request
from mobilenets.runs.settle import Settled
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.detection.estimate import estimate_boxes
from mobilenets.training.detection.run import fit_boxes
from mobilenets.training.detection.self_test import self_test
from mobilenets.training.detection.validation import BoxValidation
from mobilenets.training.forecast import Forecast
from mobilenets.training.minutes import Option, fit, say
from mobilenets.training.pace import usable
from mobilenets.training.run import pays
from mobilenets.training.stages import Stage, rates, stages
from mobilenets.training.start import place_network

log = logging.getLogger("mobilenets")

Machine: TypeAlias = tuple[Mapping[str, str | int], Mapping[str, str]]
SCHEDULE, SELF_TEST = "lr.png", "self_test.json"


def train_boxes(
    request: Request, settled: Settled, device: torch.device, began: float, machine: Machine
) -> dict[str, Any]:
    """Train what was settled, on ``machine``, hardware and versions; returns as ``mobilenets.train`` does."""
    chosen, record = settled.recipe, settled.record
    if record is None or settled.dataset is None:
        run, write = begin_boxes(request, chosen, *machine)
    else:
        run, write = take_up_boxes(request, chosen, record, settled.dataset), None
    network = detector_of(run)
    train, validation = box_loaders(run)
    [stage] = stages(run.recipe, len(run.dataset.train))
    before = checkpoint.peek(run.folder) if checkpoint.exists(run.folder) else State()
    if record is not None and not before.finished:
        long = pays(network, stage)
        run = dataclasses.replace(run, record=carry_on(run.folder, record, *machine, long))
    still = dataclasses.replace(train, augment=None)
    place_network(network, run.folder, stage.recipe, still, device)
    found = None
    if write is not None and run.recipe.self_test:
        found = self_test(network, stage, run.task, train, device, run.recipe.weights != "none")
    measuring = BoxValidation(
        pictures=validation,
        train=still,
        task=run.task,
        classes=run.dataset.classes,
        root=run.dataset.layout.root,
        seed=run.recipe.seed,
        device=device,
        detection=network.detection,
    )
    final = len(run.dataset.validation) + len(run.dataset.test or ())
    forecast = estimate_boxes(network, stage, train, measuring, final)
    if write is not None:
        if run.recipe.minutes is not None:
            run, stage = _in_time(run, stage, forecast, request, began)
        write(run)
        if found is not None:
            write_json(run.folder / SELF_TEST, found.to_json())
    if not (run.folder / SCHEDULE).exists():
        draw_schedule(*rates([stage]), f"Learning rate: {run.recipe.schedule}", run.folder / SCHEDULE)
    pace = paced(run.record, run.choice, [stage], forecast, before, began)
    stage = stage if pace is None else pace.plan[0]
    told = before.total_seconds + time.monotonic() - began + forecast.seconds([stage], before.epoch)
    _announce(run, stage, told)
    state, since = fit_boxes(
        network, stage, run.task, train, measuring, run.folder, measure_before=run.head_kept, began=began, pace=pace
    )
    return finish_boxes(run, train, measuring, state, since) | {"forecast_seconds": told}


def _in_time(run: Run, stage: Stage, forecast: Forecast, request: Request, began: float) -> tuple[Run, Stage]:
    """Give a run that begins as many epochs as ``--minutes`` leaves time for; all else stays."""
    seconds, spent = 60 * (run.recipe.minutes or 0), time.monotonic() - began
    trained, pictures = run.recipe.weights != "none", len(run.dataset.train)
    option = Option(run.recipe, (stage,), forecast)
    choice, _ = fit(option, usable(seconds) - spent, trained=trained, pictures=pictures, given=request.stated)
    say(choice, len(run.network.body), spent, seconds)
    about = {"chosen": {"epochs": choice.recipe.epochs}, "most_epochs": choice.most}
    record = dataclasses.replace(run.record, recipe=choice.recipe, minutes=about)
    return dataclasses.replace(run, recipe=choice.recipe, record=record, choice=choice), choice.plan[0]


def _announce(run: Run, stage: Stage, seconds: float) -> None:
    """Say what is trained on what, and about how long that takes."""
    network, dataset = detector_of(run), run.dataset
    architecture, machine = network.architecture, run.record.hardware
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = sum(part.macs for part in network.plan.operations)
    boxes = sum(int((~sample.target.ignored).sum()) for sample in dataset.train)
    log.info(
        "SSDLite on %s at width %g and %d pixels, %.2f M parameters, %.0f M multiply-accumulates; %d classes, "
        "%d training pictures with %d boxes and %d validation pictures; %d steps in %d epochs on %s (%s); %s on this "
        "machine",
        *(architecture.name, architecture.width, architecture.size, parameters / 1e6, macs / 1e6),
        *(len(dataset.classes), len(dataset.train), boxes, len(dataset.validation)),
        *(stage.steps, stage.epochs, machine["device"], machine["processor"], about(seconds)),
    )
