"""The time that a person gives: what is chosen to fit it, and the clock that holds the run to it."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.catalog import describe
from mobilenets.training import checkpoint
from mobilenets.training.auto import resolve
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.loop import Training
from mobilenets.training.minutes import SCRATCH, Option, candidates, choose, fit, words
from mobilenets.training.pace import Pace, steps_in, usable
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import Stage, move_end, stages


def run_of(epochs: int, head: int = 0, width: int = 10, **settings: Any) -> tuple[Stage, ...]:
    recipe = resolve(
        Recipe(epochs=epochs, head_epochs=head or None, batch=8, **settings),
        8 * width,
        describe("mobilenet_v2"),
        trained=bool(head),
        head_kept=not head,
    )
    return stages(recipe, 8 * width)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drive(pace: Pace, clock: Clock, step: Any, close: float = 0.0) -> tuple[int, list[float]]:
    """Make the steps of a run as the loop does; returns how many, and the learning rate of each."""
    done, index, rates = 0, 0, []
    while index < len(pace.plan):
        pace.enter(index)
        while done < pace.plan[index].end:
            rates.append(pace.plan[index].rate(done))
            seconds = step(done) if callable(step) else step
            clock.now += seconds
            done += 1
            pace.stepped(seconds)
            pace.look(done)
            stage = pace.plan[index]
            if done % stage.steps_per_epoch == 0 or done == stage.end:
                clock.now += close
                pace.closed(close)
        index += 1
    return done, rates


def pace_of(plan: tuple[Stage, ...], clock: Clock, part: Part, seconds: float, most: int, finish: float = 5.0) -> Pace:
    return Pace(plan, Forecast((part,) * len(plan), finish), clock.now + seconds, most, seconds, clock)


def test_a_run_as_fast_as_expected_stays_as_planned() -> None:
    clock = Clock()
    pace = pace_of(run_of(9), clock, Part(0, 0.5, 1), 70, most=9)
    done, rates = drive(pace, clock, 0.5, 1)
    assert done == 90
    assert rates == [run_of(9)[0].rate(step) for step in range(90)]


@pytest.mark.parametrize("slower", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("since", [0, 40])
def test_a_slower_machine_shortens_the_run_and_its_schedule(slower: float, since: int) -> None:
    clock, seconds = Clock(), 60.0
    pace = pace_of(run_of(9), clock, Part(0, 0.5, 1), seconds, most=9)
    done, rates = drive(pace, clock, lambda step: 0.5 * slower if step >= since else 0.5, slower)
    # There is time left for the end, which is slower too as far as that is believed.
    assert clock.now + 5 * min(slower, 4) <= 100 + 1.05 * seconds
    assert 0 < done < 90
    # The schedule comes down to its end, and never goes up after its warm-up.
    peak = rates.index(max(rates))
    assert all(two <= one for one, two in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert rates[-1] < 0.15 * max(rates)


def test_time_that_is_left_is_used_up_to_a_bound() -> None:
    clock = Clock()
    pace = pace_of(run_of(9), clock, Part(0, 0.5, 1), 70, most=12)
    done, rates = drive(pace, clock, 0.25, 0.5)
    assert done == 120
    assert clock.now < 100 + 70
    assert rates[-1] < 0.1 * max(rates)


def test_the_classifiers_stage_leaves_time_for_the_next() -> None:
    clock = Clock()
    plan = run_of(10, head=6)
    pace = pace_of(plan, clock, Part(0, 0.5, 1), 70, most=10)
    done, _ = drive(pace, clock, 1.0, 2)
    head, body = pace.plan
    assert 0 < head.last < 6
    assert body.first == head.last and body.end == done > body.begin
    assert clock.now + 10 <= 100 + 70 * 1.05


def test_without_time_for_a_second_stage_the_run_ends_in_the_first() -> None:
    clock = Clock()
    pace = pace_of(run_of(10, head=6), clock, Part(0, 0.5, 1), 20, most=10)
    done, _ = drive(pace, clock, 2.5, 1)
    assert done < 10
    assert clock.now < 120


@pytest.mark.parametrize("moves", [[(12, 70)], [(12, 70), (30, 85), (60, 66)], [(5, 5)]])
def test_moves_are_repeated_from_what_is_written(moves: list[tuple[int, int]]) -> None:
    plan = run_of(9)
    for done, end in moves:
        plan = move_end(plan, done, end)
    pace = pace_of(run_of(9), Clock(), Part(0, 1, 1), 100, most=9)
    pace.take_up(json.loads(json.dumps(moves)))
    assert pace.plan == plan
    (stage,) = plan
    assert (stage.end, stage.last) == (moves[-1][1], -(-moves[-1][1] // 10))
    # What lies behind a move stays as it was.
    assert [stage.rate(step) for step in range(5)] == [run_of(9)[0].rate(step) for step in range(5)]


def test_steps_that_fit() -> None:
    assert steps_in(100, 10, 1, 0) == 100
    assert steps_in(100, 10, 1, 2) == 80
    assert steps_in(103, 10, 1, 2) == 85  # an epoch that is half done is measured too
    assert steps_in(5, 10, 1, 2) == 3
    assert steps_in(-1, 10, 1, 2) == 0


def test_candidates_leave_alone_what_was_given() -> None:
    every = candidates(Recipe(), set(), trained=False, side=400)
    assert [(one["model"], one["width"], one["size"]) for one in every] == list(SCRATCH)
    assert all(one == {"size": one["size"]} for one in candidates(Recipe(), {"model"}, trained=False, side=400))
    given = candidates(Recipe(size=96), {"size"}, trained=False, side=400)
    assert {one["size"] for one in given} == {96}
    assert candidates(Recipe(size=96), {"size", "model"}, trained=False, side=400) == [{}]
    trained = candidates(Recipe(), set(), trained=True, side=400)
    assert trained[0] == {"size": 224}
    assert all("model" not in one for one in trained)
    assert any(one.get("freeze") == "backbone" for one in trained)
    assert not any("freeze" in one for one in candidates(Recipe(freeze="3"), {"freeze"}, trained=True, side=400))


@pytest.mark.parametrize(("side", "largest"), [(8, 32), (32, 32), (40, 48), (100, 128), (4000, 224), (None, 224)])
def test_pictures_are_not_blown_up(side: int | None, largest: int) -> None:
    sizes = [one["size"] for one in candidates(Recipe(), set(), trained=False, side=side)]
    assert max(sizes) == largest


def option(changes: Mapping[str, Any], step: float, trained: bool = False, prepare: float = 0.0) -> Option:
    recipe = resolve(Recipe(weights="none", **changes), 800, describe("mobilenet_v2"), trained=trained, head_kept=False)
    plan = stages(recipe, 800)
    return Option(recipe, plan, Forecast(tuple(Part(prepare, step, 0.1) for _ in plan), 6.0))


@pytest.mark.parametrize(("seconds", "size"), [(10_000, 224), (900, 192), (420, 128), (60, 96), (8, 96)])
def test_the_best_that_gets_through_enough_is_chosen(seconds: float, size: int) -> None:
    offers = [{"size": size} for size in (224, 192, 160, 128, 96)]
    works = [float(offer["size"] ** 2) for offer in offers]
    tried: list[int] = []

    def measure(changes: Mapping[str, Any]) -> Option:
        tried.append(changes["size"])
        return option(changes, 1.6 * (changes["size"] / 224) ** 2)

    chosen = choose(offers, works, measure, lambda: seconds, trained=False, pictures=800)
    assert chosen.recipe.size == size
    assert len(tried) <= 3
    assert chosen.recipe.epochs >= 1
    if seconds > 60:
        assert chosen.forecast.seconds(chosen.plan) < seconds


def test_epochs_that_were_given_stand() -> None:
    chosen, _ = fit(option({"epochs": 50}, 1.0), 60, trained=False, pictures=800, given={"epochs"})
    assert (chosen.recipe.epochs, chosen.most) == (50, 50)
    chosen, _ = fit(option({}, 1.0), 600, trained=False, pictures=800)
    assert 1 < chosen.recipe.epochs < 30 <= chosen.most


def test_both_stages_are_shortened() -> None:
    whole = option({"freeze": "auto"}, 0.2, trained=True)
    chosen, _ = fit(whole, 60, trained=True, pictures=800)
    assert 1 < chosen.recipe.head_epochs < chosen.recipe.epochs < whole.recipe.epochs
    assert len(chosen.plan) == len(chosen.forecast.parts) == 2
    assert chosen.recipe.head_epochs / chosen.recipe.epochs == pytest.approx(0.6, abs=0.1)


def test_a_plan_in_words() -> None:
    recipe = Recipe(size=160, freeze="14", head_epochs=3, epochs=5)
    assert words(recipe, 19) == "MobileNetV2 at 160, head first, then the last 5 blocks, 5 epochs"
    assert words(recipe.replace(freeze="18"), 19).endswith("then the last block, 5 epochs")
    assert words(recipe.replace(freeze="backbone"), 19).endswith("head first, then the classifier alone, 5 epochs")
    small = recipe.replace(model="mobilenet_v1", width=0.5, freeze="none", head_epochs=0, epochs=1)
    assert words(small, 19) == "MobileNetV1 0.5 at 160, all of it, 1 epoch"


def test_some_time_stays_free() -> None:
    assert 0.9 * 60 < usable(60) < 60
    assert usable(1) > 0


SETTINGS: dict[str, Any] = {"weights": "none", "device": "cpu", "threads": 1, "workers": 1, "augment": "light"}


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "soon"])
def test_no_time_at_all_is_refused(photos: Path, tmp_path: Path, minutes: Any) -> None:
    with pytest.raises(InputError, match="minutes"):
        mobilenets.train(photos, tmp_path / "run", minutes=minutes)


def test_a_real_run_ends_in_time(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mobilenets")
    began = time.monotonic()
    result = mobilenets.train(photos, tmp_path / "run", minutes=0.2, **SETTINGS)
    # A twentieth over is allowed, and a machine that runs other tests adds to it.
    assert time.monotonic() - began < 60
    assert (tmp_path / "run" / "report.html").is_file()
    (line,) = [text for text in caplog.messages if text.startswith("plan: ")]
    assert line.startswith("plan: V1 for CIFAR at 32, all of it, ") and line.endswith(" of 12 s")
    record = json.loads((tmp_path / "run" / "recipe.json").read_bytes())
    assert record["recipe"]["minutes"] == 0.2
    assert record["recipe"]["size"] == record["minutes"]["chosen"]["size"] == 32
    assert result["epochs"] <= record["minutes"]["most_epochs"]


def test_too_little_time_is_said_and_the_best_made_of_it(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, undrawn: None
) -> None:
    caplog.set_level("INFO", "mobilenets")
    result = mobilenets.train(photos, tmp_path / "run", minutes=0.001, **SETTINGS)
    assert result["epochs"] == 1
    assert [text for text in caplog.messages if "too short" in text and "--minutes" in text]


def test_a_run_that_was_stopped_repeats_the_moves(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    run = tmp_path / "run"
    moves = [(4, 7), (9, 14)]

    def look(self: Pace, done: int) -> tuple[int, int] | None:
        for move in moves:
            if move[0] == done:
                self.plan = move_end(self.plan, *move)
                return move
        return None

    monkeypatch.setattr(Pace, "look", look)
    settings = SETTINGS | {"minutes": 5, "model": "mobilenet_v1_cifar", "width": 0.25, "size": 16, "batch": 6}
    settings |= {"epochs": 3}
    mobilenets.train(photos, tmp_path / "whole", **settings)
    step, count = Training._step, 0

    def pressed(self: Training, *given: Any) -> float:
        nonlocal count
        count += 1
        if count == 6:
            signal.raise_signal(signal.SIGINT)
        return step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", pressed)
        with pytest.raises(KeyboardInterrupt):
            mobilenets.train(photos, run, **settings)
    assert checkpoint.peek(run).ends == [[4, 7]]
    result = mobilenets.train(photos, run, resume=True)
    assert checkpoint.peek(run).ends == [[4, 7], [9, 14]] or checkpoint.peek(run).ends == [[4, 7]]
    weights = [(place / "model.safetensors").read_bytes() for place in (run, tmp_path / "whole")]
    assert weights[0] == weights[1]
    with (run / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == result["epochs"]
    assert any("instead of 3 epochs in 5 min" in note for note in result["notes"])
