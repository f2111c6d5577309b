"""The pictures that candidates are judged on: some to choose by, others for the figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mobilenets.base.notes import log
from mobilenets.datasets.folder import Sample, content_hashes
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.readable import check_readable
from mobilenets.errors import InputError
from mobilenets.runs.held_out import finder, pictures_to_measure
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import find_bundle
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors

FEW = 100


@dataclass(frozen=True)
class Judged:
    """Pictures to choose by, and those that nothing is chosen on.

    ``note`` says what they are, ``test`` that the latter are a test half.
    """

    root: Path
    choosing: tuple[Sample, ...]
    reporting: tuple[Sample, ...]
    note: str
    test: bool

    @cached_property
    def contents(self) -> dict[Path, str]:
        """The hash of each picture."""
        return content_hashes([sample.path for sample in (*self.choosing, *self.reporting)])

    def learned(self, model: Path) -> int:
        """Count the pictures that a model learned from, by their content; 0 where it does not say."""
        seen = read_seen(find_bundle(model), self.root)
        return 0 if seen is None else len(seen.sides([*self.choosing, *self.reporting], self.contents)[0])

    def answers(self, model: Path, threads: int) -> dict[str, Any]:
        """Ask a model about all: ``choosing`` and ``reporting`` of a ``Point``."""
        samples = [*self.choosing, *self.reporting]
        [found] = evaluate_predictors([Predictor(model, "cpu", threads=threads)], samples, self.root)
        right = "".join("01"[int(rank == 0)] for rank in classified(found).ranks)
        return {"choosing": right[: len(self.choosing)], "reporting": right[len(self.choosing) :]}


def judged(run: Path, data: Path, classes: tuple[str, ...]) -> Judged:
    """Give the pictures to judge on; raises ``InputError`` where there are none, or only one.

    A test half is for the figures, and the validation half to choose by. Where there is no test half the held-out
    pictures are split in two, class by class: those at even places are chosen by.
    """
    held = pictures_to_measure(run, data, classes, ("validation", "test"))
    samples, problems = check_readable(held.folder.samples)
    layout = find_data(data, finder(run, classes))
    test: tuple[Sample, ...] = ()
    if layout.test is not None and held.which == "validation":
        test, more = check_readable(pictures_to_measure(run, data, classes, ("test",)).folder.samples)
        problems = (*problems, *more)
    if len(samples) < 2:
        raise InputError(f"{data}: no pictures are held out to choose on: add more pictures")
    if test:
        choosing, reporting, which = tuple(samples), test, "the test pictures"
    else:
        choosing, reporting = tuple(samples[::2]), tuple(samples[1::2])
        which = "the other half of them, because there is no test half"
    note = (
        f"chosen by {len(choosing)} held-out pictures; the figures are those of {len(reporting)} others that nothing "
        f"was chosen on: {which}"
    )
    log.info("%s", note)
    if min(len(choosing), len(reporting)) < FEW:
        log.warning("so few pictures tell only large differences: hold more pictures out")
    return Judged(held.folder.root, choosing, tuple(reporting), note, bool(test))
