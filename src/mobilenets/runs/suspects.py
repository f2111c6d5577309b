"""Which labels are probably wrong: looked for when a classifier has been trained, and written into ``fixes.csv``."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.folds import folds_of
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import Dataset
from mobilenets.doctor.fixes import Fix, write_fixes
from mobilenets.errors import InputError
from mobilenets.measure.wrong_labels import Floats, sharpened, wrong_labels
from mobilenets.models.network import Network
from mobilenets.runs.begin import Run
from mobilenets.runs.folds import CrossValidation
from mobilenets.training.features import TrunkOpener, plain_features
from mobilenets.training.probe import WIDEST, out_of_fold

log = logging.getLogger("mobilenets")

FIXES = "fixes.csv"
FOLDS = 5
# With fewer pictures, in all or of a class, a classifier of features says little about a single label.
FEWEST, FEWEST_OF_CLASS = 50, 5
# The most features, and products of their widest directions and classes, that linear classifiers are fitted to at the
# end of a run: some minutes on one core.
MOST_FEATURES, MOST_WORK = 1e8, 1e9
LISTED = 100


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is probably wrong; ``path`` is relative to DATA, ``score`` as in ``WrongLabel``."""

    path: str
    given: str
    suggested: str
    score: float


@dataclass(frozen=True)
class Suspects:
    """What was found among ``pictures``, the surest first; ``top1`` is how often the out-of-fold answers were right."""

    pictures: int
    top1: float
    found: tuple[Suspect, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says of it, with no more than 100 of them."""
        listed = [dataclasses.asdict(one) for one in self.found[:LISTED]]
        return {"pictures": self.pictures, "top1": self.top1, "found": len(self.found), "suspects": listed}


def looked_at(dataset: Dataset) -> tuple[Sample, ...]:
    """Give the pictures whose labels are looked at: all but those of a test folder."""
    return (*dataset.train, *dataset.validation)


def find_suspects(
    run: Run,
    network: Network,
    loader: Loader,
    device: torch.device,
    opener: TrunkOpener | None,
    crossed: CrossValidation | None = None,
) -> Suspects | None:
    """Look for wrong labels by out-of-fold answers: those of ``crossed``, or of linear classifiers of features.

    The features are those of the trained ``network``, and ``loader`` gives the pictures. None where there are too few
    pictures or too many: the latter is said.
    """
    samples = looked_at(run.dataset)
    labels = np.array([sample.label for sample in samples], np.int64)
    if crossed is not None:
        return _suspects(run, samples, labels, sharpened(labels, crossed.evaluation.log_probabilities))
    classes, width = run.dataset.classes, network.plan.kept(len(network.body)).shape[0]
    counts = Counter(labels.tolist())
    if len(samples) < FEWEST or min(counts[label] for label in range(len(classes))) < FEWEST_OF_CLASS:
        return None
    if len(samples) * width > MOST_FEATURES or len(samples) * min(width, WIDEST) * len(classes) > MOST_WORK:
        log.info(
            "wrong labels were not looked for: %d pictures in %d classes would take minutes; with --folds %d they are "
            "found on the way",
            *(len(samples), len(classes), FOLDS),
        )
        return None
    try:
        folds = np.array(folds_of(samples, classes, FOLDS, run.recipe.seed_of_split, run.dataset.layout.root))
    except InputError:  # a class that has nothing but copies of one picture
        return None
    plain = dataclasses.replace(loader, samples=samples, augment=None, mixup=0.0, cutmix=0.0)
    features = plain_features(network, plain, device, opener)
    return _suspects(run, samples, labels, out_of_fold(features, labels, len(classes), folds))


def _suspects(run: Run, samples: Sequence[Sample], labels: Any, probabilities: Floats) -> Suspects:
    classes, root = run.dataset.classes, run.dataset.layout.root
    found = tuple(
        Suspect(relative(samples[one.index].path, root), classes[one.given], classes[one.suggested], one.score)
        for one in wrong_labels(labels, probabilities)
    )
    suspects = Suspects(len(samples), float((probabilities.argmax(axis=1) == labels).mean()), found)
    if found:
        fixes = (Fix("relabel", one.path, "wrong_label", "", one.score, one.suggested) for one in found)
        write_fixes(run.folder / FIXES, fixes)
        log.info(
            "%d labels look wrong, such as %s (labelled %s, rather %s); all are in %s and in the report",
            *(len(found), found[0].path, found[0].given, found[0].suggested, run.folder / FIXES),
        )
    else:
        (run.folder / FIXES).unlink(missing_ok=True)
    return suspects
