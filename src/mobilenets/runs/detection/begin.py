"""What the run of a detector begins with, or takes up again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

from mobilenets.base.leftovers import filling
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.boxes.counts import pictures_with
from mobilenets.datasets.boxes.read import prepare_boxes
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.split import write_split
from mobilenets.doctor.groups import grouping
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.detector import Detector
from mobilenets.pictures.augment.with_boxes import build_boxes
from mobilenets.pictures.cache import PictureCache
from mobilenets.runs.begin import Run, bundle_of, open_begun
from mobilenets.runs.copies import look_for_copies
from mobilenets.runs.record import SPLIT, DataRecord, Record, data_record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import write_seen
from mobilenets.runs.settle import box_settings
from mobilenets.runs.update import find_source, notes_on_seen
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.tasks.registry import find_task
from mobilenets.training.detection.auto import resolve_boxes
from mobilenets.training.detection.start import described, fresh_detector
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.start import follow, frozen_parts, preprocessing_of

log = logging.getLogger("mobilenets")


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
