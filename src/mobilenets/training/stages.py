"""The stages of a run: which epochs train which part of the network, and at what learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mobilenets.training.recipe import Recipe
from mobilenets.training.schedule import learning_rate

# Of a stage's epochs, the most that its warm-up takes where there are several stages.
WARMUP_SHARE = 0.25


@dataclass(frozen=True)
class Stage:
    """Epochs ``first`` up to and without ``last`` of a run of ``steps`` steps, counted from 0.

    ``recipe`` has the learning rate, the warm-up and the frozen blocks of these epochs.
    """

    recipe: Recipe
    first: int
    last: int
    steps: int
    steps_per_epoch: int

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
    def _course(self) -> Callable[[int], float]:
        return learning_rate(self.recipe, self.end - self.begin, self.steps_per_epoch)

    def rate(self, step: int) -> float:
        """Give the learning rate of a step, counted over the run."""
        return self._course(step - self.begin)


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


def rates(plan: Sequence[Stage]) -> tuple[list[float], list[float]]:
    """Give up to 1,000 points of the whole run's learning rate: the epochs, and the rate at each."""
    steps, width = plan[-1].steps, plan[-1].steps_per_epoch
    points = sorted({round(part * (steps - 1) / 999) for part in range(1000)})
    of = [next(stage for stage in plan if step < stage.end) for step in points]
    return [step / width for step in points], [stage.rate(step) for stage, step in zip(of, points, strict=True)]
