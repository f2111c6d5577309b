from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


def draw_photos(folder: Path, counts: Mapping[str, int], size: int = 20) -> Path:
    """Write so many small pictures of each class: noise with more of one colour a class, so that it can be learned."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng((label, number))
            pixels = rng.integers(0, 130, (size, size, 3), np.uint8)
            pixels[..., label % 3] += 90
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Give ``draw(folder, {class: count}, size=20)``, which writes pictures and returns the folder."""
    return draw_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder with three classes of ten pictures, to be read only."""
    return draw_photos(tmp_path_factory.mktemp("data") / "photos", {"blue": 10, "green": 10, "red": 10})


class Trained(NamedTuple):
    """A finished run and the unsplit folder that it learned from."""

    run: Path
    data: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Give a run that tells cats, dogs and owls (noise of three colours) apart, to be read only."""
    import torch

    import mobilenets

    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("trained")
    data = draw_photos(place / "pets", {"cat": 20, "dog": 20, "owl": 20}, size=24)
    machine = {"device": "cpu", "threads": 1, "workers": 1}
    network = {"model": "mobilenet_v1_cifar", "size": 32, "augment": "none", "dropout": 0.0}
    course = {"epochs": 4, "batch": 4, "optimizer": "sgd", "lr": 5e-3, "weight_decay": 1e-4, "keep": "last"}
    mobilenets.train(data, place / "run", **machine, **network, **course)
    return Trained(place / "run", data)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    """Take away what the command line did to the log in an earlier test or fixture."""
    log = logging.getLogger("mobilenets")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True
