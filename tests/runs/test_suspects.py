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
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset
from mobilenets.doctor.fixes import read_fixes
from mobilenets.measure.metrics import Evaluation
from mobilenets.models.network import Network
from mobilenets.runs import suspects
from mobilenets.runs.suspects import Suspects, find_suspects
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.features import plain_features
from mobilenets.training.recipe import Recipe
from mobilenets.training.start import architecture_of, fresh_network, preprocessing_of

CPU = torch.device("cpu")
RECIPE = Recipe(model="mobilenet_v1_cifar", weights="none", width=0.25, size=16)


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


def ready(root: Path, run: Path) -> tuple[Any, Network, Loader]:
    """Give a run as far as suspects are concerned, its network, untrained, and its loader."""
    folder = read_folder(root)
    dataset = Dataset(Layout(root, root), folder.classes, folder.samples[5:], folder.samples[:5], None, (), "")
    network, _ = fresh_network(RECIPE, architecture_of(RECIPE, None), folder.classes, None)
    loader = Loader(folder.samples[:3], 3, preprocessing_of(RECIPE, None), Classification(), workers=1)
    run.mkdir(exist_ok=True)
    return SimpleNamespace(dataset=dataset, recipe=RECIPE, folder=run), network.eval(), loader


def colours(network: Network, loader: Loader, device: torch.device, opener: object) -> np.ndarray:
    """Give each picture's mean colour, as a network that has learned something would."""
    assert loader.augment is None
    pixels = [np.asarray(Image.open(sample.path), np.float32) / 255 for sample in loader.samples]
    return np.stack([values.mean(axis=(0, 1)) for values in pixels])


def test_wrong_labels_are_found_among_the_pictures_trained_on_and_written_as_fixes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, network, loader = ready(data, tmp_path / "run")
    monkeypatch.setattr(suspects, "plain_features", colours)
    found = find_suspects(run, network, loader, CPU, None)
    assert found is not None and found.pictures == 75
    assert {one.path: one.suggested for one in found.found} == {"blue/003.png": "red", "red/004.png": "blue"}
    fixes = read_fixes(tmp_path / "run" / "fixes.csv")
    assert {(fix.action, fix.path, fix.problem, fix.suggestion) for fix in fixes} == {
        ("relabel", "blue/003.png", "wrong_label", "red"),
        ("relabel", "red/004.png", "wrong_label", "blue"),
    }
    assert found.to_json()["found"] == 2 and len(found.to_json()["suspects"]) == 2


def test_answers_of_folds_are_taken_as_they_are_and_old_fixes_go(data: Path, tmp_path: Path) -> None:
    run, network, loader = ready(data, tmp_path / "run")
    run.dataset = dataclasses.replace(run.dataset, train=read_folder(data).samples, validation=())
    labels = np.array([sample.label for sample in run.dataset.train])
    logits = np.full((75, 3), -4, np.float32)
    logits[np.arange(75), labels] = 4
    evaluation = Evaluation(run.dataset.classes, tuple(map(str, range(75))), labels, logits.copy())
    (tmp_path / "run" / "fixes.csv").write_text("of an earlier training")
    found = find_suspects(run, network, loader, CPU, None, SimpleNamespace(evaluation=evaluation))  # type: ignore[arg-type]
    assert found == Suspects(75, 1.0, ())
    assert not (tmp_path / "run" / "fixes.csv").exists()
    logits[7] = [-4, -4, 4]
    evaluation = Evaluation(run.dataset.classes, tuple(map(str, range(75))), labels, logits)
    found = find_suspects(run, network, loader, CPU, None, SimpleNamespace(evaluation=evaluation))  # type: ignore[arg-type]
    assert found is not None and [one.path for one in found.found] == ["blue/007.png"]


def test_few_pictures_are_not_looked_at_and_many_are_left_to_folds(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, network, loader = ready(data, tmp_path / "run")
    monkeypatch.setattr(suspects, "MOST_WORK", 100)
    with caplog.at_level(logging.INFO, "mobilenets"):
        assert find_suspects(run, network, loader, CPU, None) is None
    assert "with --folds 5 they are found" in caplog.text
    monkeypatch.setattr(suspects, "FEWEST", 76)
    assert find_suspects(run, network, loader, CPU, None) is None


def test_features_are_those_that_the_classifier_gets(data: Path, tmp_path: Path) -> None:
    _, network, loader = ready(data, tmp_path / "run")
    features = plain_features(network, loader, CPU)
    [batch] = loader.batches([[0, 1, 2]])
    with torch.inference_mode():
        given = network.trunk(torch.from_numpy(batch.images).permute(0, 3, 1, 2), len(network.body))
    assert features.shape == (3, given.shape[1])
    assert np.allclose(features, given.flatten(1).numpy(), atol=1e-5)
