"""What a run begins with: settings, pictures, a network; and its record, by which it is taken up again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json, write_json
from mobilenets.base.leftovers import UNFINISHED, clear_leftovers, filling, occupants
from mobilenets.base.mounts import mounted
from mobilenets.base.shell import quote
from mobilenets.datasets.boxes.read import prepare_boxes_again
from mobilenets.datasets.folds import folds_of
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset, prepare, prepare_again
from mobilenets.datasets.seen import SeenPictures
from mobilenets.datasets.split import write_split
from mobilenets.doctor.fixes import fixing, read_fixes, to_json
from mobilenets.doctor.groups import grouping, settled
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import TABLE_HINT
from mobilenets.models.device import pick_device
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.copies import COPIES, THUMBNAILS, Keep, look_for_copies
from mobilenets.runs.fitting import Allowance, fitted, loaders
from mobilenets.runs.folder import check_folder
from mobilenets.runs.record import FOLDS, NUMBERS, RECIPE, SPLIT, Record, data_record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import SEEN, write_seen
from mobilenets.runs.teachers import begin_lesson, open_teachers, seen_before, take_up_lesson, with_whole_paths
from mobilenets.runs.update import Source, find_source, renamed_classes, source_notes
from mobilenets.runtime.bundle import CLASSIFICATION, DESCRIPTION, DETECTION, Bundle, read_bundle, write_bundle
from mobilenets.runtime.labels import Labels, doubts, read_labels
from mobilenets.tasks.base import Task
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.auto import resolve
from mobilenets.training.distillation import Lesson, taught
from mobilenets.training.minutes import Choice
from mobilenets.training.recipe import AUTO, Recipe, left_to_auto
from mobilenets.training.recipes import load_recipe, stated
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

log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Settled:
    """The settings of a run; of one that is taken up again also its record and its pictures."""

    recipe: Recipe
    record: Record | None = None
    dataset: Dataset | None = None


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


def settle(request: Request) -> Settled:
    """Settle what a run is to be: that of the request, or with ``resume`` what the run in its folder is.

    Raises ``InputError`` for settings that cannot be used or that a begun run does not have, and for a folder that may
    not be written to.
    """
    run = request.run
    if request.resume and (run / RECIPE).is_file():
        settled = _begun(request)
        # Killed when all was written and the mark still stood: with it, the run would count as an empty folder.
        (run / UNFINISHED).unlink(missing_ok=True)
    else:
        boxes = request.task == DETECTION
        layout = Layout(request.data, request.data) if boxes else find_data(request.data)  # anywhere in it
        refuse_place(run, layout, request.resume)
        if request.resume:
            log.warning(
                "there is nothing to continue in %s: starting from the beginning, with the settings of this command",
                run,
            )
        settled = Settled(_taken_in(load_recipe(request.recipe).replace(**request.settings)))
    clear_leftovers(run, below=True)
    if checkpoint.exists(run):
        checkpoint.peek(run)  # a damaged one is refused before anything else is said
    return settled


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
    notes = source_notes(source, dataset, renamed)
    for note in notes:
        log.info("%s", note)
    teaching = teaching.tried(recipe, loaders(recipe, dataset, preprocessing, network.classes)[1])
    dataset = replace(dataset, notes=(*dataset.notes, *notes, *teaching.notes))
    labels = read_labels(dataset.layout.root, dataset.classes)
    for doubt in doubts(labels, dataset.classes):
        log.warning("%s", doubt)
    bundle = _bundle(network, dataset.classes, preprocessing, origin, labels, recipe.task)
    command = f"mobilenets train {quote(str(request.data))} --recipe {quote(str(request.run / RECIPE))} --out NEW"
    weights = {"asked": asked, "why_not": opened.why_not}
    about = (data_record(dataset, renamed), hardware, versions, weights, _chosen(choice, request))
    record = Record(recipe, command, *about, teaching=teaching.about)
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
    places = (dataset.layout.root, dataset.groups)
    return folds_of(dataset.train, dataset.classes, recipe.folds, recipe.seed_of_split, *places)


def _of_size(saved: SavedModel | None, recipe: Recipe, size: int) -> SavedModel | None:
    """Take published weights of the size that was chosen: a run that is taken up again opens those of its size."""
    if saved is None or size == recipe.size or recipe.weights not in NAMED:
        return saved
    return open_weights(recipe.weights, recipe.model, recipe.width, size)


def _bundle(
    network: Network,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    origin: dict[str, Any],
    labels: Labels | None,
    task: str,
) -> Bundle:
    outputs = None if network.classes == len(classes) else network.classes
    described = network.architecture.to_json()
    return Bundle(described, classes, preprocessing, origin, labels, task=task, outputs=outputs)


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


def _taken_in(recipe: Recipe) -> Recipe:
    """Take table and fixes in from their files, and name others by whole paths: the run can be repeated anywhere."""
    if isinstance(recipe.table, str):
        recipe = recipe.replace(table=read_json(Path(recipe.table), TABLE_HINT))
    if isinstance(recipe.fixes, str):
        recipe = recipe.replace(fixes=to_json(read_fixes(Path(recipe.fixes))))
    if recipe.groups is not None:
        recipe = recipe.replace(groups=settled(recipe.groups))
    # A folder that happens to be called imagenet is not what --weights imagenet asks for.
    if recipe.weights not in (AUTO, *NAMED) and Path(recipe.weights).exists():
        recipe = recipe.replace(weights=str(Path(recipe.weights).resolve()))
    return with_whole_paths(recipe)


def refuse_place(run: Path, layout: Layout, resume: bool) -> None:
    """Refuse to write over something, or among the pictures, where the run's own would become a class."""
    # What stands there before a run counts as begun: see where recipe.json is written.
    unbegun = {SPLIT, SEEN, THUMBNAILS, COPIES, DESCRIPTION, FOLDS} if resume else set()
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: give a folder with --out")
    if run.exists() and not unbegun.issuperset(occupants(run)):
        way = "holds no run to continue:" if resume else "is not empty: continue it with --resume, or"
        raise InputError(f"{run} {way} use another --out")
    for place in (layout.train, layout.validation, layout.test):
        if place is not None and run.resolve().is_relative_to(place.resolve()):
            there = place.resolve()
            such = quote(str(there.with_name(f"{there.name}-run")))
            raise InputError(f"{run} is inside the picture folder {place}: choose an --out outside it, such as {such}")
    check_folder(run)


def _begun(request: Request) -> Settled:
    """Read a run that was begun; raises ``InputError`` where the request asks for other settings, or it is damaged."""
    record = Record.read(request.run)
    recipe, data = record.recipe, record.data
    given = load_recipe(request.recipe)
    wished = {name: getattr(given, name) for name in stated(request.recipe)} | dict(request.settings)
    wish = _taken_in(recipe.replace(**wished))
    for name in sorted(wished):
        # What auto came to is written in the run's own recipe.
        if not left_to_auto(name, wished[name]) and getattr(wish, name) != getattr(recipe, name):
            flag = f"--{name.replace('_', '-')}" if name in request.settings else "--recipe"
            raise InputError(
                f"--resume keeps the run's own settings, here {name} {getattr(recipe, name)}: leave {flag} out"
            )
    if recipe.task == DETECTION:
        halves = {"split_file": request.run / SPLIT, "classes": data.classes}
        again = prepare_boxes_again(request.data, data.fingerprint, **box_settings(recipe), **halves)
        # What was found when the run began, copies among it, is not looked for again.
        again = replace(again, problems=data.problems, notes=data.notes, copies=data.copies)
        return Settled(recipe, record, replace(again, seen_by_source=data.seen_by_source))
    known = (data.problems, recipe.workers, data.notes, data.seen_by_source, data.copies, recipe.folds is not None)
    dataset = prepare_again(
        request.data, request.run / SPLIT, data.classes, data.fingerprint, *known, fix=fixing(recipe.fixes)
    )
    return Settled(recipe, record, dataset)


def box_settings(recipe: Recipe) -> dict[str, Any]:
    """Give the settings of a recipe by which boxes are read and split."""
    return {
        "share": recipe.validation_share,
        "seed": recipe.seed_of_split,
        "max_bad": recipe.max_bad,
        "max_unreadable": recipe.max_unreadable,
        "workers": recipe.workers,
        "fix": fixing(recipe.fixes),
    }


def _chosen(choice: Choice | None, request: Request) -> dict[str, Any]:
    """Say which settings ``--minutes`` chose, and the most epochs that the clock may let it have."""
    if choice is None:
        return {}
    names = {"model", "width", "size", "freeze", "views", "epochs", "head_epochs"} - request.stated
    return {"chosen": {name: getattr(choice.recipe, name) for name in sorted(names)}, "most_epochs": choice.most}
