"""The self-test passes on right boxes, and says what is wrong with shuffled ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.folder import Sample
from mobilenets.errors import FaultFound
from mobilenets.models.detection.detector import create_detector
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.registry import find_task
from mobilenets.training.detection import self_test as tested
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import stages

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> BoxLoader:
    """Give 110 pictures with a red or a blue rectangle on noise."""
    folder, rng, samples = tmp_path_factory.mktemp("rectangles"), np.random.default_rng(0), []
    for number in range(110):
        pixels = rng.integers(90, 140, (64, 64, 3), np.uint8)
        width, height = (int(side) for side in rng.integers(16, 36, 2))
        x, y = int(rng.integers(64 - width)), int(rng.integers(64 - height))
        label = number % 2
        pixels[y : y + height, x : x + width] = ((220, 40, 40), (40, 40, 220))[label]
        path = folder / f"{number:03}.png"
        Image.fromarray(pixels).save(path)
        samples.append(Sample(path, 0, Boxes.of([[x, y, x + width, y + height]], [label])))
    return BoxLoader(tuple(samples), 2, Preprocessing(64, "stretch"), workers=1)


def run(loader: BoxLoader, steps: int, monkeypatch: pytest.MonkeyPatch) -> tested.SelfTest:
    torch.set_num_threads(1)
    monkeypatch.setattr(tested, "STEPS", steps)
    torch.manual_seed(0)
    network = create_detector("mobilenet_v2", 0.1, 64, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = Recipe(task="detection", batch=8, epochs=1, lr=1e-3, head_epochs=0, freeze="none", weights="none", views=0)
    [stage] = stages(recipe, 110)
    try:
        return tested.self_test(network, stage, find_task("detection"), loader, CPU, False)
    finally:
        after = network.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_right_boxes_pass(pictures: BoxLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "LR", 1e-2)
    found = run(pictures, 20, monkeypatch)
    assert found.faults == () and found.last < 0.5 * found.first
    assert found.agreement.auc is not None and found.agreement.auc > 0.8
    assert found.to_json()["agreement"]["faults"] == []


def test_boxes_of_other_pictures_stop_it(pictures: BoxLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [sample.target for sample in pictures.samples]
    targets = targets[9:] + targets[:9]
    moved = [replace(one, target=target) for one, target in zip(pictures.samples, targets, strict=True)]
    with pytest.raises(FaultFound, match=r"boxes have little to do with the pictures.*assigned to the wrong pictures"):
        run(replace(pictures, samples=tuple(moved)), 2, monkeypatch)


def test_shuffled_classes_stop_it(pictures: BoxLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    drawn = [replace(one, target=Boxes.of(one.target.corners, rng.integers(0, 2, 1))) for one in pictures.samples]
    with pytest.raises(FaultFound, match=r"classes have little to do with what is in the boxes.*--no-self-test"):
        run(replace(pictures, samples=tuple(drawn)), 2, monkeypatch)


def test_what_is_not_learned_by_heart_is_said(pictures: BoxLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "LR", 1e-9)
    with pytest.raises(FaultFound, match="8 pictures could not be learned by heart: the loss went from"):
        run(pictures, 4, monkeypatch)
