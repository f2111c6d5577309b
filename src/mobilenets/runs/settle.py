"""What a run is to be: the settings and the place that were asked for, or what the run in its folder is already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json
from mobilenets.base.leftovers import UNFINISHED, clear_leftovers, occupants
from mobilenets.base.notes import log
from mobilenets.datasets.boxes.read import prepare_boxes_again
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.prepare import Dataset, prepare_again
from mobilenets.doctor.fixes import fixing, read_fixes, to_json
from mobilenets.doctor.groups import settled
from mobilenets.errors import InputError
from mobilenets.models.catalog import TABLE_HINT
from mobilenets.runs.copies import COPIES, THUMBNAILS
from mobilenets.runs.folder import check_folder, refuse_inside
from mobilenets.runs.record import FOLDS, RECIPE, SPLIT, Record
from mobilenets.runs.request import Request
from mobilenets.runs.seen import SEEN
from mobilenets.runs.teachers import with_whole_paths
from mobilenets.runtime.bundle import DESCRIPTION, DETECTION
from mobilenets.training import checkpoint
from mobilenets.training.recipe import AUTO, Recipe, left_to_auto
from mobilenets.training.recipes import load_recipe, stated
from mobilenets.weights.start import NAMED


@dataclass(frozen=True)
class Settled:
    """The settings of a run; of one that is taken up again also its record and its pictures."""

    recipe: Recipe
    record: Record | None = None
    dataset: Dataset | None = None


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
        again: Dataset = prepare_boxes_again(request.data, data.fingerprint, **box_settings(recipe), **halves)
    else:
        known = (data.classes, data.fingerprint, data.problems, recipe.workers, recipe.folds is not None)
        again = prepare_again(request.data, request.run / SPLIT, *known, fixing(recipe.fixes))
    # What was found when the run began, copies among it, is not looked for again.
    found = {name: getattr(data, name) for name in ("problems", "notes", "seen_by_source", "copies")}
    return Settled(recipe, record, replace(again, **found))


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
    refuse_inside(run, layout)
    check_folder(run)


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
