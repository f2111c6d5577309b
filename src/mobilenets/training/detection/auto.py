"""The settings that a recipe for boxes leaves to "auto", and those that it cannot have."""

from __future__ import annotations

import math

from mobilenets.errors import InputError
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.stages import steps_per_epoch

# Steps that a run aims at, and the epochs that hold it: boxes and classes are learned at once, from fresh heads.
TRAINED_STEPS, TRAINED_EPOCHS = 1500, (10, 120)
SCRATCH_STEPS, SCRATCH_EPOCHS = 3000, (20, 200)
LR = 1e-3
# In pixels; one cell of the first map sees a 16th of a picture of this side.
LEAST_SIZE = 32


def refuse_unfit(recipe: Recipe) -> None:
    """Raise ``InputError`` for a setting that training on boxes does not have."""
    for name in ("folds", "seeds", "mixup", "cutmix", "head_epochs", "views"):
        if getattr(recipe, name):
            raise InputError(f"{name}: not for boxes yet; leave --{name.replace('_', '-')} out")
    for name, unset in (("label_smoothing", 0), ("dropout", None), ("variant", "standard")):
        if getattr(recipe, name) not in (unset, "auto"):
            flag = f"--{name.replace('_', '-')}"
            way = f"leave {flag} out" if name == "dropout" else f"use {flag} {unset}"
            raise InputError(f"{name} {getattr(recipe, name)}: without effect on a detector; {way}")
    if recipe.balance != "none":
        raise InputError(f"balance {recipe.balance}: for whole pictures; leave --balance out: the loss balances boxes")
    if recipe.size < LEAST_SIZE:
        raise InputError(f"size {recipe.size}: too small to find anything in; give --size {LEAST_SIZE} or more")
    if recipe.resize != "stretch":
        raise InputError(f"resize {recipe.resize}: with boxes a picture is seen whole; use --resize stretch")


def resolve_boxes(recipe: Recipe, pictures: int, trained: bool) -> Recipe:
    """Fill in what is left to "auto", as ``mobilenets.training.auto.resolve`` does for classes.

    - ``batch`` is 16, and 8 for fewer than 200 pictures.
    - ``epochs`` is what 1,500 steps take from trained weights, 10 to 120, and what 3,000 take from scratch, 20 to 200.
    - ``lr`` is 1e-3, ``freeze`` none, ``augment`` photo.
    """
    batch = recipe.batch or (16 if pictures >= 200 else 8)
    width = steps_per_epoch(batch, recipe.accumulate, pictures)
    steps, (least, most) = (TRAINED_STEPS, TRAINED_EPOCHS) if trained else (SCRATCH_STEPS, SCRATCH_EPOCHS)
    epochs = math.ceil(recipe.steps / width) if recipe.steps is not None else recipe.epochs
    return recipe.replace(
        batch=batch,
        epochs=epochs or min(most, max(least, round(steps / width))),
        head_epochs=0,
        views=0,
        lr=recipe.lr or LR,
        head_lr=recipe.head_lr or LR,
        freeze="none" if recipe.freeze == AUTO else recipe.freeze,
        augment="photo" if recipe.augment == AUTO else recipe.augment,
    )
