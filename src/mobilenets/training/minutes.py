"""``--minutes``: what to train so that a run ends in time. Settings that were given stand; the others are chosen.

The candidates stand in an order, the one that learns most where there is time enough for it first. A few of them are
tried for real, and the first that gets through enough of its epochs is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.measure.cost import cost
from mobilenets.models.catalog import CATALOG
from mobilenets.training.forecast import Forecast
from mobilenets.training.pace import usable
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.stages import Stage, stages
from mobilenets.training.start import architecture_of

# Networks that begin at random, best first: name, width, size. Beyond the side of the pictures there is nothing to see.
SCRATCH = (
    ("mobilenet_v2", 1.0, 224),
    ("mobilenet_v2", 1.0, 160),
    ("mobilenet_v2", 1.0, 128),
    ("mobilenet_v1_cifar", 1.0, 64),
    ("mobilenet_v1_cifar", 1.0, 48),
    ("mobilenet_v1_cifar", 1.0, 32),
)
# Of trained networks the size alone is chosen, and what of them is trained: both stages, or the classifier.
SIZES = (224, 192, 160, 128, 96)
# A candidate gets through so much of the epochs that auto would give it, or a smaller one learns more in the time. From
# scratch on 779 drawings, V1 for CIFAR at 64 reached 32 % in 12 epochs; V2 at 96 took 30 epochs, ten times as long, for
# 29 %.
ENOUGH, ENOUGH_SCRATCH = 0.6, {"mobilenet_v2": 1.5, "mobilenet_v1_cifar": 0.4}
# Beyond auto's epochs there is little to gain; a network that begins at random goes on learning.
MOST_EPOCHS = {True: 1.0, False: 2.0}
# Of the time for training, what is planned with; the rest is taken up while it runs, if nothing was slower.
PLANNED = 0.9
TRIED = 3
# Of the whole time, what may go by before the plan stands.
CHOOSING = 0.15


@dataclass(frozen=True)
class Option:
    """A candidate as measured: its ``recipe`` with nothing left to auto, and the ``forecast`` of its ``plan``."""

    recipe: Recipe
    plan: tuple[Stage, ...]
    forecast: Forecast


@dataclass(frozen=True)
class Choice(Option):
    """What was chosen: the recipe, its stages, what they are expected to take, and the most epochs that make sense."""

    most: int


def candidates(recipe: Recipe, given: set[str], *, trained: bool, side: int | None) -> list[dict[str, Any]]:
    """List the settings to choose among, best first; at least one, which may be empty.

    ``given`` names the settings that stand, ``trained`` says whether there are trained weights, and ``side`` is the
    typical shorter side of the pictures in pixels.
    """
    found = [dict(changes) for changes in (_trained(recipe, given) if trained else _scratch(recipe, given))]
    sizes = [one["size"] for one in found if "size" in one]
    largest = None if side is None else min((size for size in sizes if size >= side), default=None)
    fitting = [one for one in found if largest is None or one.get("size", 0) <= largest]
    return fitting or found or [{}]


def _trained(recipe: Recipe, given: set[str]) -> Iterator[dict[str, Any]]:
    smaller = () if "size" in given else [size for size in SIZES if size < recipe.size]
    sizes = [recipe.size, *smaller]
    auto: dict[str, Any] = {}
    freezes = [auto, {"freeze": "backbone"}] if recipe.freeze == AUTO and not recipe.head_epochs else [auto]
    counts = [auto, {"views": 1}] if recipe.views is None else [auto]
    for size in sizes:
        for freeze in freezes:
            for views in counts:
                yield {"size": size, **freeze, **views}


def _scratch(recipe: Recipe, given: set[str]) -> Iterator[dict[str, Any]]:
    network = {"model", "width", "variant", "table", "freeze"} & given
    for name, width, size in SCRATCH:
        if "size" in given and size != recipe.size and (network or name == "mobilenet_v1_cifar"):
            continue
        size = recipe.size if "size" in given else size
        yield {"size": size} if network else {"model": name, "width": width, "size": size}


def work(recipe: Recipe, changes: Mapping[str, Any], classes: int) -> float:
    """Count the multiply-accumulates of a picture, by which candidates that were not tried are compared."""
    return float(cost(architecture_of(recipe.replace(**changes), None), classes).macs)


def choose(
    offers: Sequence[Mapping[str, Any]],
    works: Sequence[float],
    measure: Callable[[Mapping[str, Any]], Option],
    left: Callable[[], float],
    *,
    trained: bool,
    pictures: int,
    given: Collection[str] = (),
) -> Choice:
    """Choose among ``offers``, best first, of which a picture takes ``works`` multiply-accumulates.

    ``measure`` tries one for real, and ``left`` gives the seconds that are left of the whole time. ``given`` names the
    settings that stand.
    """
    least = [ENOUGH if trained else ENOUGH_SCRATCH.get(offer.get("model", ""), ENOUGH) for offer in offers]
    begun, best, place = left(), None, len(offers) - 1
    tried: dict[int, tuple[Option, Choice, float]] = {}
    for _ in range(TRIED):
        option = measure(offers[place])
        choice, share = fit(option, left(), trained=trained, pictures=pictures, given=given)
        tried[place] = option, choice, share
        enough = [one for one in tried if tried[one][2] >= least[one]]
        best = min(enough, default=max(tried))
        # From what this one takes: the first of the list that would get through enough, a little doubt set aside.
        reach = share * works[place] * 0.8
        bound = max((one for one in tried if tried[one][2] < least[one]), default=-1)
        better = [one for one in range(bound + 1, best) if works[one] * least[one] <= reach]
        if not better or begun - left() > CHOOSING * begun:
            break
        place = better[0]
    assert best is not None
    option, choice, _ = tried[best]
    choice, _ = fit(option, left(), trained=trained, pictures=pictures, given=given)
    return choice


def fit(
    option: Option, left: float, *, trained: bool, pictures: int, given: Collection[str] = ()
) -> tuple[Choice, float]:
    """Give the option with as many epochs as fit, and what share these are of those that it should have."""
    wished, head = option.recipe.epochs, option.recipe.head_epochs
    stands = bool({"epochs", "steps"} & set(given))  # and is shortened by the clock alone
    most = wished if stands else max(1, round(MOST_EPOCHS[trained] * wished))

    def planned(epochs: int) -> tuple[Recipe, tuple[Stage, ...]]:
        turn = head if "head_epochs" in given else round(head / wished * epochs)
        turn = epochs if head >= wished else max(1, min(epochs - 1, turn)) if head else 0
        recipe = option.recipe.replace(epochs=epochs, head_epochs=turn)
        return recipe, stages(recipe, pictures)

    room = left - option.forecast.finish
    epochs, least = most, most if stands else min(most, 2 if head else 1)
    while epochs > least and option.forecast.seconds(planned(epochs)[1]) - option.forecast.finish > PLANNED * room:
        epochs = max(least, epochs - max(1, epochs // 50))
    recipe, plan = planned(epochs)
    need = option.forecast.seconds(plan) - option.forecast.finish
    return Choice(recipe, plan, option.forecast, most), max(0.0, room) / max(need, 1e-9) * epochs / wished


def words(recipe: Recipe, blocks: int) -> str:
    """Say what is trained: ``MobileNetV2 at 160, head first, then the last 5 blocks``."""
    entry = CATALOG[recipe.model]
    name = (entry.title or recipe.model) + ("" if recipe.width == 1 else f" {recipe.width:g}")
    if recipe.freeze == "backbone":
        how = "the classifier alone"
    elif recipe.freeze == "none":
        how = "all of it"
    else:
        last = blocks - int(recipe.freeze)
        how = "the last block" if last == 1 else f"the last {last} blocks"
    if recipe.head_epochs and recipe.head_epochs < recipe.epochs:
        how = f"head first, then {how}"
    return f"{name} at {recipe.size}, {how}, {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}"


def say(choice: Choice, blocks: int, spent: float, seconds: float) -> None:
    """Say the plan in one line, and what is needed where the time is too short for it."""
    total = spent + choice.forecast.seconds(choice.plan)
    log.info("plan: %s: about %s of %s", words(choice.recipe, blocks), duration(total), duration(seconds))
    if total > usable(seconds):
        log.warning(
            "%s is too short for that: it needs about %s (--minutes %.2g); training stops in time with what it has",
            duration(seconds),
            duration(total),
            -(-total // 6) / 10,
        )
