"""Going on from a run: its recipe for a training that begins with what became of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_given, read_json, write_bytes
from mobilenets.base.notes import log
from mobilenets.datasets.layout import find_data
from mobilenets.errors import InputError
from mobilenets.models.saved import SavedModel, load_classifier, save_weights
from mobilenets.runs.folder import check_folder, refuse_inside
from mobilenets.runs.held_out import Halves, finder, pictures_to_export
from mobilenets.runs.record import RECIPE
from mobilenets.runs.seen import SEEN
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle, find_bundle, read_bundle, write_bundle
from mobilenets.runtime.exported import file_hash
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe
from mobilenets.training.refused import INT8, SOFT


def open_to_go_on(run: Path, done: str) -> SavedModel:
    """Open the classifier that is to be ``done`` something with; raises ``InputError`` for a detector."""
    saved = load_classifier(run)
    if saved.bundle.task != CLASSIFICATION:
        raise InputError(f"{run}: only classifiers are {done} so far")
    return saved


def pictures_to_go_on(run: Path, data: Path, classes: tuple[str, ...], out: Path) -> Halves:
    """Give the pictures to learn from and those to measure on.

    Raises ``InputError``, before anything is written, for other classes, where the run learned from all, and for an
    ``out`` among the pictures.
    """
    refuse_inside(out, find_data(data, finder(run, classes)))
    halves = pictures_to_export(run, data, classes, training=True)
    if halves.learned is not None and halves.learned >= len(halves.training) + len(halves.measured):
        raise InputError(
            f"{run}: learned from all of these pictures, as with --folds, so none can tell what this costs: give DATA "
            "with train/ and a validation/ of others"
        )
    return halves


def folder_beside(run: Path, out: str | Path | None, word: str) -> Path:
    """Give the run folder to write: ``out``, by default that of the run with a word behind its name."""
    named = run if run.name.strip(".") else run.resolve()
    return check_folder(Path(out) if out is not None else named.with_name(f"{named.name}-{word}"))


def further(run: Path, epochs: int | None, device: str) -> Recipe:
    """Give the recipe of ``run`` for a training that goes on: all blocks learn, in one stage.

    By default it takes a quarter of the run's epochs, at least 2. A teacher that is gone is left out, and said. Raises
    ``InputError`` where the run has no recipe.
    """
    path = find_bundle(run) / RECIPE
    if not path.is_file():
        raise InputError(f"{run}: no {RECIPE} there: give the folder that `mobilenets train --out` wrote")
    own, usual = load_recipe(path), Recipe()
    reset = ["minutes", "folds", "seeds", "lr", "head_lr", "head_epochs", "views"]
    places = [*(own.teacher or ()), *filter(None, [own.unlabelled])]
    if gone := [place for place in places if not Path(place).exists()]:
        log.warning("%s: not there any more, so what goes on from %s learns from labels alone", ", ".join(gone), run)
        reset += ["teacher", "unlabelled", *SOFT]
    few = max(2, round((own.epochs or 8) / 4)) if epochs is None else epochs
    return own.replace(
        **{name: getattr(usual, name) for name in reset},
        epochs=few,
        freeze="none",
        steps=None,
        variant="auto",
        device=device,
        precision=usual.precision if own.precision == INT8 else own.precision,
    )


def starting_from(recipe: Recipe, start: Path) -> Recipe:
    """Give the recipe with the network and the weights of the model in ``start``."""
    described = read_bundle(start).architecture
    network = {name: described[name] for name in ("width", "size", "variant")} | {"table": None}
    if described["variant"] == "custom":
        network |= {"width": 1.0, "table": described["table"], "variant": recipe.variant}
    return recipe.replace(weights=str(start), model=described["name"], **network)


def asked_of(run: Path, **settings: Any) -> dict[str, Any]:
    """Give what was asked of ``run``, as ``begun`` compares it: wherever it is called from, or moved to."""
    return {"sha256": file_hash(find_bundle(run) / WEIGHTS), **settings}


def begun(folder: Path, mark: str, asked: Mapping[str, Any], work: str) -> bool:
    """Say whether ``folder`` holds what was begun with the settings ``asked``, which its file ``mark`` has.

    Raises ``InputError`` where it was begun with others, or holds anything else.
    """
    if not (folder / mark).exists():
        if folder.exists():
            raise InputError(f"{folder}: is there already, of an earlier {work}; remove it, or choose another --out")
        return False
    if read_json(folder / mark, "remove its folder, and begin again") != asked:
        raise InputError(
            f"{folder}: was begun with another model or other settings: give those, remove it, or choose another --out"
        )
    log.info("going on with what was begun in %s", folder)
    return True


def write_start(saved: SavedModel, run: Path, folder: Path, made: str) -> None:
    """Write what became of ``run`` as a model to train from, which has seen what the run has seen.

    ``made`` says in its ``model.json`` what was done: ``pruned``.
    """
    folder.mkdir(exist_ok=True)
    bundle = Bundle(
        saved.network.architecture.to_json(),
        saved.bundle.classes,
        saved.bundle.preprocessing,
        {"weights": str(run), made: True, "before": dict(saved.bundle.origin)},
        saved.bundle.labels,
        task=saved.bundle.task,
        outputs=saved.bundle.outputs,
    )
    write_bundle(folder, bundle)
    seen = find_bundle(run) / SEEN
    if seen.is_file():
        write_bytes(folder / SEEN, read_given(seen))
    # Last, because they mark it as whole.
    save_weights(folder / WEIGHTS, saved.network.state_dict())
