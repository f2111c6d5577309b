from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.models.catalog import describe
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.training.recipe import Recipe, parse_setting
from mobilenets.training.recipes import RECIPES, load_recipe, stated


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_named_recipes_are_whole(recipe: Recipe) -> None:
    describe(recipe.model, recipe.width, recipe.size, variant=recipe.variant, dropout=recipe.dropout)
    assert recipe.augment == "auto" or build(recipe.augment, Preprocessing(recipe.size)).transforms
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("keras-cifar100", {"optimizer": "adam", "lr": 1e-3, "batch": 128, "patience": 30, "model": "mobilenet_v2"}),
        ("cifar10-light", {"optimizer": "adam", "lr": 1e-3, "batch": 100, "steps": 20_000}),
        (
            "garbage-mindspore",
            {"momentum": 0.9, "lr": 0.05, "schedule": "cosine", "weight_decay": 1e-4, "batch": 16, "epochs": 10},
        ),
    ],
)
def test_the_tutorials_settings(name: str, settings: dict[str, Any]) -> None:
    values = load_recipe(name).to_json()
    assert {key: values[key] for key in settings} == settings
    assert values["augment"] == name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width 0: give a number above 0 and at most 16"),
        ({"epochs": 0}, "epochs 0: give a number of at least 1"),
        ({"epochs": 2.5}, "epochs 2.5: give a whole number"),
        ({"epochs": True}, "epochs True: give a whole number"),
        ({"lr": float("nan")}, "lr nan: give a number above 0"),
        ({"lr": 10**400}, "lr inf: give a number above 0"),
        ({"epochs": 10**400}, "epochs inf: give a whole number"),
        ({"momentum": 1.0}, "momentum 1: give a number of at least 0 and below 1"),
        ({"optimizer": "adamx"}, "optimizer 'adamx': choose sgd, adam, adamw, rmsprop"),
        ({"freeze": "head"}, "freeze 'head': choose auto, none, backbone or a number of blocks"),
        ({"nesterov": True}, "nesterov: needs --optimizer sgd"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0}, "and a momentum above 0"),
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean epochs?"),
        ({"batch_size": 3}, "unknown setting 'batch_size'; did you mean batch?"),
        ({"pretrained": True}, "unknown setting 'pretrained'; did you mean weights='imagenet'?"),
        ({"zzz": 3}, "unknown setting 'zzz'"),
        ({"unlabelled": "more"}, "unlabelled: without effect where nobody teaches; give --teacher MODEL too"),
        ({"soft_share": 0.5}, "soft_share: without effect where nobody teaches"),
        ({"teacher": []}, "teacher []: give the path of a model, or a list of such"),
        ({"teacher": ["big", 3]}, "teacher ['big', 3]: give the path of a model"),
        ({"teacher": "big", "folds": 3}, "folds: a teacher that learned from all pictures tells each fold"),
        ({"teacher": "big", "task": "detection"}, "teacher: teaches classes of whole pictures so far, not detection"),
        ({"teacher": "big", "unlabelled": "more", "balance": "sampling"}, "use --balance weights"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.from_json(settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_become_what_the_field_says() -> None:
    recipe = Recipe(lr=1, clip=2)
    assert isinstance(recipe.lr, float)
    assert isinstance(recipe.clip, float)
    assert recipe == Recipe(lr=1.0, clip=2.0)


def test_replace_keeps_the_rest() -> None:
    recipe = load_recipe("digits").replace(epochs=3)
    changed = {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(recipe, field.name) != getattr(RECIPES["digits"], field.name)
    }
    assert changed == {"epochs"}


def test_words_of_the_command_line() -> None:
    assert parse_setting("epochs")("3") == 3
    assert parse_setting("lr")("1e-2") == 0.01
    assert parse_setting("clip")("none") is None
    assert parse_setting("patience")("None") is None
    assert parse_setting("freeze")("none") == "none"
    assert parse_setting("epochs")("auto") is None
    assert parse_setting("lr")("auto") is None
    assert parse_setting("weights")("auto") == parse_setting("freeze")("auto") == "auto"
    assert parse_setting("augment")("photo") == "photo"
    with pytest.raises(ValueError, match="invalid literal"):
        parse_setting("epochs")("three")


def test_recipe_files(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"recipe": Recipe(epochs=3).to_json(), "versions": {}}))
    assert load_recipe(file) == Recipe(epochs=3)
    file.write_text('{"epochs": 4}')
    assert load_recipe(str(file)) == Recipe(epochs=4)
    assert load_recipe(None) == load_recipe("photos") == RECIPES["photos"]
    with pytest.raises(InputError, match="unknown recipe 'photo': choose photos, "):
        load_recipe("photo")
    none = ("[1]", '[{"lr": 1}]', '{"recipe": 5}', "null")
    wrong = {"not JSON": ["{"], "expected an object": none, "lr 'x'": ['{"lr": "x"}']}
    for message, contents in wrong.items():
        for content in contents:
            file.write_text(content)
            for read in (load_recipe, stated):
                with pytest.raises(InputError, match=message):
                    read(file)


def test_numbers_of_numpy() -> None:
    settings = {"epochs": np.int64(3), "size": np.int32(64), "width": np.float32(0.35), "lr": np.float64(0.01)}
    recipe = Recipe(**settings, nesterov=np.bool_(False))  # type: ignore[arg-type]
    assert (recipe.epochs, recipe.size, recipe.width, recipe.lr) == (3, 64, 0.35, 0.01)
    assert all(type(value) in (int, float, bool, str, type(None)) for value in recipe.to_json().values())
    with pytest.raises(InputError, match=r"epochs 2\.5: give a whole number"):
        Recipe(epochs=np.float32(2.5))  # type: ignore[arg-type]


def test_one_teacher_or_several() -> None:
    assert Recipe(teacher="big") == Recipe(teacher=["big"]) == Recipe(teacher=Path("big"))  # type: ignore[arg-type]
    both = Recipe(teacher=[Path("big"), "other"])
    assert both.teacher == ["big", "other"] and Recipe.from_json(both.to_json()) == both


def test_a_path_is_as_good_as_its_text() -> None:
    assert Recipe(weights=Path("runs/one")).weights == str(Path("runs/one"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch"):
        Recipe(batch=Path("8"))  # type: ignore[arg-type]
