"""A batch depends on nothing that was drawn before it, and its targets are where the pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.box_loader import NOTHING, BoxLoader, padded
from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError
from mobilenets.pictures.augment.with_boxes import BoxAugmentation, build_boxes
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.preprocess import Preprocessing

CONTRACT = Preprocessing(32, "stretch", interpolation="bilinear")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    """Give pictures of several sizes with a white rectangle; the last has none."""
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number in range(7):
        pixels = np.zeros((80 + 10 * number, 200 - 10 * number, 3), np.uint8)
        box = (20 + number, 10, 90, 60 + number)
        if number < 6:
            pixels[box[1] : box[3], box[0] : box[2]] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        target = Boxes.of([box], [0]) if number < 6 else Boxes.of()
        found.append(Sample(folder / f"{number}.png", 0, target))
    return tuple(found)


def test_without_augmentation_a_picture_is_squashed(samples: tuple[Sample, ...]) -> None:
    loader = BoxLoader(samples, 1, CONTRACT)
    batch = loader.batch(range(7), 0, 0)
    assert batch.images.shape == (7, 32, 32, 3) and batch.targets.shape == (7, 1, 6)
    assert loader.sizes[samples[0].path] == (200, 80)
    assert batch.targets[0, 0].tolist() == pytest.approx([0.1, 0.125, 0.45, 0.75, 0, 0])
    assert batch.targets[6, 0, 4] == NOTHING
    x0, y0, x1, y1 = (32 * batch.targets[0, 0, :4]).round().astype(int)
    assert (batch.images[0, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] > 0.9).all()


def test_any_batch_can_be_made_alone(samples: tuple[Sample, ...]) -> None:
    augment = build_boxes("mosaic", CONTRACT)
    plan = [[3, 1], [0, 2, 6], [5, 4]]
    loader = BoxLoader(samples, 1, CONTRACT, augment, seed=3, workers=2, cache=PictureCache())
    whole = list(loader.batches(plan, epoch=2))
    fresh = BoxLoader(samples, 1, CONTRACT, augment, seed=3, workers=1)
    for skip in range(3):
        again = next(iter(fresh.batches(plan, epoch=2, skip=skip)))
        assert np.array_equal(again.images, whole[skip].images)
        assert np.array_equal(again.targets, whole[skip].targets)
    other = next(iter(loader.batches(plan, epoch=3)))
    assert not np.array_equal(other.images, whole[0].images)


def test_a_mosaic_has_the_boxes_of_four(samples: tuple[Sample, ...]) -> None:
    loader = BoxLoader(samples[:6], 1, CONTRACT, BoxAugmentation(CONTRACT, mosaic=1.0))
    assert (loader.batch([0, 1], 0, 0).targets[..., 4] == 0).sum() == 8


def test_targets_are_filled_up() -> None:
    found = padded([Boxes.of([[0, 0, 1, 1], [0, 0, 0.5, 0.5]], [2, 1], [False, True]), Boxes.of()])
    assert found[..., 4].tolist() == [[2, 1], [-1, -1]] and found[0, :, 5].tolist() == [0, 1]


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    loader = BoxLoader((Sample(tmp_path / "gone.png", 0, Boxes.of()),), 1, CONTRACT)
    with pytest.raises(InputError, match="it was readable before"):
        loader.batch([0], 0, 0)
