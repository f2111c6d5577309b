from __future__ import annotations

import gc
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.loader import Batch, Loader, in_order, shuffled
from mobilenets.errors import InputError
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.classification.task import Classification

PREPROCESSING = Preprocessing(16)


def make(photos: Path, *, augment: str | None = "strong", workers: int = 1, mixup: float = 0.0) -> Loader:
    samples = read_folder(photos).samples
    transforms = build(augment, PREPROCESSING) if augment else None
    return Loader(
        samples, 3, PREPROCESSING, Classification(), transforms, mixup=mixup, cutmix=mixup, seed=7, workers=workers
    )


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a.images, b.images) and np.array_equal(a.targets, b.targets)
        for a, b in zip(first, second, strict=True)
    )


def test_in_order(photos: Path) -> None:
    loader = make(photos, augment=None, workers=2)
    plan = in_order(30, 8)
    assert plan == [list(range(8)), list(range(8, 16)), list(range(16, 24)), list(range(24, 30))]
    batches = list(loader.batches(plan))
    images = np.concatenate([b.images for b in batches])
    assert images.dtype == np.float32
    assert images.shape == (30, 16, 16, 3)
    for sample, image in zip(loader.samples, images, strict=True):
        assert np.array_equal(image, PREPROCESSING(decode(sample.path)))
    targets = np.concatenate([b.targets for b in batches])
    assert np.array_equal(targets, np.repeat(np.eye(3, dtype=np.float32), 10, axis=0))


@pytest.mark.parametrize("count", [1, 2, 7, 30, 33, 64, 65])
@pytest.mark.parametrize("batch", [1, 2, 8, 32])
def test_every_picture_once_an_epoch(count: int, batch: int) -> None:
    plan = shuffled([0] * count, batch, seed=3, epoch=2)
    sizes = [len(part) for part in plan]
    assert sorted(place for part in plan for place in part) == list(range(count))
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert len(plan) == -(-count // batch)


def test_order_follows_from_seed_and_epoch() -> None:
    labels = [0] * 40
    assert shuffled(labels, 8, 1, 1) == shuffled(labels, 8, 1, 1)
    assert shuffled(labels, 8, 1, 1) != shuffled(labels, 8, 1, 2)
    assert shuffled(labels, 8, 1, 1) != shuffled(labels, 8, 2, 1)


def test_balanced_evens_out() -> None:
    labels = [0] * 900 + [1] * 90 + [2] * 10
    plan = shuffled(labels, 32, 0, 0, balanced=True)
    drawn = Counter(labels[place] for part in plan for place in part)
    assert sum(drawn.values()) == 1000
    # Five deviations of a binomial with 1000 draws and share 1/3 are 75.
    assert all(abs(drawn[label] - 1000 / 3) < 75 for label in range(3))


def test_skip_gives_the_same_later_batches(photos: Path) -> None:
    loader = make(photos, mixup=0.5)
    plan = shuffled([s.label for s in loader.samples], 7, 0, 4)
    whole = list(loader.batches(plan, 4))
    for skip in range(len(plan) + 2):
        assert same(list(loader.batches(plan, 4, skip)), whole[skip:])
    assert not same(list(loader.batches(plan, 5)), whole)


def test_workers_change_nothing(photos: Path) -> None:
    plan = shuffled([0] * 30, 4, 0, 0)
    assert same(
        list(make(photos, mixup=0.5, workers=4).batches(plan)), list(make(photos, mixup=0.5, workers=1).batches(plan))
    )


def test_mixed_targets_sum_to_one(photos: Path) -> None:
    batches = list(make(photos, mixup=1.0).batches(shuffled([0] * 30, 10, 0, 0)))
    targets = np.concatenate([b.targets for b in batches])
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert ((targets > 0) & (targets < 1)).any()


def test_vanished_picture(draw: Callable[..., Path], tmp_path: Path) -> None:
    loader = make(draw(tmp_path / "photos", {"a": 4, "b": 4}), workers=2)
    batches = loader.batches(in_order(8, 2))
    next(batches)
    gone = loader.samples[7].path
    gone.unlink()
    with pytest.raises(InputError, match="it was readable before: restore it") as caught:
        list(batches)
    assert str(caught.value).startswith(f"{gone}: ")
    assert "\n" not in str(caught.value)


def test_no_thread_is_left_behind(photos: Path) -> None:
    batches = make(photos, workers=3).batches(in_order(30, 2))
    next(batches)
    assert any(thread.name.startswith("decode") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())


@pytest.mark.parametrize("augment", ["photo", "strong", "digits", "none", None])
@pytest.mark.parametrize("room", [0, 5000, 1 << 20])
def test_a_cache_changes_nothing(photos: Path, augment: str | None, room: int) -> None:
    loader = make(photos, augment=augment, workers=2)
    kept = replace(loader, cache=PictureCache(room))
    for epoch in range(3):
        plan = shuffled([0] * 30, 8, 0, epoch)
        assert same(list(kept.batches(plan, epoch)), list(loader.batches(plan, epoch)))
    assert kept.cache is not None
    assert len(kept.cache) == 0 if room == 0 else 0 < len(kept.cache) <= 30


def test_kept_pictures_are_not_read_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = replace(make(photos), cache=PictureCache(1 << 20))
    first = list(loader.batches(in_order(30, 8)))
    monkeypatch.setattr("mobilenets.datasets.loader.decode_scaled", None)
    assert same(list(loader.batches(in_order(30, 8))), first)


def test_views_of_one_decoding(photos: Path) -> None:
    loader = make(photos)
    sample = loader.samples[3]
    found = loader.views(sample, [np.random.default_rng(seed) for seed in (1, 2, 1)])
    picture = loader.decoded(sample)
    assert [one.tobytes() for one in found] == [
        loader.view(picture, np.random.default_rng(seed)).tobytes() for seed in (1, 2, 1)
    ]
    assert found[0].tobytes() == found[2].tobytes() != found[1].tobytes()


def peak(loader: Loader, epochs: range) -> int:
    """Run epochs and give the most memory that Python held, in bytes; what Pillow holds is counted by its pictures."""
    tracemalloc.reset_peak()
    for epoch in epochs:
        for batch in loader.batches(shuffled([0] * len(loader.samples), 4, 0, epoch), epoch):
            assert batch.images.shape[1:] == (16, 16, 3)
    assert sum(issubclass(type(one), Image.Image) for one in gc.get_objects()) < 50
    return tracemalloc.get_traced_memory()[1]


def test_memory_is_flat(draw: Callable[..., Path], tmp_path: Path) -> None:
    """Ten epochs take what two take, and ten times the pictures no more than what is kept of them."""
    samples = read_folder(draw(tmp_path / "photos", {"a": 10, "b": 10})).samples
    small = replace(make(tmp_path / "photos", workers=2), samples=samples, cache=PictureCache(40_000))
    large = replace(small, samples=samples * 10, cache=PictureCache(40_000))
    list(small.batches(in_order(20, 4)))  # whatever is imported or made once
    gc.collect()
    tracemalloc.start()
    try:
        first = peak(small, range(2))
        assert peak(small, range(2, 10)) < first + 60_000
        # Places in the plan take some bytes each.
        assert peak(large, range(2)) < first + 300_000
    finally:
        tracemalloc.stop()
