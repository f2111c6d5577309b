from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.split import split
from mobilenets.pictures.augment.presets import build
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.training.run import build_stepper
from mobilenets.training.stages import stages
from mobilenets.training.start import architecture_of, fresh_network, preprocessing_of
from mobilenets.training.validation import Validation
from mobilenets.verbs.train import train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(photos: Path, quick_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished run, with all its files, to be read only."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("finished") / "run"
    train(photos, run, **(quick_settings | {"weight_decay": 0.05}))
    return run


@pytest.fixture
def begin(photos: Path, quick_settings: dict[str, Any], tmp_path: Path) -> Callable[..., Training]:
    """Give ``begin(run_name, data=photos, frozen="none", **settings)``: a training that is ready to fit."""

    def make(run: str = "run", data: Path = photos, frozen: str = "none", **changes: Any) -> Training:
        recipe = Recipe(**(quick_settings | changes))
        folder = read_folder(data)
        halves = split(folder.samples, folder.classes, 0.3, 0, data)
        preprocessing = preprocessing_of(recipe, None)
        network, _ = fresh_network(recipe, architecture_of(recipe, None), folder.classes, None)
        validation = Loader(halves.validation, len(folder.classes), preprocessing, Classification(), workers=1)
        train = Loader(
            halves.train,
            len(folder.classes),
            preprocessing,
            Classification(),
            build(recipe.augment, preprocessing),
            recipe.mixup,
            recipe.cutmix,
            recipe.seed,
            1,
        )
        device = torch.device("cpu")
        stage = stages(recipe.replace(freeze=frozen), len(train.samples))[-1]
        stepper = build_stepper(network, stage, Classification(), train, device, 0)
        measuring = Validation(validation, train, Classification(), folder.classes, data, recipe.seed, device)
        return Training(stepper, stage, train, measuring, tmp_path / run)

    return make
