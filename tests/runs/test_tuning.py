"""What is tried, around a recipe, and what a trial's figure is."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.runs import tuning
from mobilenets.runs.tuning import TOP1, best_of, by_epoch, draw, figure, opened_study, prepare, space, unended
from mobilenets.training.recipe import Recipe

REASON = "Optuna is not installed (pip install -e '.[tune]')"


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


def test_what_is_tried() -> None:
    pytest.importorskip("optuna", reason=REASON)
    recipe = Recipe(lr=1e-3, batch=16, weights="imagenet", freeze="5", augment="photo", weight_decay=0.0)
    found = space(recipe, {"mixup", "epochs"})
    assert set(found) == {"lr", "weight_decay", "batch", "label_smoothing", "dropout", "augment", "freeze"}
    for name, one in found.items():  # the first trial changes nothing, and belongs to the study
        assert one._contains(one.to_internal_repr(getattr(recipe, name)))
    assert (found["lr"].low, found["lr"].high, found["batch"].choices) == (1e-4, 1e-2, (16, 8, 32))
    assert "freeze" not in space(recipe.replace(weights="none", freeze="none"), set())


def test_a_trial_that_has_begun_has_all_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any write to the study, it is not there, or whole; and the next draw is what it would have been."""
    storages = pytest.importorskip("optuna.storages", reason=REASON)
    choices = space(Recipe(lr=0.1, batch=16, weights="none"), set())

    def drawn(folder: Path, writes: int) -> Any:
        folder.mkdir()
        with opened_study(folder) as study, monkeypatch.context() as patch:
            for name in ("create_new_trial", "set_trial_param"):
                whole = getattr(storages.RDBStorage, name)

                def counted(*given: Any, whole: Any = whole) -> Any:
                    nonlocal writes
                    if not writes:
                        raise KeyboardInterrupt
                    writes -= 1
                    return whole(*given)

                patch.setattr(storages.RDBStorage, name, counted)
            prepare(study, 0, 3)
            with suppress(KeyboardInterrupt):
                draw(study, choices)
        with opened_study(folder) as study:
            prepare(study, 0, 3)
            return (unended(study) or [draw(study, choices)])[0].params

    known = drawn(tmp_path / "whole", 100)
    assert set(known) == set(choices)
    assert drawn(tmp_path / "before", 0) == drawn(tmp_path / "after", 1) == known


@pytest.mark.parametrize("name", ["what?", "100%25 wool", "{0}", "a#b"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("optuna", reason=REASON)
    (tmp_path / name).mkdir()
    with opened_study(tmp_path / name) as study:
        study.set_user_attr("known", 1)
    with opened_study(tmp_path / name) as study:
        assert study.user_attrs == {"known": 1}
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.db")] == [Path(name) / "study.db"]


def test_a_study_that_cannot_be_used_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason=REASON)
    with opened_study(tmp_path):
        pass
    whole = (tmp_path / "study.db").read_bytes()
    monkeypatch.setattr(tuning, "PATIENCE", 0.01)
    with sqlite3.connect(tmp_path / "study.db") as other:
        other.execute("begin exclusive")
        with pytest.raises(InputError, match="database is locked; close the program"), opened_study(tmp_path):
            pass
        other.rollback()
    other.close()
    for content in (b"not a study" * 1000, whole[: len(whole) // 2]):
        (tmp_path / "study.db").write_bytes(content)
        with pytest.raises(InputError, match=r"study.db: cannot .*; bring back a copy"), opened_study(tmp_path):
            pass
