"""``train --seeds``: one split, several trainings, the one that does best on validation, and what that is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.measure.metric import TOP1
from mobilenets.runs.folder import unfinished
from mobilenets.runs.seeds import Seeds
from mobilenets.training import loop
from mobilenets.verbs.train import train


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small(small: dict[str, Any]) -> dict[str, Any]:
    return small | {"epochs": 1, "seeds": 2}


def row(seed: int, value: float, validation: float, loss: float = 1.0) -> dict[str, Any]:
    return {"seed": seed, "run": f"seed-{seed}", "epoch": 1, "value": value, "validation": validation, "loss": loss}


def test_mean_and_deviation_are_of_all_seeds_and_the_kept_one_is_the_best_on_validation() -> None:
    seeds = Seeds((row(0, 0.7, 0.8), row(1, 0.9, 0.6), row(2, 0.8, 0.8, 0.5), row(3, 0.8, 0.8, 0.5)), TOP1, "test")
    about = seeds.to_json()
    assert (about["kept"], about["lowest"], about["highest"]) == (2, 0.7, 0.9)
    assert about["mean"] == pytest.approx(0.8)
    assert about["deviation"] == pytest.approx((0.02 / 3) ** 0.5)
    assert "had no part in the choice" in seeds.note
    note = Seeds(seeds.runs, TOP1, "validation").note
    assert "4 seeds: top-1 80.0 % on average, standard deviation 8.2 points (70.0 % to 90.0 %)" in note
    assert "optimistic: expect the mean" in note


def test_stopped_and_continued_seeds_come_to_the_same(
    photos: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    whole = train(photos, tmp_path / "whole", **small | {"seed": 3})
    close = loop.Training._close_epoch

    def stopping(self: loop.Training, state: Any, rate: float) -> None:
        if self.run.name == "seed-4":
            raise KeyboardInterrupt
        close(self, state, rate)

    with monkeypatch.context() as context:
        context.setattr(loop.Training, "_close_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(photos, Path("runs/one"), **small | {"seed": 3})
    assert unfinished(photos.resolve()) == Path("runs/one")
    again = train(photos, Path("runs/one"), resume=True)
    for name in ("model.safetensors", "seed-3/model.safetensors", "seed-4/model.safetensors", "split.csv"):
        assert (Path("runs/one") / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert again["seeds"] == whole["seeds"]
    kept = tmp_path / "whole" / f"seed-{whole['seeds']['kept']}"
    assert json.loads((kept / "metrics.json").read_text())["top1"] == whole["top1"]
    # One split for all, drawn by the first seed, so that they can be compared.
    splits = {(tmp_path / "whole" / f"seed-{seed}" / "split.csv").read_bytes() for seed in (3, 4)}
    weights = {(tmp_path / "whole" / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (3, 4)}
    assert (len(splits), len(weights)) == (1, 2)
    recipe = json.loads((tmp_path / "whole" / "recipe.json").read_text())["recipe"]
    assert (recipe["seeds"], recipe["seed"], recipe["split_seed"]) == (2, 3, 3)
    with pytest.raises(InputError, match="this run has 2 already"):
        train(photos, Path("runs/one"), resume=True, seeds=1)
    with pytest.raises(InputError, match="keeps the run's own settings, here epochs 1"):
        train(photos, Path("runs/one"), resume=True, epochs=2)


def test_a_folder_in_use_is_refused_before_anything_is_written(
    photos: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        train(photos, tmp_path, **small)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
