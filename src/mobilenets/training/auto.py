"""The settings that a recipe leaves to "auto", filled in once: ``recipe.json`` has none of them left."""

from __future__ import annotations

import math
from typing import Any

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.stages import steps_per_epoch

# Steps that a run of each kind aims at, from either side of which the least and the most epochs hold it.
TRAINED_STEPS, TRAINED_EPOCHS = 600, (4, 60)
SCRATCH_STEPS, SCRATCH_EPOCHS = 750, (10, 60)
# The classifier's epochs cost next to nothing, and the upper blocks learn what they can in fewer.
HEAD_SHARE = 0.6
# Augmented views are made ahead for so many pictures in all; more than four per picture gained nothing that was seen.
VIEWED, MOST_VIEWS = 4000, 4
LR = 2e-3
"""For weights that begin at random: a new classifier, or a whole network."""
FINE_LR = 1e-3
"""For the blocks of a trained network."""


def size_from_scratch(recipe: Recipe, side: int | None) -> int:
    """Give the size for a network that begins at random, in pixels: beyond the pictures' ``side`` is nothing to see.

    The side up to the next multiple of 32, at most the recipe's own size. Trained weights do want small pictures
    enlarged, because they know things of the size that they were trained with.
    """
    if side is None or recipe.table is not None:
        return recipe.size
    return min(recipe.size, 32 * max(1, -(-side // 32)))


def resolve(recipe: Recipe, pictures: int, architecture: Architecture, *, trained: bool, head_kept: bool) -> Recipe:
    """Fill in what ``recipe`` leaves to "auto".

    The number of steps decides, so small sets get smaller batches and more epochs, and large sets fewer epochs:

    - ``batch`` is a sixteenth of the pictures, down to a power of two, and 8 to 32.
    - ``epochs`` is what 600 steps take from trained weights, 4 to 60, and what 750 take from scratch, 10 to 60.
    - ``freeze``, with trained weights: the blocks up to the last that halves the map; else none.
    - ``head_epochs``, where ``freeze`` was auto and the classifier is a new one: the first three fifths of the epochs.
    - ``lr`` is 2e-3, and 1e-3 for blocks of a trained network that ``freeze`` auto leaves free.
    - ``augment`` is light with ``freeze`` backbone from trained weights, else photo.
    - ``views`` is 4 for up to 1,000 pictures, and as many as make 4,000 in all beyond, at least one.

    Settings that are given stay as they are; ``weights`` is no longer auto. ``pictures`` counts those to learn from.
    ``trained`` says whether the network begins with trained weights, ``head_kept`` whether these include a classifier
    for the same classes. Raises ``InputError`` for ``head_epochs`` without trained weights.
    """
    if recipe.head_epochs and not trained:
        raise InputError("head_epochs: needs trained weights; leave --head-epochs out, or set --weights")
    staged = recipe.freeze == AUTO and trained
    batch = recipe.batch or 2 ** int(math.log2(min(32, max(8, pictures / 16))))
    if recipe.steps is not None:
        epochs = math.ceil(recipe.steps / steps_per_epoch(batch, recipe.accumulate, pictures))
    elif recipe.epochs:
        epochs = recipe.epochs
    else:
        steps, (least, most) = (TRAINED_STEPS, TRAINED_EPOCHS) if trained else (SCRATCH_STEPS, SCRATCH_EPOCHS)
        epochs = min(most, max(least, round(steps * batch / pictures)))
    filled: dict[str, Any] = {
        "batch": batch,
        "epochs": epochs,
        "head_epochs": max(1, round(HEAD_SHARE * epochs)) if staged and not head_kept else 0,
        "lr": FINE_LR if staged else LR,
        "head_lr": LR,
        "views": min(MOST_VIEWS, max(1, VIEWED // pictures)),
    }
    missing = {name: value for name, value in filled.items() if getattr(recipe, name) is None}
    if recipe.freeze == AUTO:
        missing["freeze"] = str(lower_blocks(architecture)) if staged else "none"
    if recipe.augment == AUTO:
        # A classifier alone cannot adapt the features to hard crops: 93 against 97 % (docs/measured/training.md).
        missing["augment"] = "light" if recipe.freeze == "backbone" and trained else "photo"
    filled_in = recipe.replace(**missing)
    # Beyond the last epoch there is nothing to train: all of them are the classifier's then.
    return filled_in.replace(head_epochs=min(filled_in.head_epochs, epochs))


def lower_blocks(architecture: Architecture) -> int:
    """Count the blocks that stay frozen in fine-tuning: those before the last one that halves the map."""
    strides = [block.stride for block in architecture.plan().blocks]
    halving = [place for place, stride in enumerate(strides) if stride > 1]
    return halving[-1] if halving and halving[-1] > 0 else max(1, len(strides) // 2)
