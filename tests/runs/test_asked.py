"""A finished model is asked once about each picture, and all that follows is made of what it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.datasets.layout import Layout
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset, prepare
from mobilenets.exports.formats import onnx
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs import asked
from mobilenets.runs.asked import ask, known_places, to_ask
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.features import cached_features
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.models import create_model

CPU = torch.device("cpu")
HOW = Preprocessing(32)


@pytest.fixture
def dataset(draw: Callable[..., Path], tmp_path: Path) -> Dataset:
    torch.set_num_threads(1)
    data = draw(tmp_path / "data", {"blue": 20, "green": 20, "red": 20})
    return prepare(data, share=0.3, seed=0, max_unreadable=0.1, workers=1)


@pytest.mark.parametrize("opener", [None, open_trunk], ids=["torch", "onnx"])
@pytest.mark.parametrize("labels", [False, True])
def test_all_is_as_the_network_gives_it_alone(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, opener: Any, labels: bool
) -> None:
    monkeypatch.setattr(asked, "MOST_PICTURES", 10)
    monkeypatch.setattr(asked, "MOST_A_CLASS", 0)
    network: Any = create_model(
        "mobilenet_v3_small", 3, 0.35, size=32
    ).eval()  # with layers between pooling and classifier
    found = ask(network, dataset, Loader((), 3, HOW, Classification(), workers=1), labels, CPU, opener)
    assert len(found["train"].places) == (len(dataset.train) if labels else 10)
    assert len(found["validation"].places) == len(dataset.validation) and not len(found["test"].places)
    engine, places = NetworkEngine(network, CPU), known_places(dataset)
    for half in ("train", "validation"):
        samples, one = dataset.halves[half], found[half]
        pictures = np.stack([HOW(decode(sample.path)) for sample in samples])
        features, logits = engine.features(pictures)
        np.testing.assert_allclose(one.logits, logits[one.places], atol=1e-4)
        assert len(one.values) == len(one.kept) == (len(samples) if labels else 10)
        again = one.answered(network, CPU, places[half])
        np.testing.assert_allclose(again.features, features[places[half]], atol=1e-4)
        np.testing.assert_allclose(again.logits, logits[places[half]], atol=1e-4)


def test_what_a_training_left_in_the_cache_is_not_computed_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    network: Any = create_model("mobilenet_v3_small", 3, 0.35, size=32).eval()
    plain = Loader(dataset.validation, 3, HOW, Classification(), workers=1)
    train = replace(plain, samples=dataset.train, augment=build("light", HOW))
    before = ask(network, dataset, plain, True, CPU, open_trunk)
    recipe = Recipe(weights="x", freeze="backbone", views=2)
    assert cached_features(network, recipe, len(network.body), train, plain, CPU, open_trunk) is not None

    def decoded(*_: Any) -> Any:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("mobilenets.datasets.loader.decode_scaled", decoded)
        after = ask(network, dataset, train, True, CPU, open_trunk)
    for half in ("train", "validation"):
        np.testing.assert_array_equal(before[half].values, after[half].values)
        np.testing.assert_array_equal(before[half].logits, after[half].logits)
    # Of a picture that is new, its own.
    sample = dataset.train[0]
    sample.path.write_bytes(dataset.validation[-1].path.read_bytes() + b"x")
    again = ask(network, dataset, train, True, CPU, open_trunk)
    np.testing.assert_array_equal(again["train"].values[0], before["validation"].values[-1])
    np.testing.assert_array_equal(again["train"].values[1:], before["train"].values[1:])


def test_with_folds_the_test_half_alone_is_asked_about(dataset: Dataset) -> None:
    some = Dataset(Layout(Path(), Path()), dataset.classes, dataset.train, (), dataset.validation, (), "")
    wanted = to_ask(some, labels=False)
    assert [len(places) for places, _ in wanted.values()] == [0, 0, len(dataset.validation)]


def test_a_training_ends_with_one_pass_and_one_file(
    draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = draw(tmp_path / "data", {"blue": 30, "green": 30, "red": 30})
    settings = {"model": "mobilenet_v1_cifar", "weights": "none", "width": 0.25, "size": 16, "augment": "none"}
    written, decoded, write, pooled = [], [], onnx.write, asked.pooled
    monkeypatch.setattr(onnx, "write", lambda job: (written.append(job), write(job))[1])

    def counted(network: Network, loader: Loader, *more: Any) -> Any:
        decoded.extend(sample.path for sample in loader.samples)
        return pooled(network, loader, *more)

    monkeypatch.setattr(asked, "pooled", counted)
    for name in ("draw_figures", "write_report"):
        monkeypatch.setattr(f"mobilenets.runs.class_report.{name}", lambda *_: None)
    result = mobilenets.train(data, tmp_path / "run", epochs=1, device="cpu", workers=1, threads=1, **settings)
    assert len(written) == 1 and sorted(decoded) == sorted(data.rglob("*.png"))
    assert result["calibration"]["pictures"] == result["images"] and result["none_of_these"] is not None
    assert result["wrong_labels"]["pictures"] == 90
    measured = mobilenets.evaluate(tmp_path / "run", data)
    assert measured["top1"] == result["top1"] and measured["confusion"] == result["confusion"]
