"""Going on from a run: its recipe for a training that begins with what became of its weights."""

from __future__ import annotations

from pathlib import Path

from mobilenets.errors import InputError
from mobilenets.runs.record import RECIPE
from mobilenets.runtime.bundle import find_bundle, read_bundle
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe


def further(run: Path, epochs: int | None, device: str) -> Recipe:
    """Give the recipe of ``run`` for a training that goes on: all blocks learn, in one stage.

    By default it takes a quarter of the run's epochs, at least 2. Raises ``InputError`` where the run has no recipe.
    """
    path = find_bundle(run) / RECIPE
    if not path.is_file():
        raise InputError(f"{run}: no {RECIPE} there: give the folder that `mobilenets train --out` wrote")
    own, usual = load_recipe(path), Recipe()
    reset = ("minutes", "folds", "seeds", "lr", "head_lr", "head_epochs", "views")
    few = max(2, round((own.epochs or 8) / 4)) if epochs is None else epochs
    return own.replace(
        **{name: getattr(usual, name) for name in reset},
        epochs=few,
        freeze="none",
        steps=None,
        variant="auto",
        device=device,
    )


def starting_from(recipe: Recipe, start: Path) -> Recipe:
    """Give the recipe with the network and the weights of the model in ``start``."""
    described = read_bundle(start).architecture
    network = {name: described[name] for name in ("width", "size", "variant")} | {"table": None}
    if described["variant"] == "custom":
        network |= {"width": 1.0, "table": described["table"], "variant": recipe.variant}
    return recipe.replace(weights=str(start), model=described["name"], **network)
