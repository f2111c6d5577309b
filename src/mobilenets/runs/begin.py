"""What a run begins with: pictures and a network; and how it is taken up again by its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.base.leftovers import filling
from mobilenets.base.mounts import mounted
from mobilenets.base.notes import log
from mobilenets.datasets.folds import folds_of
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset, prepare
from mobilenets.datasets.readable import typical_side
from mobilenets.datasets.seen import SeenPictures
from mobilenets.datasets.split import write_split
from mobilenets.doctor.fixes import fixing
from mobilenets.doctor.groups import grouping
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.detector import Detector
from mobilenets.models.device import pick_device
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.copies import Keep, look_for_copies
from mobilenets.runs.fitting import Allowance, fitted, loaders
from mobilenets.runs.record import FOLDS, NUMBERS, SPLIT, Record, data_record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import write_seen
from mobilenets.runs.teachers import begin_lesson, open_teachers, refuse_other_features, seen_before, take_up_lesson
from mobilenets.runs.update import Source, find_source, renamed_classes, source_notes
from mobilenets.runtime.bundle import CLASSIFICATION, Bundle, read_bundle, write_bundle
from mobilenets.runtime.labels import doubts, read_labels
from mobilenets.tasks.base import Task
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.auto import resolve, size_from_scratch
from mobilenets.training.distillation import Lesson, taught
from mobilenets.training.minutes import Choice
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.start import (
    architecture_of,
    follow,
    fresh_network,
    frozen_parts,
    preprocessing_of,
    refuse_lone_pictures,
    say_what_was_kept,
)
from mobilenets.weights.auto import ChosenWeights, find
from mobilenets.weights.start import NAMED, open_weights


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is ready to be trained. ``source`` is the model of ours that it starts from, if there is one.

    ``head_kept``: the classifier is the source's, and so there is something to measure before training. ``choice`` is
    what ``--minutes`` came to, of a run that begins. ``lesson`` is what teaches beside the labels.
    """

    folder: Path
    task: Task
    recipe: Recipe
    dataset: Dataset
    network: Network
    preprocessing: Preprocessing
    record: Record
    source: Source | None
    head_kept: bool
    choice: Choice | None = None
    lesson: Lesson | None = None

    def loaders(self) -> tuple[Loader, Loader]:
        """Give the loaders of the training and of the validation pictures."""
        return loaders(self.recipe, self.dataset, self.preprocessing, self.network.classes)

    def taught(self, pictures: tuple[Loader, Loader]) -> tuple[Task, tuple[Loader, Loader]]:
        """Give task and loaders of the training itself: with the teacher, where there is one."""
        task, train = taught(self.lesson, self.task, pictures[0], self.recipe)
        return task, (train, pictures[1])


def begin(
    request: Request,
    recipe: Recipe,
    hardware: Mapping[str, str | int],
    versions: Mapping[str, str],
    allowance: Allowance | None = None,
) -> Run:
    """Begin a run: open weights, read and split the pictures, fill in what was left to ``auto``, write its record.

    With an ``allowance`` of time, what was not asked for is chosen to fit it.
    """
    task, asked = find_task(recipe.task), recipe.weights
    if recipe.folds is not None and recipe.task != CLASSIFICATION:
        raise InputError(f"folds: cross-validates classifications only, not {recipe.task}; leave --folds out")
    opened = open_begun(recipe, request.run)
    recipe, saved = recipe.replace(weights=opened.weights), opened.model
    if saved is not None:
        recipe = follow(recipe, saved, request.stated)
    architecture, preprocessing = architecture_of(recipe, saved), preprocessing_of(recipe, saved)
    _refuse_early(recipe, architecture, preprocessing, saved)
    source, teachers = find_source(recipe.weights), open_teachers(recipe, pick_device(recipe.device))
    earlier = seen_before(source, teachers)
    dataset, folds, keep = _pictures(request, recipe, task, earlier)
    renamed, teaching = renamed_classes(source, dataset), begin_lesson(teachers, recipe, dataset)
    choice = None
    if allowance is not None:
        choice = fitted(recipe, request.stated, dataset, saved, renamed, allowance, teaching.lesson)
        saved, recipe = _of_size(saved, recipe, choice.recipe.size), choice.recipe
    elif saved is None and "size" not in request.stated:
        recipe, dataset = _sized(request, recipe, dataset)
    architecture, preprocessing = architecture_of(recipe, saved), preprocessing_of(recipe, saved)
    network, origin = fresh_network(recipe, architecture, dataset.classes, saved, renamed)
    if saved is not None:
        say_what_was_kept(saved, network, origin)
    kept, count = origin.get("head") == "kept", len(dataset.train) + teaching.unlabelled
    if choice is None:
        recipe = resolve(recipe, count, architecture, trained=saved is not None, head_kept=kept)
    origin = origin | ({} if opened.why_not is None else {"why_not": opened.why_not})
    learned = count if recipe.folds is None else count - -(-count // recipe.folds)
    refuse_lone_pictures(recipe, network, learned, request.processes.count)
    refuse_other_features(teaching.lesson, network, recipe)
    notes = source_notes(source, dataset, renamed)
    for note in notes:
        log.info("%s", note)
    teaching = teaching.tried(recipe, loaders(recipe, dataset, preprocessing, network.classes)[1])
    dataset = replace(dataset, notes=(*dataset.notes, *notes, *teaching.notes))
    bundle = bundle_of(network, dataset, preprocessing, origin, recipe.task)
    weights = {"asked": asked, "why_not": opened.why_not}
    about = (data_record(dataset, renamed), hardware, versions, weights, _chosen(choice, request))
    record = Record(recipe, request.again, *about, teaching=teaching.about)
    with filling(request.run):
        keep(request.run)
        write_seen(request.run, teaching.seen(dataset.seen.with_earlier(earlier)))
        write_split(request.run / SPLIT, dataset.layout.root, dataset.classes, dataset.train, dataset.validation)
        if folds is not None:
            write_json(request.run / FOLDS / NUMBERS, folds)
        write_bundle(request.run, bundle)
        # Last, because it is what marks a run as begun.
        record.write(request.run)
    return Run(
        request.run, task, recipe, dataset, network, preprocessing, record, source, kept, choice, teaching.lesson
    )


def _sized(request: Request, recipe: Recipe, dataset: Dataset) -> tuple[Recipe, Dataset]:
    """Have a network that begins at random see small pictures about as large as they are, and say so.

    A ``Recipe`` states its size, though it be the default.
    """
    if recipe.task != CLASSIFICATION or isinstance(request.recipe, Recipe):
        return recipe, dataset
    side = typical_side(dataset.train)
    size = size_from_scratch(recipe, side)
    if size == recipe.size:
        return recipe, dataset
    note = (
        f"small pictures, about {side} pixels a side: a network from scratch sees them at {size} (--size changes that)"
    )
    log.info("%s", note)
    return recipe.replace(size=size), replace(dataset, notes=(*dataset.notes, note))


def _pictures(
    request: Request, recipe: Recipe, task: Task, earlier: SeenPictures | None
) -> tuple[Dataset, tuple[int, ...] | None, Keep]:
    """Read and split the pictures, with the user's fixes and groups, and look for copies between the halves or folds.

    Also gives what writes down in the run what was found.
    """
    if recipe.balance == "sampling" and mounted(request.data) is not None:
        raise InputError(
            "balance: sampling draws from all shards at once, and they are read forward: use --balance weights"
        )
    looking = Looking()
    dataset = prepare(
        request.data,
        share=recipe.validation_share,
        seed=recipe.seed_of_split,
        max_unreadable=recipe.max_unreadable,
        workers=recipe.workers,
        seen=earlier,
        pooled=recipe.folds is not None,
        fix=fixing(recipe.fixes),
        group=grouping(recipe.groups, recipe.workers),
        look=looking,
    ).annotated(task.annotated)
    folds = _folds(recipe, dataset)
    notes, keep = look_for_copies(dataset, looking, folds)
    return replace(dataset, notes=(*dataset.notes, *notes)), folds, keep


def _folds(recipe: Recipe, dataset: Dataset) -> tuple[int, ...] | None:
    """Part the pictures into folds, if any were asked for: refused where that cannot be, before anything is written."""
    if recipe.folds is None:
        return None
    places = (dataset.layout.root, dataset.groups, dataset.contents)
    return folds_of(dataset.train, dataset.classes, recipe.folds, recipe.seed_of_split, *places)


def _of_size(saved: SavedModel | None, recipe: Recipe, size: int) -> SavedModel | None:
    """Take published weights of the size that was chosen: a run that is taken up again opens those of its size."""
    if saved is None or size == recipe.size or recipe.weights not in NAMED:
        return saved
    return open_weights(recipe.weights, recipe.model, recipe.width, size)


def bundle_of(
    network: Network, dataset: Dataset, preprocessing: Preprocessing, origin: dict[str, Any], task: str
) -> Bundle:
    """Describe the network of a run that begins, with what DATA's labels call its classes; doubts of them are said."""
    classes, detection = dataset.classes, network.detection if isinstance(network, Detector) else None
    labels = read_labels(dataset.layout.root, classes)
    for doubt in doubts(labels, classes):
        log.warning("%s", doubt)
    outputs = None if network.classes == len(classes) else network.classes
    about = (network.architecture.to_json(), classes, preprocessing, origin, labels)
    return Bundle(*about, task=task, outputs=outputs, detection=detection)


def take_up(request: Request, recipe: Recipe, record: Record, dataset: Dataset) -> Run:
    """Take up a run where it was left; raises ``InputError`` where the weights that it started from have changed."""
    run, task = request.run, find_task(recipe.task)
    saved = open_begun(recipe, run).model
    bundle = read_bundle(run)
    architecture = Architecture.from_json(bundle.architecture)
    _refuse_early(recipe, architecture, bundle.preprocessing, saved)
    dataset = dataset.annotated(task.annotated)
    network, origin = fresh_network(recipe, architecture, dataset.classes, saved, record.data.renamed)
    if saved is not None:
        if origin != bundle.origin:
            raise InputError(
                f"{recipe.weights}: not the weights that this run started from; train again with another --out"
            )
        say_what_was_kept(saved, network, origin)
    refuse_lone_pictures(recipe, network, record.pictures, request.processes.count)
    kept, source = origin.get("head") == "kept", find_source(recipe.weights)
    lesson = None
    if recipe.teacher is not None and not (checkpoint.exists(run) and checkpoint.peek(run).finished):
        lesson = take_up_lesson(recipe, record.teaching, dataset.classes, pick_device(recipe.device))
    return Run(run, task, recipe, dataset, network, bundle.preprocessing, record, source, kept, lesson=lesson)


def open_begun(recipe: Recipe, run: Path) -> ChosenWeights:
    """Open what a run begins with; auto says here why there are no weights, and ``finish`` says it again."""
    if recipe.weights == AUTO:
        found = find(architecture_of(recipe, None))
        if found.why_not is not None:
            log.warning("%s", found.why_not)
            if recipe.minutes is None and recipe.folds is None and recipe.task == CLASSIFICATION:
                log.info(
                    "from scratch --minutes 5 may do better in less time: it takes a smaller network, and pictures"
                )
        return found
    # A checkpoint holds every weight: the model that the run started from may be gone by then.
    if checkpoint.exists(run):
        return ChosenWeights(recipe.weights)
    return ChosenWeights(recipe.weights, open_weights(recipe.weights, recipe.model, recipe.width, recipe.size))


def _refuse_early(
    recipe: Recipe, architecture: Architecture, preprocessing: Preprocessing, saved: SavedModel | None
) -> None:
    """Refuse what cannot be built or frozen before the pictures are read, which may take minutes."""
    if recipe.augment != AUTO:
        build(recipe.augment, preprocessing)
    frozen_parts(fresh_network(recipe, architecture, ("one", "two"), saved)[0], recipe.freeze)


def _chosen(choice: Choice | None, request: Request) -> dict[str, Any]:
    """Say which settings ``--minutes`` chose, and the most epochs that the clock may let it have."""
    if choice is None:
        return {}
    names = {"model", "width", "size", "freeze", "views", "epochs", "head_epochs"} - request.stated
    return {"chosen": {name: getattr(choice.recipe, name) for name in sorted(names)}, "most_epochs": choice.most}
