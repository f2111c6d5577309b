"""The run of a detector: begun or taken up, trained, measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from mobilenets.base.files import write_json
from mobilenets.base.leftovers import filling
from mobilenets.base.notes import log
from mobilenets.base.progress import about
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.boxes.counts import pictures_with
from mobilenets.datasets.boxes.read import prepare_boxes
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.split import write_split
from mobilenets.doctor.groups import grouping
from mobilenets.doctor.quick import Looking
from mobilenets.drawing.curves import draw_schedule
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.detector import Detector
from mobilenets.pictures.augment.with_boxes import build_boxes
from mobilenets.pictures.cache import PictureCache
from mobilenets.runs.begin import Run, bundle_of, open_begun
from mobilenets.runs.conditions import carry_on
from mobilenets.runs.copies import look_for_copies
from mobilenets.runs.detection.finish import finish_boxes
from mobilenets.runs.fitting import paced
from mobilenets.runs.record import SPLIT, DataRecord, Record, data_record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import write_seen
from mobilenets.runs.settle import Settled, box_settings
from mobilenets.runs.update import find_source, notes_on_seen
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.detection.auto import resolve_boxes
from mobilenets.training.detection.run import BoxValidation, estimate_boxes, fit_boxes
from mobilenets.training.detection.self_test import self_test
from mobilenets.training.detection.start import described, fresh_detector
from mobilenets.training.forecast import Forecast
from mobilenets.training.minutes import Option, fit, say
from mobilenets.training.pace import usable
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.run import pays
from mobilenets.training.stages import Stage, rates, stages
from mobilenets.training.start import follow, frozen_parts, place_network, preprocessing_of

Machine: TypeAlias = tuple[Mapping[str, str | int], Mapping[str, str]]
SCHEDULE, SELF_TEST = "lr.png", "self_test.json"


def begin_boxes(
    request: Request, recipe: Recipe, hardware: Mapping[str, str | int], versions: Mapping[str, str]
) -> tuple[Run, Callable[[Run], None]]:
    """Begin a run: open weights, read and split pictures and boxes, fill in what was left to auto.

    Also gives what writes it all down, once it is known that this can be trained, and for how long.
    """
    asked, opened = recipe.weights, open_begun(recipe, request.run)
    recipe, saved = recipe.replace(weights=opened.weights), opened.model
    if saved is not None:
        # A detector keeps its size, unless another was asked for; that of a classifier says nothing.
        own = saved.bundle.detection is not None and request.recipe == "boxes" and "size" not in request.settings
        recipe = follow(recipe, saved, request.stated - ({"size"} if own else set()))
    architecture, detection = described(recipe, saved)
    preprocessing = preprocessing_of(recipe, saved)
    # Refused before the pictures are read, which may take minutes.
    if recipe.augment != AUTO:
        build_boxes(recipe.augment, preprocessing)
    frozen_parts(fresh_detector(recipe, architecture, detection, ("one",), None)[0], recipe.freeze)
    grouped = grouping(recipe.groups, recipe.workers)
    looking = Looking()
    source = find_source(recipe.weights)
    earlier = None if source is None else source.seen
    dataset = prepare_boxes(request.data, **box_settings(recipe), seen=earlier, group=grouped, look=looking)
    copied, keep = look_for_copies(dataset, looking)
    for note in (seen := notes_on_seen(dataset, source)):
        log.warning("%s", note)
    dataset = dataclasses.replace(dataset, notes=(*dataset.notes, *copied, *seen))
    network, origin = fresh_detector(recipe, architecture, detection, dataset.classes, saved)
    kept = origin.get("head") == "kept"
    recipe = resolve_boxes(recipe, len(dataset.train), saved is not None)
    _refuse_lone(recipe, network, dataset)
    if opened.why_not is not None:
        origin = origin | {"why_not": opened.why_not}
    bundle = bundle_of(network, dataset, preprocessing, origin, recipe.task)
    weights = {"asked": asked, "why_not": opened.why_not}
    record = Record(recipe, request.again, _record(dataset), hardware, versions, weights)

    def write(run: Run) -> None:
        with filling(request.run):
            write_split(request.run / SPLIT, dataset.layout.root, dataset.classes, dataset.train, dataset.validation)
            write_seen(request.run, dataset.seen.with_earlier(earlier))
            keep(request.run)
            write_bundle(request.run, bundle)
            # Last, because it is what marks a run as begun.
            run.record.write(request.run)

    task = find_task(recipe.task)
    return Run(request.run, task, recipe, dataset, network, preprocessing, record, None, kept), write


def take_up_boxes(request: Request, recipe: Recipe, record: Record, dataset: Dataset) -> Run:
    """Take up a run where it was left; raises ``InputError`` where the weights that it started from have changed."""
    run = request.run
    saved, bundle = open_begun(recipe, run).model, read_bundle(run)
    architecture = Architecture.from_json(bundle.architecture)
    assert bundle.detection is not None
    network, origin = fresh_detector(recipe, architecture, bundle.detection, dataset.classes, saved)
    if saved is not None and origin != {name: bundle.origin.get(name) for name in origin}:
        raise InputError(
            f"{recipe.weights}: not the weights that this run started from; train again with another --out"
        )
    kept = bundle.origin.get("head") == "kept"
    return Run(run, find_task(recipe.task), recipe, dataset, network, bundle.preprocessing, record, None, kept)


def box_loaders(run: Run) -> tuple[BoxLoader, BoxLoader]:
    """Give the loaders of the training and of the validation pictures."""
    recipe, dataset = run.recipe, run.dataset
    validation = BoxLoader(
        dataset.validation, len(dataset.classes), run.preprocessing, workers=recipe.workers, cache=PictureCache()
    )
    augment = build_boxes(recipe.augment, run.preprocessing)
    return dataclasses.replace(validation, samples=dataset.train, augment=augment, seed=recipe.seed), validation


def detector_of(run: Run) -> Detector:
    """Give the network of a run as what it is."""
    assert isinstance(run.network, Detector)
    return run.network


def _record(dataset: Dataset) -> DataRecord:
    """Say what is learned from; of each class the pictures with a box of it are counted."""
    halves = [dataset.train, dataset.validation, dataset.test]
    counts = [None if half is None else pictures_with(half, dataset.classes) for half in halves]
    return dataclasses.replace(
        data_record(dataset, {}), train=counts[0] or {}, validation=counts[1] or {}, test=counts[2]
    )


def _refuse_lone(recipe: Recipe, network: Detector, dataset: Dataset) -> None:
    """Refuse a batch of one picture: BatchNorm cannot learn from a map of one pixel, such as the last."""
    count = len(dataset.train)
    if count // -(-count // recipe.batch) < 2 and 1 in network.detection.maps:
        raise InputError(f"batch {recipe.batch}: a step would see a single picture; use a larger --batch, or more data")


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
