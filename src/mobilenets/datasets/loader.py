"""Batches of pictures, decoded ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base import mounts
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.shards.plan import EpochPlan
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.augment import mixing
from mobilenets.pictures.augment.transforms import Compose, Fit
from mobilenets.pictures.cache import PictureCache
from mobilenets.pictures.decode import Decoded, decode_scaled
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.pictures.stream import checked, shared_workers, stream


@dataclass(frozen=True)
class Batch:
    """Pictures float32 N×H×W×3, normalised; targets as the task's loss takes them, an array of N.

    Where it is a process's slice of a batch, it begins at ``first`` of the ``whole`` batch's pictures.
    """

    images: npt.NDArray[np.float32]
    targets: Any
    whole: int | None = None
    first: int = 0

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.images)

    @property
    def pictures(self) -> int:
        """The pictures of the whole batch."""
        return len(self.images) if self.whole is None else self.whole


class Targets(Protocol):
    """What the network is to give for samples; a ``Task`` is one."""

    def targets(self, samples: Sequence[Sample], outputs: int) -> Any:
        """Return an array of what the loss compares with the ``outputs`` numbers that the network gives, N×…."""

    def mix(self, first: Any, second: Any, share: float) -> Any:
        """Return the targets of pictures that are ``share`` of the ``first`` and else of the ``second`` ones."""


class Teacher(Protocol):
    """What says something of each view that a network is trained on."""

    @property
    def mark(self) -> str:
        """A hash of all that it follows from: the same mark says the same of the same view."""

    @property
    def features(self) -> int:
        """How many features it gives of each view, behind its logits."""

    def __call__(self, images: npt.NDArray[np.float32], preprocessing: Preprocessing, /) -> npt.NDArray[np.float32]:
        """Give its logits and features, N×(outputs + features), for pictures N×S×S×3 that ``preprocessing`` made.

        It is called from any thread.
        """


# Which places of a batch of so many pictures this process makes.
Share: TypeAlias = Callable[[int], slice]


class Batches(Protocol):
    """What gives batches of samples: a ``Loader``, or what a part of the network has made of its pictures."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples that plans count."""

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for each."""

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``."""


@dataclass(frozen=True)
class Loader:
    """Turns samples into batches, for a network that gives ``outputs`` numbers.

    With ``augment`` each picture is changed by a generator seeded from ``seed``, the epoch and the picture's place
    in it, so that a batch depends on nothing that was drawn before it: any step can be repeated alone. ``cache`` may
    keep what was decoded, which changes no pixel. ``contents`` are the hashes of the pictures' files, where known.
    ``share`` says which places of each batch are made here: by default all. What ``teacher`` says of a picture is
    written over the last numbers of its target.
    """

    samples: Sequence[Sample]
    outputs: int
    preprocessing: Preprocessing
    task: Targets
    augment: Compose | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0
    workers: int | None = None
    cache: PictureCache | None = field(default=None, compare=False, repr=False)
    contents: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    share: Share | None = None
    teacher: Teacher | None = None

    def decoded(self, sample: Sample) -> Decoded:
        """Decode one picture and do what is the same in every epoch; every ``view`` of it is made from this."""
        changes = self._changes

        def make() -> Decoded:
            return changes.before_chance(decode_scaled(sample.path, changes.surplus))

        return kept_or_made(self.cache, sample.path, changes.first, make)

    def view(self, picture: Decoded, rng: np.random.Generator) -> Image.Image:
        """Bring a picture that ``decoded`` gave to size, augmented by what ``rng`` draws if there is augmentation."""
        return self._changes.drawn(picture, rng)

    def views(self, sample: Sample, rngs: Sequence[np.random.Generator]) -> list[Image.Image]:
        """Decode one picture once, and give its ``view`` for each of ``rngs``."""
        picture = self.decoded(sample)
        return [self.view(picture, rng) for rng in rngs]

    @cached_property
    def _homes(self) -> tuple[mounts.Tree, npt.NDArray[np.int64]] | None:
        return mounts.numbers_of([sample.path for sample in self.samples])

    @cached_property
    def _changes(self) -> Compose:
        return self.augment or Compose((Fit(self.preprocessing),))

    def batch(self, indices: Sequence[int], epoch: int, start: int) -> Batch:
        """Make the batch of ``indices``, which begins at place ``start`` of ``epoch``.

        Of a ``share`` no picture differs from the same one in the whole batch.
        """
        part = slice(0, len(indices)) if self.share is None else self.share(len(indices))
        size, places = self.preprocessing.size, list(range(len(indices)))[part]
        own, partners, drawn = len(places), [], None
        if self.mixup or self.cutmix:
            rng = np.random.default_rng((self.seed, 2, epoch, start))
            drawn = mixing.draw(len(indices), size, size, rng, self.mixup, self.cutmix)
        if drawn is not None:
            partners = drawn.partner[places].tolist()
            places += sorted(set(partners) - set(places))
        images = np.empty((len(places), size, size, 3), np.float32)
        for row, place in enumerate(places):
            rng = np.random.default_rng((self.seed, 1, epoch, start + place))
            pixels = np.asarray(self.view(self.decoded(self.samples[indices[place]]), rng))
            self.preprocessing.normalise(pixels, images[row])
        targets = self.task.targets([self.samples[indices[place]] for place in places], self.outputs)
        if drawn is not None:
            row_of = {place: row for row, place in enumerate(places)}
            rows = [row_of[place] for place in partners]
            images, targets = drawn.apply((images[:own], images[rows]), (targets[:own], targets[rows]), self.task.mix)
        if self.teacher is not None:  # on this thread: each core decodes and asks, and none waits for another
            said = self.teacher(images, self.preprocessing)
            targets[:, -said.shape[1] :] = said
        return Batch(images, targets, len(indices), part.start)

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``; of each what ``share`` names."""
        left = plan[skip:]
        if self._homes is not None and left:
            tree, numbers = self._homes
            tree.expect(mounts.once(tree.shards(numbers[np.concatenate(left)])))
        return planned(self.batch, plan, epoch, skip, self.workers)


def kept_or_made(cache: PictureCache | None, path: Path, how: Hashable, make: Callable[[], Decoded]) -> Decoded:
    """Give what ``cache`` keeps of a picture, else make it; raises ``InputError`` where it does not decode any more."""
    try:
        return make() if cache is None else cache.get(path, how, make)
    except UnreadablePicture as error:
        raise InputError(f"{path}: {error}; it was readable before: restore it, then continue with --resume") from error


def planned(
    make: Callable[[Sequence[int], int, int], Batch],
    plan: Sequence[Sequence[int]],
    epoch: int,
    skip: int,
    workers: int | None,
) -> Generator[Batch]:
    """Yield the batches of ``plan`` but the first ``skip``: what ``make`` makes of indices, epoch and place in it."""
    starts = np.cumsum([0, *(len(indices) for indices in plan)])

    def batch(number: int) -> Batch:
        return make(plan[number], epoch, int(starts[number]))

    with closing(stream(batch, range(skip, len(plan)), workers=workers or shared_workers())) as made:
        yield from checked(made)


def in_order(count: int, batch: int) -> list[list[int]]:
    """Plan every picture once, in order: for evaluation."""
    return [list(range(start, min(start + batch, count))) for start in range(0, count, batch)]


def evenly(count: int, most: int) -> list[int]:
    """Take up to ``most`` of ``count`` places, evenly over their order, which is by class."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return places


def shards_of(samples: Sequence[Sample]) -> npt.NDArray[np.int64] | None:
    """Give the shard of each sample, which then come in the order in which they lie there; None of files in folders."""
    found = mounts.numbers_of([sample.path for sample in samples])
    return None if found is None else found[0].shards(found[1])


def shuffled(
    folders: Sequence[int],
    batch: int,
    seed: int,
    epoch: int,
    *,
    balanced: bool = False,
    shards: npt.NDArray[np.int64] | None = None,
) -> Sequence[list[int]]:
    """Plan one epoch of training.

    ``folders`` has the number of each picture's class folder. Every picture comes once, in an order drawn from ``seed``
    and ``epoch``; with ``balanced`` there are as many draws, with each folder equally likely. Batches differ in size by
    one at most, so that no rest of a picture or two spoils BatchNorm's statistics and none is left out.

    ``shards`` has the shard of each sample, of samples that lie in such: the order is then one in which each is read
    forward, see ``EpochPlan``.
    """
    if shards is not None:
        return EpochPlan(np.bincount(shards), batch, seed, epoch)
    rng = np.random.default_rng((seed, 0, epoch))
    if balanced:
        counts = np.bincount(folders)
        weights = 1.0 / counts[np.asarray(folders)]
        order = rng.choice(len(folders), size=len(folders), p=weights / weights.sum())
    else:
        order = rng.permutation(len(folders))
    return [part.tolist() for part in np.array_split(order, -(-len(folders) // batch))]
