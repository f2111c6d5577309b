from __future__ import annotations

import math

import pytest

from mobilenets.training.recipe import SCHEDULES, Recipe
from mobilenets.training.stages import learning_rate

# Ten epochs of ten steps, the first of them warm-up.
SETTINGS = {"lr": 0.8, "warmup": 1.0, "final_lr": 0.25, "decay": 0.5, "decay_epochs": 3.0, "power": 2.0}


@pytest.mark.parametrize(
    ("schedule", "begin", "middle", "end"),
    [
        ("constant", 0.8, 0.8, 0.8),
        ("step", 0.8, 0.4, 0.8 / 4),
        ("exponential", 0.8, 0.8 * 0.5**1.5, 0.8 * 0.5 ** (89 / 30)),
        ("cosine", 0.8, 0.8 * 0.625, 0.8 * (0.25 + 0.75 * (1 + math.cos(math.pi * 89 / 90)) / 2)),
        ("polynomial", 0.8, 0.8 * (0.25 + 0.75 * 0.25), 0.8 * (0.25 + 0.75 / 90**2)),
    ],
)
def test_course(schedule: str, begin: float, middle: float, end: float) -> None:
    rate = learning_rate(Recipe(schedule=schedule, **SETTINGS), 100, 10)
    assert [rate(step) for step in range(10)] == pytest.approx([0.08 * (step + 1) for step in range(10)])
    assert (rate(10), rate(55), rate(99)) == pytest.approx((begin, middle, end))


def test_one_cycle() -> None:
    rate = learning_rate(Recipe(schedule="one_cycle", **SETTINGS), 100, 10)
    rates = [rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.8 / 25)
    assert rates[15] == pytest.approx(0.8 * (1 / 25 + 1) / 2)
    assert max(rates) == rates[30] == 0.8
    assert rates[65] == pytest.approx(0.8 * 0.625)
    assert rate(100) == pytest.approx(0.2)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_one_cycle_rises_at_least_as_long_as_the_warmup() -> None:
    rate = learning_rate(Recipe(schedule="one_cycle", **SETTINGS | {"warmup": 5.0}), 100, 10)
    assert max(range(100), key=rate) == 50


def test_step_falls_on_the_epoch() -> None:
    rate = learning_rate(Recipe(schedule="step", **SETTINGS | {"warmup": 0.0, "decay_epochs": 0.1}), 100, 10)
    assert [rate(step) for step in range(8)] == pytest.approx([0.8 * 0.5**step for step in range(8)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("steps", "per_epoch"), [(1, 1), (1, 10), (2, 1), (7, 3), (50, 50)])
@pytest.mark.parametrize("warmup", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("final_lr", [0.0, 1.0])
def test_never_negative_nor_above_the_peak(
    schedule: str, steps: int, per_epoch: int, warmup: float, final_lr: float
) -> None:
    recipe = Recipe(schedule=schedule, lr=0.3, warmup=warmup, final_lr=final_lr)
    rate = learning_rate(recipe, steps, per_epoch)
    rates = [rate(step) for step in range(steps)]
    assert all(0 <= value <= 0.3 + 1e-12 for value in rates)
    # The first step always moves.
    assert rates[0] > 0
