"""What is tried, around a recipe, and what a trial's figure is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.runs.tuning import TOP1, best_of, by_epoch, figure, opened_study


def test_a_trial_counts_by_its_last_epochs() -> None:
    history = [{"epoch": float(epoch), TOP1: epoch / 100} for epoch in range(1, 10)]
    assert figure(history) == pytest.approx(0.08)  # of 7, 8 and 9
    assert figure(history[:2]) == pytest.approx(0.02)
    assert by_epoch(history)[9] == pytest.approx(0.09)


def test_of_equals_the_first_is_the_best() -> None:
    rows = [
        {"number": 0, "state": "complete", "value": 0.5},
        {"number": 1, "state": "complete", "value": 0.7},
        {"number": 2, "state": "pruned", "value": None},
        {"number": 3, "state": "complete", "value": 0.7},
    ]
    assert best_of(rows)["number"] == 1


def test_a_study_lies_in_its_folder_whatever_that_is_called(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed (pip install -e '.[tune]')")
    folder = tmp_path / "{a} b%41#"
    folder.mkdir()
    for trials in range(2):
        with opened_study(folder) as study:
            assert len(study.trials) == trials
            study.ask()
    assert [path.name for path in folder.iterdir()] == ["study.db"] and list(tmp_path.iterdir()) == [folder]


def test_what_is_tried() -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed (pip install -e '.[tune]')")
    from mobilenets.runs.tuning import space
    from mobilenets.training.recipe import Recipe

    recipe = Recipe(lr=1e-3, batch=16, weights="imagenet", freeze="5", augment="photo", weight_decay=0.0)
    found = space(recipe, {"mixup", "epochs"})
    assert set(found) == {"lr", "weight_decay", "batch", "label_smoothing", "dropout", "augment", "freeze"}
    for name, one in found.items():  # the first trial changes nothing, and belongs to the study
        assert one._contains(one.to_internal_repr(getattr(recipe, name)))
    assert (found["lr"].low, found["lr"].high, found["batch"].choices) == (1e-4, 1e-2, (16, 8, 32))
    assert "freeze" not in space(recipe.replace(weights="none", freeze="none"), set())
