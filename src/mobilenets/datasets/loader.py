"""Batches of pictures, decoded by threads ahead of the network.

Threads serve, and not processes: Pillow decodes and resizes outside Python's lock, nothing is copied between
processes, and Ctrl-C stops them at once on every system.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.cores import cores
from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.augment.mixing import mix
from mobilenets.pictures.augment.transforms import Compose
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing


@dataclass(frozen=True)
class Batch:
    """Pictures float32 N×H×W×3, normalised; targets float32 N×classes that sum to one per row; labels int64 N."""

    images: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Batches(Protocol):
    """What gives batches of samples: a ``Loader``, or what a part of the network has made of its pictures."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples that plans count."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``."""


@dataclass(frozen=True)
class Loader:
    """Turns samples into batches.

    With ``augment`` each picture is changed by a generator seeded from ``seed``, the epoch and the picture's place
    in it, so that a batch depends on nothing that was drawn before it: any step can be repeated alone.
    """

    samples: Sequence[Sample]
    classes: int
    preprocessing: Preprocessing
    augment: Compose | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0
    workers: int | None = None

    def picture(self, sample: Sample, rng: np.random.Generator | None) -> Image.Image:
        """Decode one picture and bring it to size, augmented when ``rng`` is given."""
        changed = self.augment is not None and rng is not None
        try:
            # What is drawn may be a small part, which wants all its pixels.
            image = decode(sample.path, None if changed else self.preprocessing.surplus)
        except UnreadablePicture as error:
            raise InputError(
                f"{sample.path}: {error}; it was readable before: restore it, then continue with --resume"
            ) from error
        if self.augment is not None and rng is not None:
            return self.augment(image, rng)
        return self.preprocessing.fit(image)

    def batch(self, indices: Sequence[int], epoch: int, start: int) -> Batch:
        """Make the batch of ``indices``, which begins at place ``start`` of ``epoch``."""
        size = self.preprocessing.size
        pixels = np.empty((len(indices), size, size, 3), np.uint8)
        for place, index in enumerate(indices):
            rng = None
            if self.augment is not None:
                rng = np.random.default_rng((self.seed, 1, epoch, start + place))
            pixels[place] = np.asarray(self.picture(self.samples[index], rng))
        images = self.preprocessing.normalise(pixels)
        labels = np.array([self.samples[index].label for index in indices], np.int64)
        targets = np.zeros((len(indices), self.classes), np.float32)
        targets[np.arange(len(indices)), labels] = 1.0
        if self.mixup or self.cutmix:
            rng = np.random.default_rng((self.seed, 2, epoch, start))
            images, targets = mix(images, targets, rng, mixup=self.mixup, cutmix=self.cutmix)
        return Batch(images, targets, labels)

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``."""
        workers = self.workers or default_workers()
        starts = np.cumsum([0, *(len(indices) for indices in plan)])
        waiting = iter(range(skip, len(plan)))
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        try:
            for _ in range(len(plan) - skip + workers + 1):
                number = next(waiting, None)
                if number is not None:
                    pending.append(pool.submit(self.batch, plan[number], epoch, int(starts[number])))
                if pending and (number is None or len(pending) > workers):
                    yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Give the number of decoding threads: one per core that this process may use, up to 16."""
    return min(cores(), 16)


def in_order(count: int, batch: int) -> list[list[int]]:
    """Plan every picture once, in order: for evaluation."""
    return [list(range(start, min(start + batch, count))) for start in range(0, count, batch)]


def shuffled(labels: Sequence[int], batch: int, seed: int, epoch: int, *, balanced: bool = False) -> list[list[int]]:
    """Plan one epoch of training.

    Every picture once, in an order drawn from ``seed`` and ``epoch``; with ``balanced``, as many draws with each
    class equally likely. Batches differ in size by one at most, so that no rest of a picture or two spoils
    BatchNorm's statistics and none is left out.
    """
    rng = np.random.default_rng((seed, 0, epoch))
    if balanced:
        counts = np.bincount(labels)
        weights = 1.0 / counts[np.asarray(labels)]
        order = rng.choice(len(labels), size=len(labels), p=weights / weights.sum())
    else:
        order = rng.permutation(len(labels))
    return [part.tolist() for part in np.array_split(order, -(-len(labels) // batch))]
