"""Labels that look wrong: found by features of the network, written as fixes, and never looked for at length."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import Layout
from mobilenets.datasets.prepare import Dataset
from mobilenets.doctor.fixes import read_fixes
from mobilenets.measure.metrics import Evaluation
from mobilenets.runs import asked
from mobilenets.runs.suspects import Suspects, can_look, find_suspects, looked_at
from mobilenets.training.recipe import Recipe


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """Give 75 pictures of three colours, of which blue/003.png and red/004.png have changed places."""
    torch.set_num_threads(1)
    root = draw(tmp_path / "data", {"blue": 25, "green": 25, "red": 25})
    one, other = root / "blue" / "003.png", root / "red" / "004.png"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return root


def ready(root: Path, run: Path) -> Any:
    """Give a run as far as suspects are concerned."""
    folder = read_folder(root)
    dataset = Dataset(Layout(root, root), folder.classes, folder.samples[5:], folder.samples[:5], None, (), "")
    run.mkdir(exist_ok=True)
    return SimpleNamespace(dataset=dataset, recipe=Recipe(), folder=run)


def colours(run: Any) -> np.ndarray:
    """Give each picture's mean colour, as a network that has learned something would."""
    pixels = [np.asarray(Image.open(sample.path), np.float32) / 255 for sample in looked_at(run.dataset)]
    return np.stack([values.mean(axis=(0, 1)) for values in pixels])


def test_wrong_labels_are_found_among_the_pictures_trained_on_and_written_as_fixes(data: Path, tmp_path: Path) -> None:
    run = ready(data, tmp_path / "run")
    found = find_suspects(run, colours(run))
    assert found is not None and found.pictures == 75
    assert {one.path: one.suggested for one in found.found} == {"blue/003.png": "red", "red/004.png": "blue"}
    fixes = read_fixes(tmp_path / "run" / "fixes.csv")
    assert {(fix.action, fix.path, fix.problem, fix.suggestion) for fix in fixes} == {
        ("relabel", "blue/003.png", "wrong_label", "red"),
        ("relabel", "red/004.png", "wrong_label", "blue"),
    }
    assert found.to_json()["found"] == 2 and len(found.to_json()["suspects"]) == 2


def test_answers_of_folds_are_taken_as_they_are_and_old_fixes_go(data: Path, tmp_path: Path) -> None:
    run = ready(data, tmp_path / "run")
    run.dataset = dataclasses.replace(run.dataset, train=read_folder(data).samples, validation=())
    labels = np.array([sample.label for sample in run.dataset.train])
    logits = np.full((75, 3), -4, np.float32)
    logits[np.arange(75), labels] = 4
    evaluation = Evaluation(run.dataset.classes, tuple(map(str, range(75))), labels, logits.copy())
    (tmp_path / "run" / "fixes.csv").write_text("of an earlier training")
    found = find_suspects(run, None, SimpleNamespace(evaluation=evaluation))  # type: ignore[arg-type]
    assert found == Suspects(75, 1.0, ())
    assert not (tmp_path / "run" / "fixes.csv").exists()
    # Somebody may have edited them.
    assert (tmp_path / "run" / "fixes-before.csv").read_text() == "of an earlier training"
    logits[7] = [-4, -4, 4]
    evaluation = Evaluation(run.dataset.classes, tuple(map(str, range(75))), labels, logits)
    found = find_suspects(run, None, SimpleNamespace(evaluation=evaluation))  # type: ignore[arg-type]
    assert found is not None and [one.path for one in found.found] == ["blue/007.png"]
    find_suspects(run, None, SimpleNamespace(evaluation=evaluation))  # type: ignore[arg-type]
    assert (tmp_path / "run" / "fixes-before.csv").read_text() == "of an earlier training"


def test_few_pictures_are_not_looked_at_and_many_are_left_to_folds(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = ready(data, tmp_path / "run").dataset
    assert can_look(dataset, 256) and not caplog.text
    monkeypatch.setattr(asked, "MOST_WORK", 100)
    with caplog.at_level(logging.INFO, "mobilenets"):
        assert not can_look(dataset, 256)
    assert "with --folds 5 they are found" in caplog.text
    caplog.clear()
    monkeypatch.setattr(asked, "FEWEST", 76)
    assert not can_look(dataset, 256) and not caplog.text
