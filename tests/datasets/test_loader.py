from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.loader import Batch, Loader, in_order, shuffled
from mobilenets.errors import InputError
from mobilenets.pictures.augment.presets import build
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
