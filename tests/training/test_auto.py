from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.models.catalog import describe
from mobilenets.training.auto import lower_blocks, resolve, size_from_scratch
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import RECIPES
from mobilenets.training.stages import rates, stages

V2 = describe("mobilenet_v2", 1.0, 224)


def filled(pictures: int, trained: bool, head_kept: bool = False, **settings: Any) -> Recipe:
    return resolve(Recipe(**settings), pictures, V2, trained=trained, head_kept=head_kept)


# Photos, of which four fifths are learned from: batch, epochs, of these the classifier's, views.
@pytest.mark.parametrize(
    ("photos", "expected"),
    [(30, (8, 60, 36, 4)), (85, (8, 60, 36, 4)), (1000, (32, 24, 14, 4)), (20_000, (32, 4, 2, 1))],
)
def test_trained_weights(photos: int, expected: tuple[int, ...]) -> None:
    recipe = filled(photos * 4 // 5, trained=True)
    assert (recipe.batch, recipe.epochs, recipe.head_epochs, recipe.views) == expected
    assert (recipe.freeze, recipe.lr, recipe.head_lr) == ("14", 1e-3, 2e-3)


@pytest.mark.parametrize(("photos", "expected"), [(30, (8, 60)), (85, (8, 60)), (1000, (32, 30)), (20_000, (32, 10))])
def test_from_scratch(photos: int, expected: tuple[int, ...]) -> None:
    recipe = filled(photos * 4 // 5, trained=False)
    assert (recipe.batch, recipe.epochs) == expected
    assert (recipe.freeze, recipe.lr, recipe.head_epochs) == ("none", 2e-3, 0)


@pytest.mark.parametrize("trained", [True, False])
def test_more_pictures_never_mean_fewer_steps_nor_more_epochs(trained: bool) -> None:
    recipes = [filled(count, trained) for count in range(8, 3000, 7)]
    for one, two in pairwise(recipes):
        assert two.batch >= one.batch
        assert two.epochs <= one.epochs or two.batch > one.batch


def test_what_is_given_stands() -> None:
    given = {"epochs": 7, "batch": 5, "lr": 0.5, "views": 9, "freeze": "3", "head_epochs": 2, "head_lr": 0.25}
    recipe = filled(100, True, **given)
    assert {name: getattr(recipe, name) for name in given} == given
    # An explicit --freeze is one stage.
    assert filled(100, True, freeze="backbone").head_epochs == filled(100, True, freeze="none").head_epochs == 0
    assert filled(100, True, epochs=1).head_epochs == 1
    assert filled(100, True, epochs=3).head_epochs == 2
    assert filled(100, True, steps=50, batch=10).epochs == 5
    # A classifier that knows the classes needs no stage of its own.
    assert filled(100, True, head_kept=True).head_epochs == 0
    assert resolve(recipe, 5000, V2, trained=True, head_kept=True) == recipe
    with pytest.raises(InputError, match="head_epochs: needs trained weights"):
        filled(100, False, head_epochs=2)


def test_lower_blocks_end_where_the_map_is_halved_last() -> None:
    assert lower_blocks(V2) == 14
    assert lower_blocks(describe("mobilenet_v1", 1.0, 224)) == 12
    assert lower_blocks(describe("mobilenet_v1_cifar", 1.0, 32)) > 0


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("photos", "boxes", "shapes")])
def test_recipes_of_tutorials_leave_nothing_to_auto(name: str) -> None:
    recipe = RECIPES[name]
    assert (recipe.weights, recipe.freeze, recipe.views) == ("none", "none", 4)
    assert recipe.batch and recipe.lr and (recipe.epochs or recipe.steps)
    whole = resolve(recipe, 1000, describe(recipe.model, recipe.width, recipe.size), trained=False, head_kept=False)
    assert whole.head_epochs == 0


def test_stages_cover_the_run() -> None:
    recipe = filled(100, True, epochs=6, head_epochs=3, batch=10, schedule="cosine", patience=2)
    head, body = stages(recipe, 100)
    assert (head.first, head.last, body.first, body.last) == (0, 3, 3, 6)
    assert (head.recipe.freeze, head.recipe.patience) == ("backbone", None)
    assert (body.recipe.freeze, body.recipe.patience) == ("14", 2)
    epochs, course = rates((head, body))
    assert len(epochs) == len(course) == 60
    # Each rises to a peak of its own, and falls to nearly nothing.
    assert max(course[:30]) == pytest.approx(2e-3)
    assert max(course[30:]) == pytest.approx(1e-3)
    assert course[29] < 1e-4
    assert course[59] < 1e-4
    (one,) = stages(filled(100, False, epochs=6, batch=10), 100)
    assert (one.first, one.last, one.steps) == (0, 6, 60)
    cut = stages(filled(100, True, steps=35, batch=10), 100)
    assert [stage.end - stage.begin for stage in cut] == [20, 15]


@pytest.mark.parametrize(
    ("settings", "trained", "expected"),
    [
        ({"freeze": "backbone"}, True, "light"),
        ({"freeze": "backbone"}, False, "photo"),
        ({}, True, "photo"),
        ({"freeze": "backbone", "augment": "strong"}, True, "strong"),
    ],
)
def test_a_classifier_alone_sees_mild_crops(settings: dict[str, Any], trained: bool, expected: str) -> None:
    assert filled(800, trained, **settings).augment == expected


@pytest.mark.parametrize(("side", "size"), [(8, 32), (32, 32), (100, 128), (1000, 224), (None, 224)])
def test_from_scratch_small_pictures_are_not_enlarged(side: int | None, size: int) -> None:
    assert size_from_scratch(Recipe(), side) == size
    assert size_from_scratch(Recipe(table={"name": "own"}), side) == 224
