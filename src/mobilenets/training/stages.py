"""The stages of a run: which epochs train which part of the network, and at what learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mobilenets.training.recipe import Recipe

# Of a stage's epochs, the most that its warm-up takes where there are several stages.
WARMUP_SHARE = 0.25


def learning_rate(recipe: Recipe, steps: int, steps_per_epoch: int) -> Callable[[float], float]:
    """Return the learning rate of step 0 … ``steps - 1``, and at any place between two steps.

    Warm-up rises linearly to ``lr`` over ``warmup`` epochs; what follows covers the remaining steps. ``one_cycle``
    (Smith and Topin 2018) spends its first 30 % rising from ``lr / 25`` on a cosine, in place of the warm-up where
    that is shorter, and falls on a cosine to ``final_lr``.
    """
    warmup = min(round(recipe.warmup * steps_per_epoch), steps - 1)
    if recipe.schedule == "one_cycle":
        rise = max(warmup, round(0.3 * steps))

        def one_cycle(step: float) -> float:
            if step < rise:
                return recipe.lr * _between(1 / 25, 1.0, step / rise)
            return recipe.lr * _between(1.0, recipe.final_lr, (step - rise) / max(1, steps - rise))

        return one_cycle

    def rate(step: float) -> float:
        if step < warmup:
            return recipe.lr * (step + 1) / warmup
        progress = (step - warmup) / max(1, steps - warmup)
        epochs = (step - warmup) / steps_per_epoch
        match recipe.schedule:
            case "step":
                # 0.3 / 0.1 is a little below 3.
                factor = recipe.decay ** math.floor(epochs / recipe.decay_epochs + 1e-9)
            case "exponential":
                factor = recipe.decay ** (epochs / recipe.decay_epochs)
            case "cosine":
                factor = _between(1.0, recipe.final_lr, progress)
            case "polynomial":
                factor = recipe.final_lr + (1 - recipe.final_lr) * (1 - progress) ** recipe.power
            case _:
                factor = 1.0
        return recipe.lr * factor

    return rate


def _between(start: float, end: float, progress: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Stage:
    """Epochs ``first`` up to and without ``last`` of a run of ``steps`` steps, counted from 0.

    ``recipe`` has the learning rate, the warm-up and the frozen blocks of these epochs. ``ends`` says where the clock
    has moved the end of the stage (``--minutes``): pairs of the step at which, and the new end; before the first pair
    stands the begin with the end as planned.
    """

    recipe: Recipe
    first: int
    last: int
    steps: int
    steps_per_epoch: int
    ends: tuple[tuple[int, int], ...] = ()

    @property
    def epochs(self) -> int:
        """How many epochs the whole run has."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def begin(self) -> int:
        """The first step, counted over the run."""
        return self.first * self.steps_per_epoch

    @property
    def end(self) -> int:
        """The step after the last."""
        return min(self.steps, self.last * self.steps_per_epoch)

    @cached_property
    def _planned(self) -> int:
        return self.ends[0][1] - self.begin if self.ends else self.end - self.begin

    @cached_property
    def _course(self) -> Callable[[float], float]:
        return learning_rate(self.recipe, self._planned, self.steps_per_epoch)

    def rate(self, step: int) -> float:
        """Give the learning rate of a step, counted over the run: its schedule ends where the stage ends."""
        return self._course(self._place(step) if self.ends else step - self.begin)

    def _place(self, step: int) -> float:
        """Give a step's place in the stage as planned: from each move of the end on, what is left is spread anew."""
        place, (since, end) = 0.0, self.ends[0]
        for at, moved in self.ends[1:]:
            if step < at:
                break
            place += (at - since) * (self._planned - place) / max(1, end - since)
            since, end = at, moved
        return place + (step - since) * (self._planned - place) / max(1, end - since)


def steps_per_epoch(batch: int, accumulate: int, pictures: int) -> int:
    """Count the steps of one pass over this many pictures."""
    return math.ceil(math.ceil(pictures / batch) / accumulate)


def stages(recipe: Recipe, pictures: int) -> tuple[Stage, ...]:
    """Divide a run on this many training pictures; ``recipe`` has nothing left to auto.

    With ``head_epochs`` the classifier is trained alone first, on what the network gives as it comes; the blocks that
    ``freeze`` leaves free follow. Each has a warm-up and a course of the learning rate of its own.
    """
    width = steps_per_epoch(recipe.batch, recipe.accumulate, pictures)
    steps = recipe.steps or recipe.epochs * width
    epochs = math.ceil(steps / width)
    turn = min(recipe.head_epochs or 0, epochs)
    if not turn:
        return (Stage(recipe, 0, epochs, steps, width),)
    # The classifier's stage ends as planned: patience is for the last one.
    head = recipe.replace(
        lr=recipe.head_lr, freeze="backbone", patience=None, warmup=min(recipe.warmup, WARMUP_SHARE * turn)
    )
    parts = [Stage(head, 0, turn, steps, width)]
    if turn < epochs:
        body = recipe.replace(warmup=min(recipe.warmup, WARMUP_SHARE * (epochs - turn)))
        parts.append(Stage(body, turn, epochs, steps, width))
    return tuple(parts)


def move_end(plan: Sequence[Stage], done: int, end: int) -> tuple[Stage, ...]:
    """Let the stage under way end at the step ``end``, when ``done`` steps of the run are made.

    Stages after it keep their length, and it ends with a whole epoch before them. Where ``end`` is ``done``, the run
    ends there.
    """
    index = next(index for index, stage in enumerate(plan) if done < stage.end)
    stage = plan[index]
    later, width = ([] if end <= done else list(plan[index + 1 :])), stage.steps_per_epoch
    last = math.ceil(end / width)
    ends = (*(stage.ends or ((stage.begin, stage.end),)), (done, last * width if later else end))
    moved = [replace(stage, last=last, ends=ends)]
    shift = last - stage.last
    moved += [replace(one, first=one.first + shift, last=one.last + shift) for one in later]
    steps = stage.steps + shift * width if later else end
    return tuple(replace(one, steps=steps) for one in (*plan[:index], *moved))


def cut(plan: Sequence[Stage], epochs: int) -> tuple[Stage, ...]:
    """End a run after so many of its epochs: until then each step is the one that the whole run makes."""
    steps = min(plan[-1].steps, epochs * plan[-1].steps_per_epoch)
    return tuple(
        replace(stage, last=min(stage.last, epochs), steps=steps, ends=stage.ends or ((stage.begin, stage.end),))
        for stage in plan
        if stage.first < epochs
    )


def rates(plan: Sequence[Stage]) -> tuple[list[float], list[float]]:
    """Give up to 1,000 points of the whole run's learning rate: the epochs, and the rate at each."""
    steps, width = plan[-1].steps, plan[-1].steps_per_epoch
    points = sorted({round(part * (steps - 1) / 999) for part in range(1000)})
    of = [next(stage for stage in plan if step < stage.end) for step in points]
    return [step / width for step in points], [stage.rate(step) for stage, step in zip(of, points, strict=True)]
