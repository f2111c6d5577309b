"""Which epoch is kept, and whether what is said of it is true: on histories whose true accuracy is known."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobilenets.measure.metric import TOP1
from mobilenets.runs import results
from mobilenets.training.keep import MANY_PICTURES, Around, around, best_epoch
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.train import train

Rows = list[dict[str, float]]
FEW = MANY_PICTURES - 1


def rows(*scores: tuple[float, float]) -> Rows:
    """Make a history of (top-1, loss)."""
    return [
        {"epoch": number, "validation_top1": top1, "validation_loss": loss}
        for number, (top1, loss) in enumerate(scores, 1)
    ]


def simulated(rng: np.random.Generator, pictures: int, epochs: int, jitter: float) -> tuple[Rows, list[float]]:
    """Give a history of so many validation pictures, and the true accuracy of each epoch.

    A picture is right where the network's skill, which rises to a plateau, exceeds the picture's difficulty; both
    move from epoch to epoch, less as the learning rate falls. The truth is the same on 1,500 other pictures.
    """
    difficulty = rng.normal(0, 1, pictures + 1500)
    drift = np.zeros_like(difficulty)
    history, truth = [], []
    for number in range(1, epochs + 1):
        rate = 0.5 * (1 + np.cos(np.pi * number / epochs))
        drift = 0.6 * drift + 0.6 * (0.3 + rate) * rng.normal(0, 1, len(drift))
        skill = 0.9 - 1.2 * np.exp(-number / 6) + jitter * (0.15 + rate) * rng.normal()
        margin = skill - difficulty + drift
        seen = margin[:pictures]
        history += rows((float((seen > 0).mean()), float(np.logaddexp(0, -2 * seen).mean())))
        history[-1]["epoch"] = number
        truth.append(float((margin[pictures:] > 0).mean()))
    return history, truth


def test_where_no_loss_is_better_than_a_blind_guess_accuracy_decides() -> None:
    """Nine pictures of three classes, from random weights: surer than right from the second epoch on."""
    blind = TOP1.blind(3)
    history = rows((0.33, 1.09), (0.44, 1.4), (0.67, 1.6), (0.67, 1.9), (0.67, 2.2))
    assert best_epoch(history, TOP1, 9) == 1
    assert best_epoch(history, TOP1, 9, blind=blind) == 3
    assert best_epoch([*history, *rows((0.5, 0.9), (0.5, 0.8), (0.5, 0.8))], TOP1, 9, blind=blind) == 8
    assert TOP1.blind(1) == replace(TOP1, loss="squared error").blind(3) == math.inf


@pytest.mark.parametrize(("pictures", "jitter"), [(17, 0.1), (17, 0.3), (60, 0.1), (200, 0.1)])
def test_what_is_said_is_nearer_the_truth_than_the_best_figure(pictures: int, jitter: float) -> None:
    rng = np.random.default_rng(0)
    best, chosen, expected, gain = [], [], [], []
    for _ in range(150):
        history, truth = simulated(rng, pictures, 30, jitter)
        top1 = [row["validation_top1"] for row in history]
        highest = int(np.argmax(top1))
        kept = best_epoch(history, TOP1, pictures)
        near = around(history, TOP1, kept)
        assert near is not None
        best.append(top1[highest] - truth[highest])
        chosen.append(top1[kept - 1] - truth[kept - 1])
        expected.append(near.value - truth[kept - 1])
        gain.append(truth[kept - 1] - truth[highest])
    assert np.mean(best) > (0.05 if pictures == 17 else 0.01)
    # Neither the optimism nor the usual error of what is printed comes near that of the best figure.
    assert abs(np.mean(expected)) < 0.6 * np.mean(best)
    assert np.sqrt(np.mean(np.square(expected))) < 0.95 * np.sqrt(np.mean(np.square(best)))
    assert abs(np.mean(chosen)) < np.mean(best)
    # And the model that is kept is about as good.
    assert np.mean(gain) > -0.02


def test_many_pictures_choose_by_top1_and_few_by_the_smoothed_loss() -> None:
    lucky = rows(*[(0.5, 1.0)] * 6, (0.9, 0.95), *[(0.6, 0.6)] * 5, *[(0.6, 0.9)] * 5)
    assert best_epoch(lucky, TOP1, MANY_PICTURES) == 7
    assert best_epoch(lucky, TOP1, FEW) == 10
    assert best_epoch(rows((0.7, 1.0), (0.7, 0.9), (0.7, 0.95)), TOP1, MANY_PICTURES) == 2


@pytest.mark.parametrize("pictures", [FEW, MANY_PICTURES])
def test_the_model_before_training_competes(pictures: int) -> None:
    worse = rows((0.1, 5.0), (0.3, 4.0), (0.4, 3.0))
    assert best_epoch(worse, TOP1, pictures, before=0.65) == 0
    assert best_epoch(worse, TOP1, pictures) == best_epoch(worse, TOP1, pictures, before=0.2) == 3
    # As good is good enough: the training was wanted.
    assert best_epoch(rows((0.65, 9.0)), TOP1, pictures, before=0.65) == 1
    assert best_epoch([], TOP1, pictures, before=0.65) == 0


def test_an_epoch_once_kept_stays_so_until_a_better_one() -> None:
    """What was kept when an epoch closed follows from the rows up to it, as a run that was killed needs."""
    rng = np.random.default_rng(1)
    history, _ = simulated(rng, 30, 25, 0.3)
    kept = 0
    for number in range(1, 26):
        found = best_epoch(history[:number], TOP1, 30, before=0.5)
        assert found in (kept, number)
        kept = found


def test_around() -> None:
    history = rows(*[(number / 100, 1.0) for number in range(1, 31)])
    near = around(history, TOP1, 20)
    assert near is not None
    assert (near.first, near.last) == (15, 25)
    assert near.value == pytest.approx(0.20)
    end = around(history, TOP1, 30)
    assert end is not None
    assert (end.first, end.last, end.value) == (25, 30, pytest.approx(0.27))
    assert around(history, TOP1, 0) is None
    assert around(history[:1], TOP1, 1) is None
    short = around(history[:4], TOP1, 4)
    assert short is not None
    assert (short.first, short.last, short.value) == (3, 4, 0.03)


def test_a_run_says_what_to_expect(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(photos, tmp_path / "run", **small | {"epochs": 8})
    first, last = result["epochs_around"]
    assert result["epoch"] in range(first, last + 1) and last - first <= 2
    with (tmp_path / "run/history.csv").open() as file:
        top1 = {int(row["epoch"]): float(row["validation_top1"]) for row in csv.DictReader(file)}
    near = [top1[epoch] for epoch in range(first, last + 1) if epoch != result["epoch"]]
    assert result["top1_around"] == pytest.approx(np.mean(near), abs=1e-5)
    note = next(note for note in result["notes"] if "on these same" in note)
    own, fairer = (f"{100 * result[name]:.1f} %" for name in ("top1", "top1_around"))
    said = (
        f"A fairer figure is {fairer}, the mean of epochs",
        f"The {own} is that of epoch {result['epoch']}, which was",
    )
    assert all(words in note for words in said) if own != fairer else f"{first} to {last} have as much" in note
    assert result["total_seconds"] > result["seconds"] > 0
    monkeypatch.setattr(results, "MANY_PICTURES", 1)
    again = train(photos, tmp_path / "run", resume=True)
    assert again["top1_around"] is None and any("slightly optimistic" in note for note in again["notes"])


def test_the_same_figure_is_not_said_twice() -> None:
    measured: Any = SimpleNamespace(images=["a.png"] * 9, metrics={"top1": 1 / 3})
    state: Any = SimpleNamespace(epoch=8)
    note = results._chosen(measured, TOP1, "validation", state, 2, Recipe(), Around(0.3333, 1, 3))
    assert note is not None and "on these same 9 pictures: epochs 1 to 3 have as much on average; a test/" in note


def test_nothing_to_correct_where_nothing_was_chosen(
    photos: Path, draw: Callable[..., Path], tmp_path: Path, small: dict[str, Any], undrawn: None
) -> None:
    for size, (part, count) in enumerate((("train", 6), ("validation", 4), ("test", 4)), start=20):
        draw(tmp_path / "data" / part, {"a": count, "b": count}, size=size)  # no picture of one part in another
    tested = train(tmp_path / "data", tmp_path / "tested", **small)
    last = train(photos, tmp_path / "last", **small | {"keep": "last"})
    for result in (tested, last):
        assert (result["top1_around"], result["epochs_around"]) == (None, None)
        assert [note for note in result["notes"] if "are too few" not in note] == []


@pytest.mark.parametrize("pictures", [FEW, MANY_PICTURES])
def test_of_equal_epochs_the_first_is_kept(pictures: int) -> None:
    assert best_epoch(rows((0.7, 1.0), (0.7, 1.0), (0.7, 1.0)), TOP1, pictures) == 1
    assert best_epoch(rows((0.5, 2.0), (0.7, 1.0), (0.7, 1.0)), TOP1, pictures) == 2
    assert best_epoch(rows((0.7, 1.0)), TOP1, pictures, before=0.7) == 1
