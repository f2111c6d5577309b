"""Recipes by name, and recipes from files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json
from mobilenets.errors import InputError
from mobilenets.training.recipe import Recipe

# From scratch unless the command line says otherwise, and in one stage.
_PLAIN: dict[str, Any] = {"weights": "none", "freeze": "none", "views": 4}
# Pictures of 32 pixels as they are, and Adam at one rate with nothing added.
_CIFAR: dict[str, Any] = _PLAIN | {
    "size": 32,
    "crop_fraction": 1.0,
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "label_smoothing": 0.0,
}

# What tutorials and we ourselves train with, by name. A recipe states only what differs from the defaults.
RECIPES: dict[str, Recipe] = {
    # A folder of photos: trained weights where they can be had, and as many steps as the pictures need.
    "photos": Recipe(),
    # Photos with boxes: SSDLite at the paper's size, on pictures squashed as in SSD. The published schedules, 200,000
    # steps of TensorFlow's RMSprop at 0.004 and torchvision's 660 epochs of SGD at 0.15, are for COCO on many machines.
    "boxes": Recipe(task="detection", size=320, variant="standard", resize="stretch", label_smoothing=0.0, ema=0.998),
    # The demo of detection: 600 drawn pictures; AP50 of 61 and 69 % on 120 of them, in 3.5 minutes.
    # No choice is made on the validation pictures.
    "shapes": Recipe(
        task="detection",
        width=0.35,
        size=160,
        variant="standard",
        resize="stretch",
        label_smoothing=0.0,
        weights="none",
        freeze="none",
        augment="light",
        epochs=18,
        batch=8,
        lr=4e-3,
        ema=0.99,
        keep="last",
    ),
    # The demo: scikit-learn's 8 × 8 digits at 32 pixels. No choice is made on the validation pictures.
    "digits": Recipe(
        **_PLAIN,
        model="mobilenet_v1_cifar",
        size=32,
        augment="digits",
        crop_fraction=1.0,
        epochs=15,
        batch=32,
        lr=4e-3,
        keep="last",
    ),
    # Fashion-MNIST at its own 28 pixels; docs/measured/fashion-mnist.md has command, hardware, time and score.
    "fashion-mnist": Recipe(
        **_PLAIN,
        model="mobilenet_v1_cifar",
        width=2.0,
        size=28,
        augment="light",
        crop_fraction=1.0,
        epochs=27,
        batch=128,
        lr=1e-2,
        ema=0.998,
        keep="last",
    ),
    # MobileNetV2 in Keras on CIFAR-100, trained at 32 pixels.
    "keras-cifar100": Recipe(**_CIFAR, augment="keras-cifar100", epochs=300, batch=128, patience=30),
    # The light V1 for CIFAR-10; its classifier's own L2 is in the network's table.
    "cifar10-light": Recipe(**_CIFAR, model="mobilenet_v1_cifar", augment="cifar10-light", steps=20_000, batch=100),
    # MobileNetV2 in MindSpore on garbage; the tutorial starts from weights and freezes the backbone:
    # add --weights MODEL --freeze backbone.
    "garbage-mindspore": Recipe(
        **_PLAIN,
        augment="garbage-mindspore",
        epochs=10,
        batch=16,
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=1e-4,
        warmup=0.0,
        label_smoothing=0.0,
    ),
}


def load_recipe(recipe: Recipe | str | Path | None) -> Recipe:
    """Return a recipe given as itself, by name, or as a ``recipe.json``; None is the one for photos.

    Raises ``InputError`` for a name that none has, with those there are.
    """
    if isinstance(recipe, Recipe):
        return recipe
    name = "photos" if recipe is None else str(recipe)
    if Path(name).is_file():
        return Recipe.from_json(_read(Path(name)))
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}: choose {', '.join(RECIPES)}, or give a recipe.json")
    return RECIPES[name]


def _read(path: Path) -> Any:
    value = read_json(path, "give the recipe.json of a run")
    return value.get("recipe", value) if isinstance(value, dict) else value


def stated(recipe: Recipe | str | Path | None) -> set[str]:
    """Name the settings that a recipe states: all in its file, or else those that differ from the defaults.

    Raises ``InputError`` as ``load_recipe`` does.
    """
    chosen, default = load_recipe(recipe), Recipe()
    if isinstance(recipe, (str, Path)) and Path(recipe).is_file():
        return set(_read(Path(recipe)))
    return {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(chosen, field.name) != getattr(default, field.name)
    }
