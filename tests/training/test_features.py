"""The feature cache: what frozen blocks give, computed once, and never stale."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.datasets.folder import content_hashes, read_folder
from mobilenets.datasets.loader import Loader
from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.network import Network
from mobilenets.models.saved import load_model
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.decode import decode_scaled
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.classification.task import Classification
from mobilenets.training import feature_cache
from mobilenets.training import features as module
from mobilenets.training.features import cached_features
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.models import create_model

CPU = torch.device("cpu")
RECIPE = Recipe(weights="x", freeze="backbone", views=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create_model("mobilenet_v2", 3, 0.1, size=32).eval()


@pytest.fixture
def data(tmp_path: Path, draw: Any) -> Path:
    return draw(tmp_path / "photos", {"blue": 4, "red": 3})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the outputs that PyTorch computes for the cache; the groups that go through it are filled up."""
    seen: list[int] = []
    opened = module.open_trunk

    def opening(*words: Any) -> Any:
        trunk, in_torch = opened(*words)

        def counting(images: Any) -> Any:
            seen.append(len(images))
            return trunk(images)

        return counting if in_torch else trunk, in_torch

    monkeypatch.setattr(module, "open_trunk", opening)
    return seen


def loaders(data: Path, augment: str = "light", size: int = 32, seed: int = 0) -> tuple[Loader, Loader]:
    folder, preprocessing = read_folder(data), Preprocessing(size)
    plain = Loader(folder.samples, 2, preprocessing, Classification(), workers=1)
    return Loader(
        folder.samples, 2, preprocessing, Classification(), build(augment, preprocessing), seed=seed, workers=1
    ), plain


def cached(network: Network, pair: tuple[Loader, Loader], recipe: Recipe = RECIPE, blocks: int | None = None) -> Any:
    found = cached_features(network, recipe, len(network.body) if blocks is None else blocks, *pair, CPU)
    assert found is not None
    return found


def test_another_engine_computes_and_keeps_its_own(
    network: Network, data: Path, counted: list[int], cache: Path
) -> None:
    pair = loaders(data)
    in_torch = cached(network, pair)
    before = len(counted)
    for _ in range(2):
        found = cached_features(network, RECIPE, len(network.body), *pair, CPU, open_trunk)
        assert found is not None and len(list(cache.iterdir())) == 4
        for one, other in zip(found, in_torch, strict=True):
            np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-5)
    assert len(counted) == before


@pytest.mark.parametrize("opener", [open_trunk, None], ids=["onnxruntime", "torch"])
@pytest.mark.parametrize("blocks", [6, 19])
def test_entries_do_not_depend_on_what_they_were_computed_with(
    network: Network, data: Path, monkeypatch: pytest.MonkeyPatch, opener: Any, blocks: int
) -> None:
    train, validation = loaders(data)
    whole = cached_features(network, RECIPE, blocks, train, validation, CPU, opener)
    assert whole is not None
    monkeypatch.setenv("MOBILENETS_CACHE", str(data.parent / "other"))
    for first, last in ((2, 3), (1, 5)):
        part = slice(first, last)
        few = (
            replace(train, samples=train.samples[part], workers=3),
            replace(validation, samples=validation.samples[part]),
        )
        assert cached_features(network, RECIPE, blocks, *few, CPU, opener) is not None
    later = cached_features(network, RECIPE, blocks, replace(train, workers=2), validation, CPU, opener)
    assert later is not None
    for one, other in zip(later, whole, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_each_picture_is_decoded_once_for_all_its_views(
    network: Network, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def counting(path: Path, surplus: Any = None) -> Any:
        seen.append(path)
        return decode_scaled(path, surplus)

    monkeypatch.setattr("mobilenets.datasets.loader.decode_scaled", counting)
    train, validation = loaders(data)
    train = replace(train, cache=PictureCache(1 << 20))
    found, held_out = cached(network, (train, validation), RECIPE.replace(views=3))
    assert len(seen) == 7
    # The first view is the picture as it is, the others are those that each decode of its own gives.
    np.testing.assert_array_equal(found.values[:, 0], held_out.values[:, 0])
    content = int(content_hashes([train.samples[3].path])[train.samples[3].path][:15], 16)
    for view in range(2):
        rng = np.random.default_rng((train.seed, 4, view, content))
        picture = train.view(train.decoded(train.samples[3]), rng)
        image = train.preprocessing.normalise(np.asarray(picture)[None])
        with torch.inference_mode():
            wanted = network.trunk(torch.from_numpy(image).permute(0, 3, 1, 2), 19)
        np.testing.assert_allclose(found.values[3, view + 1].ravel(), wanted.ravel(), rtol=1e-4, atol=1e-5)
    assert not np.array_equal(found.values[:, 1], found.values[:, 0])
    # A single view is augmented.
    single, _ = cached(network, (train, validation), RECIPE.replace(views=1))
    np.testing.assert_array_equal(single.values[:, 0], found.values[:, 1])


@pytest.mark.parametrize("blocks", [1, 5, 18, 19])
def test_the_rest_of_the_network_gives_the_same_logits(network: Network, data: Path, blocks: int) -> None:
    _, validation = cached(network, loaders(data), blocks=blocks)
    plan = [[0, 3, 6], [1]]
    pictures = list(loaders(data)[1].batches(plan))
    for of_cache, of_pictures in zip(validation.batches(plan), pictures, strict=True):
        images = (torch.from_numpy(batch.images).permute(0, 3, 1, 2) for batch in (of_cache, of_pictures))
        with torch.inference_mode():
            found, expected = network(next(images), blocks), network(next(images))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.array_equal(of_cache.targets, of_pictures.targets)
        np.testing.assert_array_equal(of_cache.targets, of_pictures.targets)


def test_the_second_time_it_is_read(
    network: Network, data: Path, counted: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mobilenets")
    first = cached(network, loaders(data))
    assert sum(counted) == 7 * 2
    assert "0 of 7" not in caplog.text  # where nothing is found, nothing is said
    second = cached(network, loaders(data))
    assert sum(counted) == 7 * 2
    assert "7 of 7 found in the cache" in caplog.text
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before.values, after.values)


def weights(network: Network, data: Path) -> tuple[Network, Any]:
    with torch.no_grad():
        network.body[3].project.norm.bias[0] += 1e-3
    return network, loaders(data)


CHANGES: dict[str, Callable[[Network, Path], tuple[Network, Any]]] = {
    "weights": weights,
    "preprocessing": lambda network, data: (network, loaders(data, size=33)),
    "augmentation": lambda network, data: (network, loaders(data, "photo")),
    "seed": lambda network, data: (network, loaders(data, seed=1)),
}
ANEW = {"weights": 14, "preprocessing": 14, "augmentation": 7, "seed": 7}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_computes_just_what_it_must(change: str, network: Network, data: Path, counted: list[int]) -> None:
    cached(network, loaders(data))
    counted.clear()
    network, pair = CHANGES[change](network, data)
    cached(network, pair, RECIPE.replace(seed=pair[0].seed))
    # Pictures as they are do not change with the augmentation and the seed.
    assert sum(counted) == ANEW[change]


def test_a_changed_classifier_changes_nothing(network: Network, data: Path, counted: list[int]) -> None:
    cached(network, loaders(data))
    counted.clear()
    with torch.no_grad():
        network.classifier.weight += 1  # type: ignore[operator]
    cached(network, loaders(data))
    assert counted == []


def test_a_changed_picture_is_computed_anew_and_no_other(network: Network, data: Path, counted: list[int]) -> None:
    before = cached(network, loaders(data))
    counted.clear()
    shutil.copy(data / "red/000.png", data / "blue/001.png")
    (data / "red/000.png").unlink()
    after = cached(network, loaders(data))
    assert counted == []  # its bytes are known, under another name
    np.testing.assert_array_equal(after[0].values[1], before[0].values[4])
    (data / "blue/002.png").write_bytes((data / "blue/002.png").read_bytes() + b"x")
    cached(network, loaders(data))
    assert sum(counted) == 2


def test_stopped_halfway(network: Network, data: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cached(network, loaders(data))
    monkeypatch.setenv("MOBILENETS_CACHE", str(data.parent / "other"))
    monkeypatch.setattr(module, "COMPUTED_TOGETHER", 4)
    trunk, calls = Network.trunk, iter([1, 1])

    def stopping(self: Network, x: torch.Tensor, blocks: int) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return trunk(self, x, blocks)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Network, "trunk", stopping)
        cached(network, loaders(data))
    counted.clear()
    again = cached(network, loaders(data))
    assert sum(counted) == 14 - 7
    np.testing.assert_allclose(again[0].values, whole[0].values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damage", [b"no data base at all", b""])
def test_a_damaged_cache_begins_anew(network: Network, data: Path, cache: Path, damage: bytes) -> None:
    before = cached(network, loaders(data))
    for path in cache.iterdir():
        path.write_bytes(damage)
    after = cached(network, loaders(data))
    np.testing.assert_array_equal(before[0].values, after[0].values)


def test_a_page_of_it_overwritten(network: Network, data: Path, cache: Path) -> None:
    before = cached(network, loaders(data))
    for path in cache.iterdir():
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    after = cached(network, loaders(data))
    np.testing.assert_array_equal(before[0].values, after[0].values)


def overwrite_in_a_value(path: Path, view: int) -> None:
    """Write over some bytes of one value where it lies in the file, of which SQLite itself notices nothing."""
    with sqlite3.connect(path) as base:
        (value,) = base.execute("SELECT value FROM features WHERE view = ? LIMIT 1", (view,)).fetchone()
    base.close()
    content = bytearray(path.read_bytes())
    place = content.find(value[:64])
    assert place > 0
    content[place : place + 64] = np.full(16, 7.5, np.float32).tobytes()
    path.write_bytes(content)


def test_bytes_overwritten_in_the_middle_of_a_value(
    network: Network, data: Path, cache: Path, counted: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    before = cached(network, loaders(data))
    for path in cache.iterdir():
        overwrite_in_a_value(path, 0)
    counted.clear()
    after = cached(network, loaders(data))
    assert sum(counted) == 2  # one of each file
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new.values, old.values, rtol=1e-4, atol=1e-5)
    damaged = "1 outputs in the feature cache are damaged; computing them again"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [damaged] * 2
    # Mended for good.
    caplog.clear()
    counted.clear()
    cached(network, loaders(data))
    assert counted == []
    assert "damaged" not in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE features SET value = (SELECT value FROM features WHERE view = 1) WHERE view = 0",
        "UPDATE features SET checksum = NULL WHERE view = 0",
        "UPDATE features SET checksum = checksum + 1 WHERE view = 0",
        "UPDATE features SET value = NULL WHERE view = 0",
        "UPDATE features SET value = CAST(x'ff00ff' AS TEXT) WHERE view = 0",
    ],
)
def test_an_entry_that_is_not_its_own(
    network: Network, data: Path, cache: Path, counted: list[int], damage: str
) -> None:
    recipe = RECIPE.replace(views=3)
    before = cached(network, loaders(data), recipe)
    (path,) = (path for path in cache.iterdir() if views_of(path) == 2)
    with sqlite3.connect(path) as base:
        base.execute(damage)
    base.close()
    counted.clear()
    after = cached(network, loaders(data), recipe)
    assert sum(counted) == 7
    np.testing.assert_allclose(after[0].values, before[0].values, rtol=1e-4, atol=1e-5)


def views_of(path: Path) -> int:
    with sqlite3.connect(path) as base:
        (count,) = base.execute("SELECT count(DISTINCT view) FROM features").fetchone()
    base.close()
    return int(count)


def test_a_cache_of_an_older_version_is_not_read(
    network: Network, data: Path, cache: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(network, loaders(data))
    names = {path.name for path in cache.iterdir()}
    counted.clear()
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    cached(network, loaders(data))
    assert sum(counted) == 14
    assert len({path.name for path in cache.iterdir()} - names) == 2


def test_a_value_of_another_length_is_not_taken(network: Network, data: Path, cache: Path, counted: list[int]) -> None:
    cached(network, loaders(data))
    for path in cache.iterdir():
        with sqlite3.connect(path) as base:
            base.execute("UPDATE features SET value = x'00' WHERE view = 0")
        base.close()
    counted.clear()
    cached(network, loaders(data))
    assert sum(counted) == 14


def test_a_cache_that_cannot_be_written_is_done_without(
    network: Network, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = cached(network, loaders(data))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "file"))
    found = cached(network, loaders(data))
    assert "the feature cache cannot be used" in caplog.text
    assert all(np.array_equal(one.values, other.values) for one, other in zip(found, expected, strict=True))


def test_a_disk_that_fills_up_does_not_stop_it(
    network: Network, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = sqlite3.connect

    def small(*words: Any, **options: Any) -> sqlite3.Connection:
        base: sqlite3.Connection = real(*words, **options)
        base.execute("PRAGMA max_page_count = 4")  # SQLite then says what it says of a full disk
        return base

    monkeypatch.setattr("mobilenets.training.feature_cache.sqlite3.connect", small)
    found = cached(network, loaders(data))
    monkeypatch.undo()
    assert caplog.text.count("the feature cache cannot grow (database or disk is full)") == 3
    monkeypatch.setenv("MOBILENETS_CACHE", str(data.parent / "elsewhere"))
    expected = cached(network, loaders(data))
    assert all(np.array_equal(one.values, other.values) for one, other in zip(found, expected, strict=True))


def test_where_pictures_are_blended_or_new_each_epoch(
    network: Network, data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for recipe, words in (
        (RECIPE.replace(views=0), "--views 0"),
        (RECIPE.replace(mixup=0.2), "Mixup and CutMix"),
    ):
        with caplog.at_level(logging.INFO, "mobilenets"):
            assert cached_features(network, recipe, 19, *loaders(data), CPU) is None
        assert words in caplog.text
    assert cached_features(network, RECIPE, 0, *loaders(data), CPU) is None
    monkeypatch.setattr(module, "MOST_AT_ONCE", 100)
    assert cached_features(network, RECIPE, 19, *loaders(data), CPU) is None


def test_each_epoch_draws_among_the_views(network: Network, data: Path) -> None:
    train, _ = cached(network, loaders(data))
    plan = [[0, 1, 2], [3, 4, 5, 6]]
    epochs = [np.concatenate([batch.images for batch in train.batches(plan, epoch)]) for epoch in range(6)]
    assert any(not np.array_equal(epochs[0], other) for other in epochs[1:])
    # Any step can be repeated alone.
    later = next(train.batches(plan, 3, skip=1))
    np.testing.assert_array_equal(later.images, epochs[3][3:])
    still, _ = cached(network, loaders(data, "none"))
    assert still.values.shape[1] == 1


def test_old_caches_make_room(network: Network, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(network, loaders(data))
    old = set(cache.iterdir())
    for path in old:
        os.utime(path, (1, 1))
    monkeypatch.setattr(feature_cache, "MOST_KEPT", 0)
    cached(network, loaders(data, size=40))
    assert len(set(cache.iterdir())) == 2
    assert not old & set(cache.iterdir())


SMALL: dict[str, Any] = {"device": "cpu", "threads": 1, "workers": 1, "batch": 4, "augment": "light"}


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "weights.pt"
    torch.manual_seed(3)
    torch.save(create_model("mobilenet_v2", 5, 0.1, size=32, variant="standard").state_dict(), path)
    yield path


@pytest.mark.parametrize("freeze", ["backbone", "6"])
def test_training_from_the_cache(model: Path, data: Path, tmp_path: Path, freeze: str, undrawn: None) -> None:
    settings = SMALL | {"weights": str(model), "size": 32, "freeze": freeze, "epochs": 3}
    mobilenets.train(data, tmp_path / "run", **settings)
    trained = load_model(tmp_path / "run").network
    given = torch.load(model, weights_only=True)
    blocks = {"backbone": 19, "6": 6}[freeze]
    for index, (name, block) in enumerate(trained.body.named_children()):
        same = [torch.equal(v, given[f"body.{name}.{k}"]) for k, v in block.state_dict().items() if v.ndim]
        assert all(same) if index < blocks else not all(same)


def test_a_stopped_run_goes_on_to_the_same_bytes(model: Path, data: Path, tmp_path: Path, undrawn: None) -> None:
    settings = SMALL | {"weights": str(model), "size": 32, "freeze": "backbone", "epochs": 40}
    mobilenets.train(data, tmp_path / "whole", **settings)
    code = f"import sys, mobilenets; mobilenets.train({str(data)!r}, {str(tmp_path / 'run')!r}, **{settings!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoint/state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    model.unlink()  # the checkpoint has every weight
    mobilenets.train(data, tmp_path / "run", resume=True)
    whole, resumed = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "run"))
    assert whole == resumed
