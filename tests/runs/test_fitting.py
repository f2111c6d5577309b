"""What an epoch is measured on is the pictures as ``predict`` sees them, whatever training does to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.datasets.loader import Loader, in_order
from mobilenets.datasets.prepare import prepare
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.fitting import loaders
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.features import cached_features
from mobilenets.training.recipe import Recipe
from mobilenets.training.validation import Validation
from mobilenets.verbs.models import create_model

RECIPE = Recipe(augment="strong", mixup=0.4, cutmix=1.0, size=32, workers=1, model="mobilenet_v1_cifar", width=0.25)
PREPROCESSING = Preprocessing(32)
CPU = torch.device("cpu")


@pytest.fixture
def both(photos: Path) -> tuple[Loader, Loader]:
    dataset = prepare(photos, share=0.3, seed=0, max_unreadable=0.1, workers=1)
    return loaders(RECIPE, dataset, PREPROCESSING, 3)


def whole(loader: Loader, epoch: int) -> Any:
    [batch] = loader.batches(in_order(len(loader.samples), 64), epoch)
    return batch


def test_validation_pictures_are_not_augmented(both: tuple[Loader, Loader]) -> None:
    train, validation = both
    plain = np.stack([PREPROCESSING(decode(sample.path)) for sample in validation.samples])
    for epoch in (0, 3):
        batch = whole(validation, epoch)
        np.testing.assert_array_equal(batch.images, plain)
        assert (batch.targets.max(axis=1) == 1).all()
    # And those that are learned from are.
    assert not np.array_equal(whole(train, 0).images, whole(train, 1).images)
    assert {sample.path for sample in train.samples}.isdisjoint(sample.path for sample in validation.samples)


def test_an_epoch_is_measured_on_plain_validation_pictures(both: tuple[Loader, Loader], photos: Path) -> None:
    train, validation = both
    network = create_model("mobilenet_v1_cifar", 3, 0.25, size=32).eval()
    assert isinstance(network, Network)
    torch.nn.init.normal_(network.classifier.weight)  # type: ignore[arg-type]
    measuring = Validation(validation, train, Classification(), ("blue", "green", "red"), photos, 0, CPU)
    found: Any = measuring.measure(network)
    plain = np.stack([PREPROCESSING(decode(sample.path)) for sample in validation.samples])
    with torch.no_grad():
        expected = network(to_tensor(plain, CPU)).numpy()
    np.testing.assert_allclose(found.logits, expected, atol=1e-5)
    assert found.images == tuple(sample.path.relative_to(photos).as_posix() for sample in validation.samples)


def test_cached_features_of_validation_are_of_plain_pictures(both: tuple[Loader, Loader]) -> None:
    """Where blocks are frozen, the epoch is measured on what they make of the pictures."""
    train, validation = (
        type(loader)(loader.samples, 3, PREPROCESSING, Classification(), loader.augment, workers=1) for loader in both
    )
    network = create_model("mobilenet_v1_cifar", 3, 0.25, size=32).eval()
    assert isinstance(network, Network)
    recipe = RECIPE.replace(mixup=0.0, cutmix=0.0, freeze="2", views=2)
    found = cached_features(network, recipe, 2, train, validation, CPU)
    assert found is not None
    plain = np.stack([PREPROCESSING(decode(sample.path)) for sample in validation.samples])
    with torch.no_grad():
        expected = network.trunk(to_tensor(plain, CPU), 2).permute(0, 2, 3, 1).numpy()
    assert found[0].values.shape[1] == 2 and found[1].values.shape[1] == 1
    np.testing.assert_allclose(found[1].values[:, 0], expected, atol=1e-5)
