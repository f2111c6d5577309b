"""``train --folds``: epochs that no picture chooses for itself, and the same bytes when resumed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from mobilenets.base.cells import read_cells
from mobilenets.datasets.prepare import prepare
from mobilenets.errors import InputError
from mobilenets.measure.metric import TOP1
from mobilenets.measure.metrics import Evaluation
from mobilenets.runs import folds
from mobilenets.runs.folds import chosen_epochs
from mobilenets.training import loop
from mobilenets.verbs.evaluate import evaluate
from mobilenets.verbs.train import train


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small(small: dict[str, Any]) -> dict[str, Any]:
    return small | {"folds": 2}


def history(*losses: float, top1: float = 0.5) -> list[dict[str, float]]:
    return [
        {"epoch": number, "validation_loss": loss, "validation_top1": top1, "train_loss": 0.0}
        for number, loss in enumerate(losses, 1)
    ]


def test_the_epochs_of_a_fold_are_chosen_on_the_others_and_those_of_the_last_model_on_all() -> None:
    first, second, third = history(3, 1, 3), history(3, 3, 1), history(3, 3, 1.5)
    epoch, epochs, pooled = chosen_epochs([first, second, third], [10, 10, 40], TOP1, "best")
    assert (epoch, epochs) == (3, [3, 3, 2])
    assert [row["validation_loss"] for row in pooled] == pytest.approx([3, 160 / 60, 100 / 60])
    # Of two equal epochs the first is taken.
    assert chosen_epochs([first, second], [10, 10], TOP1, "best")[1] == [3, 2]


def test_with_keep_last_nothing_is_chosen_and_the_shortest_history_counts() -> None:
    epoch, epochs, pooled = chosen_epochs([history(1, 2, 3), history(1, 2)], [5, 5], TOP1, "last")
    assert (epoch, epochs, len(pooled)) == (2, [2, 2], 2)


def test_all_pictures_teach_and_each_is_answered_once(photos: Path, small: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(photos, run, **small)
    crossed = result["cross_validation"]
    assert (result["evaluated_on"], result["images"]) == ("cross-validation", 30)
    assert result["top1"] == crossed["top1"] == sum(15 * fold["top1"] for fold in crossed["folds"]) / 30
    assert [fold["images"] for fold in crossed["folds"]] == [15, 15]
    assert any("folds share training pictures" in note for note in result["notes"])
    rows = list(csv.DictReader((run / "folds.csv").read_text().splitlines()))
    assert len({row["image"] for row in rows}) == 30
    assert {row["fold"] for row in rows} == {"1", "2"}
    assert sum(row["predicted"] == row["class"] for row in rows) == round(30 * result["top1"])
    split = list(csv.DictReader((run / "split.csv").read_text().splitlines()))
    assert [row["split"] for row in split] == 30 * ["train"]
    assert sorted(path.name for path in (run / "folds").iterdir()) == ["answers.npy", "numbers.json", "result.json"]
    # What validation says in the history is what the folds said; train is the model's that was kept.
    told = json.loads((run / "folds" / "result.json").read_text())["history"]
    kept = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [float(row["validation_loss"]) for row in kept] == pytest.approx([r["validation_loss"] for r in told], 1e-5)
    assert "trained on 30 of these 30 pictures" in " ".join(evaluate(run, photos)["notes"])


def test_the_table_of_folds_runs_nothing_in_a_spreadsheet(tmp_path: Path) -> None:
    labels = np.array([0, 1], np.int64)
    found = Evaluation(("=cmd|a", "b"), ("=cmd|a/1.jpg", "b/2.jpg"), labels, np.zeros((2, 2), np.float32))
    folds._write_table(cast(Any, SimpleNamespace(folder=tmp_path)), np.array([1, 2]), found)
    text = (tmp_path / folds.TABLE).read_text()
    assert "\n'=cmd|a/1.jpg,'=cmd|a,1," in text
    assert [row[:3] for row in read_cells(text)[1:]] == [["=cmd|a/1.jpg", "=cmd|a", "1"], ["b/2.jpg", "b", "2"]]


@pytest.mark.parametrize("stopped_in", ["fold 2", "last"])
def test_a_stopped_run_ends_in_the_same_bytes(
    photos: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_in: str
) -> None:
    train(photos, tmp_path / "whole", **small)
    place = {"fold 2": tmp_path / "run" / "folds" / "2", "last": tmp_path / "run"}[stopped_in]
    step: Callable[..., Any] = loop.Training._step

    def stopping(self: loop.Training, state: Any, group: Any) -> float:
        if self.run == place and state.epoch == 1 and state.step == 1:
            raise KeyboardInterrupt
        return float(step(self, state, group))

    with monkeypatch.context() as context:
        context.setattr(loop.Training, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(photos, tmp_path / "run", **small)
    assert not (tmp_path / "run" / "metrics.json").exists()
    train(photos, tmp_path / "run", resume=True)
    for name in ("model.safetensors", "folds.csv", "folds/answers.npy"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_validation_folder_is_pooled_and_a_test_folder_is_not(photos: Path, tmp_path: Path) -> None:
    for half in ("train", "validation"):
        shutil.copytree(photos, tmp_path / "both" / half)
        shutil.copytree(photos, tmp_path / "tested" / {"validation": "test"}.get(half, half))
    options: dict[str, Any] = {"share": 0.2, "seed": 0, "max_unreadable": 0.1, "pooled": True}
    both = prepare(tmp_path / "both", **options)
    assert (len(both.train), both.validation, both.test) == (60, (), None)
    tested = prepare(tmp_path / "tested", **options)
    assert (len(tested.train), len(tested.test or ())) == (30, 30)
    assert "test/ is the test set" in tested.notes
    assert tested.copies == 30


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seeds": 3}, "choose --folds or --seeds"),
        ({"minutes": 2}, "give --epochs instead"),
        ({"steps": 20, "epochs": None}, "give --epochs, not --steps"),
        ({"folds": 40}, "only 30 pictures"),
        ({"folds": 1}, "at least 2"),
    ],
)
def test_what_does_not_go_with_folds_is_refused(
    photos: Path, small: dict[str, Any], tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train(photos, tmp_path / "run", **small | settings)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_damaged_results_of_folds_are_said(photos: Path, small: dict[str, Any], tmp_path: Path) -> None:
    train(photos, tmp_path / "run", **small)
    (tmp_path / "run" / folds.FOLDS / folds.ANSWERS).write_bytes(b"")
    with pytest.raises(InputError, match="folds: damaged; train again with another --out"):
        train(photos, tmp_path / "run", resume=True)
