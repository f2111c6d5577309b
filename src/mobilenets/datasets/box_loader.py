"""Batches of pictures with boxes, decoded ahead of the network."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.loader import Batch, kept_or_made, planned
from mobilenets.pictures.augment.with_boxes import BoxAugmentation, Shown
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.decode import Decoded, decode_scaled
from mobilenets.pictures.preprocess import Preprocessing

ENOUGH = 2
"""A picture is kept at this many times the sides that the network takes, for crops of it."""

LABEL, IGNORED, COLUMNS = 4, 5, 6
NOTHING = -1
"""The label in rows that only fill up."""


@dataclass(frozen=True)
class BoxLoader:
    """Turns samples, whose targets are ``Boxes``, into batches.

    Targets are float32 N×M×6: the corners as shares of the side, label, and 1 where the box is ignored; a row without a
    box has the label −1. With ``augment`` each picture is changed by a generator seeded from ``seed``, the epoch and
    the picture's place in it, as in ``Loader``. ``sizes`` fills with width and height of the pictures as they are read.
    """

    samples: Sequence[Sample]
    outputs: int
    preprocessing: Preprocessing
    augment: BoxAugmentation | None = None
    seed: int = 0
    workers: int | None = None
    cache: PictureCache | None = field(default=None, compare=False, repr=False)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)

    def shown(self, index: int) -> Shown:
        """Decode a picture, and reduce it as far as crops of it allow; without augmentation it is brought to size."""
        sample, still = self.samples[index], self.augment is None

        def make() -> Decoded:
            picture = decode_scaled(sample.path, self.preprocessing.surplus if still else self._surplus)
            self.sizes[sample.path] = picture.whole
            if still:
                return Decoded(self.preprocessing.fit(picture.image))
            factor = int(min(picture.image.size) / (ENOUGH * self.preprocessing.size))
            return Decoded(picture.image.reduce(factor)) if factor > 1 else picture

        made = kept_or_made(self.cache, sample.path, ("boxes", still), make)
        return Shown(made.image, self.sizes[sample.path], sample.target)

    def _surplus(self, width: int, height: int) -> float:
        return min(width, height) / (ENOUGH * self.preprocessing.size)

    def view(self, index: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], Boxes]:
        """Give a picture at the network's size, S×S×3, and its boxes in pixels of that."""
        size, picture = self.preprocessing.size, self.shown(index)
        if self.augment is None:
            return np.asarray(picture.image), picture.boxes.scaled(size / picture.whole[0], size / picture.whole[1])
        others = self.augment.partners(len(self.samples), rng)
        image, boxes = self.augment([picture, *map(self.shown, others)], rng)
        return np.asarray(image), boxes

    def batch(self, indices: Sequence[int], epoch: int, start: int) -> Batch:
        """Make the batch of ``indices``, which begins at place ``start`` of ``epoch``."""
        size = self.preprocessing.size
        images = np.empty((len(indices), size, size, 3), np.float32)
        boxes = []
        for place, index in enumerate(indices):
            pixels, found = self.view(index, np.random.default_rng((self.seed, 1, epoch, start + place)))
            self.preprocessing.normalise(pixels, images[place])
            boxes.append(found.scaled(1 / size))
        return Batch(images, padded(boxes))

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``."""
        return planned(self.batch, plan, epoch, skip, self.workers)


def padded(boxes: Sequence[Boxes]) -> npt.NDArray[np.float32]:
    """Put boxes of several pictures, in shares of the side, into one array, N×M×6 with at least one row each."""
    targets = np.zeros((len(boxes), max(1, *map(len, boxes)) if boxes else 1, COLUMNS), np.float32)
    targets[..., LABEL] = NOTHING
    for rows, one in zip(targets, boxes, strict=True):
        rows[: len(one), :4] = one.corners
        rows[: len(one), LABEL] = one.labels
        rows[: len(one), IGNORED] = one.ignored
    return targets
