"""What a finished model gives for the pictures of its run, in one pass: all that follows is made of this."""

from __future__ import annotations

import dataclasses
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.progress import progress
from mobilenets.datasets.loader import Loader, evenly
from mobilenets.datasets.prepare import Dataset
from mobilenets.measure.known import Answered, why_not
from mobilenets.models.distance import Floats
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.runtime.bundle import CLASSIFICATION
from mobilenets.training.estimate import Ending
from mobilenets.training.features import TrunkOpener, pooled
from mobilenets.training.probe import WIDEST
from mobilenets.training.recipe import Recipe

Places = npt.NDArray[np.int64]

# The distance of "none of these" is fitted on up to so many pictures of a half, or so many a class.
MOST_PICTURES, MOST_A_CLASS = 2000, 5
# With fewer pictures, in all or of a class, a classifier of features says little about a single label.
FEWEST, FEWEST_OF_CLASS = 50, 5
# The most features, and products of their widest directions and classes, that linear classifiers are fitted to at the
# end of a run: some minutes on one core.
MOST_FEATURES, MOST_WORK = 1e8, 1e9


@dataclass(frozen=True, eq=False)
class Asked:
    """What a network gave for pictures of a half.

    ``logits`` are float32 N×classes, of the pictures at ``places`` of the half. ``values``, M×values, are what lay
    behind the last block of those at the places ``kept``.
    """

    places: Places
    kept: Places
    logits: Floats
    values: Floats

    def answered(self, network: Network, device: torch.device, places: Places) -> Answered:
        """Give features and logits by the last layers of ``network`` for the pictures at some of the places kept."""
        some = self.values[np.searchsorted(self.kept, places)]
        return Answered(*NetworkEngine(network, device, len(network.body)).features(some[:, None, None]))


def enough_labels(dataset: Dataset) -> bool:
    """Say whether there are pictures enough of each class to look for wrong labels."""
    counts = Counter(sample.label for sample in (*dataset.train, *dataset.validation))
    return counts.total() >= FEWEST and min(counts[label] for label in range(len(dataset.classes))) >= FEWEST_OF_CLASS


def too_many_labels(dataset: Dataset, width: int) -> bool:
    """Say whether to look for wrong labels by ``width`` features a picture would take minutes."""
    count = len(dataset.train) + len(dataset.validation)
    return count * width > MOST_FEATURES or count * min(width, WIDEST) * len(dataset.classes) > MOST_WORK


def known_places(dataset: Dataset) -> dict[str, Places]:
    """Say which pictures of each half the distance is fitted and measured on: none where it cannot be."""
    most = max(MOST_PICTURES, MOST_A_CLASS * len(dataset.classes))
    if why_not(len(dataset.train), len(dataset.validation), len(dataset.classes)) is not None:
        most = 0
    return {half: np.array(evenly(len(samples), most), np.int64) for half, samples in dataset.halves.items()}


def to_ask(dataset: Dataset, labels: bool) -> dict[str, tuple[Places, Places]]:
    """Say which pictures of each half are asked about, and of which the values are kept, by their places.

    ``labels``: wrong labels are looked for, in training and validation. Of training there is else no need of more than
    the distance takes.
    """
    found = {}
    for half, some in known_places(dataset).items():
        every = np.arange(len(dataset.halves[half]))
        kept = every if labels and half != "test" else some
        found[half] = (kept if half == "train" else every, kept)
    return found


def ending(dataset: Dataset, network: Network, recipe: Recipe, plot: float) -> Ending:
    """Say what follows the last epoch of a run, where a small plot takes ``plot`` seconds."""
    classes, count = len(dataset.classes), len(dataset.train) + len(dataset.validation)
    if recipe.task != CLASSIFICATION:
        return Ending(len(dataset.measured), classes, plot)
    width = network.plan.pooled.shape[0]
    labels = recipe.folds is None and enough_labels(dataset) and not too_many_labels(dataset, width)
    asked = sum(len(places) for places, _ in to_ask(dataset, labels).values())
    return Ending(asked, classes, plot, labels * count)


def ask(
    network: Network, dataset: Dataset, loader: Loader, labels: bool, device: torch.device, opener: TrunkOpener | None
) -> dict[str, Asked]:
    """Ask ``network`` about the pictures that ``to_ask`` names, each decoded as ``loader`` does it, unaugmented.

    Raises ``InputError`` for a picture that no longer decodes.
    """
    wanted, halves = to_ask(dataset, labels), dataset.halves
    samples = [halves[half][place] for half, (places, _) in wanted.items() for place in places]
    keep = np.concatenate([np.isin(*pair) for pair in wanted.values()])
    logits = np.empty((len(samples), network.classes), np.float32)
    values = np.empty((keep.sum(), network.plan.pooled.shape[0]), np.float32)
    engine = NetworkEngine(network, device, len(network.body))
    plain = dataclasses.replace(loader, samples=samples, augment=None, mixup=0.0, cutmix=0.0)
    with closing(pooled(network, plain, device, opener)) as made, progress("asking", len(samples), "pictures") as shown:
        at = row = 0
        for found in made:
            logits[at : at + len(found)] = engine(found)
            some = found[keep[at : at + len(found)], 0, 0]
            values[row : row + len(some)] = some
            at, row = at + len(found), row + len(some)
            shown.advance(len(found))
    ends = np.cumsum([[len(places) for places in pair] for pair in wanted.values()], axis=0)[:-1].T
    parts = zip(*(np.split(array, end) for array, end in zip((logits, values), ends, strict=True)), strict=True)
    return {half: Asked(*wanted[half], *part) for half, part in zip(wanted, parts, strict=True)}
