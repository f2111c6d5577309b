"""Which labels are probably wrong: looked for when a classifier has been trained, and written into ``fixes.csv``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import write_bytes
from mobilenets.base.notes import log
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.folds import folds_of
from mobilenets.datasets.prepare import Dataset
from mobilenets.doctor.fixes import Fix, fixes_as_csv
from mobilenets.errors import InputError
from mobilenets.measure.wrong_labels import Floats, sharpened, wrong_labels
from mobilenets.runs.asked import enough_labels, too_many_labels
from mobilenets.runs.begin import Run
from mobilenets.runs.folds import CrossValidation
from mobilenets.training.probe import out_of_fold

FIXES = "fixes.csv"
FOLDS = 5
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


def can_look(dataset: Dataset, width: int) -> bool:
    """Say whether wrong labels can be looked for by ``width`` features a picture; that there are too many is logged."""
    if not enough_labels(dataset):
        return False
    if not too_many_labels(dataset, width):
        return True
    log.info(
        "wrong labels were not looked for: %d pictures in %d classes would take minutes; with --folds %d they are "
        "found on the way",
        *(len(looked_at(dataset)), len(dataset.classes), FOLDS),
    )
    return False


def find_suspects(
    run: Run, found: npt.NDArray[np.float32] | None, crossed: CrossValidation | None = None
) -> Suspects | None:
    """Look for wrong labels by out-of-fold answers: those of ``crossed``, or of linear classifiers of features.

    ``found`` has the features of the pictures that are looked at, N×D; without both there is nothing to be said.
    """
    samples = looked_at(run.dataset)
    labels = np.array([sample.label for sample in samples], np.int64)
    if crossed is not None:
        return _suspects(run, samples, labels, sharpened(labels, crossed.evaluation.log_probabilities))
    if found is None:
        return None
    dataset, classes = run.dataset, run.dataset.classes
    places = (dataset.layout.root, None, dataset.contents)
    try:
        folds = np.array(folds_of(samples, classes, FOLDS, run.recipe.seed_of_split, *places))
    except InputError:  # a class that has nothing but copies of one picture
        return None
    return _suspects(run, samples, labels, out_of_fold(found, labels, len(classes), folds))


def _suspects(run: Run, samples: Sequence[Sample], labels: Any, probabilities: Floats) -> Suspects:
    classes, root = run.dataset.classes, run.dataset.layout.root
    found = tuple(
        Suspect(relative(samples[one.index].path, root), classes[one.given], classes[one.suggested], one.score)
        for one in wrong_labels(labels, probabilities)
    )
    suspects = Suspects(len(samples), float((probabilities.argmax(axis=1) == labels).mean()), found)
    if found:
        fixes = (Fix("relabel", one.path, "wrong_label", "", one.score, one.suggested) for one in found)
        _write(run.folder / FIXES, fixes_as_csv(fixes))
        first, count = found[0], "1 label looks" if len(found) == 1 else f"{len(found)} labels look"
        log.info(
            "%s wrong, such as %s (labelled %s, rather %s); all are in %s and in the report",
            *(count, first.path, first.given, first.suggested, run.folder / FIXES),
        )
    else:
        _write(run.folder / FIXES, None)
    return suspects


def _write(file: Path, content: bytes | None) -> None:
    """Write fixes, or none; others that stand there, of an earlier end of the run, may be edited, and are kept."""
    there = file.read_bytes() if file.is_file() else None
    if there == content:
        return
    if there is not None:
        before = file.with_stem(f"{file.stem}-before")
        file.replace(before)
        log.warning("%s: not what was found now, so what stood there, edited perhaps, is in %s", file, before)
    if content is not None:
        write_bytes(file, content)
