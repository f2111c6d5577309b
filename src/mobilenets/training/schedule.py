"""The learning rate at each step, as a pure function of the recipe."""

from __future__ import annotations

import math
from collections.abc import Callable

from mobilenets.training.recipe import Recipe


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
