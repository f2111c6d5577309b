"""DATA as training takes it: which pictures teach, which measure, and which were left out and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobilenets.data.folder import Layout, Problem, Sample, find_data, fingerprint, read_folder, relative
from mobilenets.data.loader import default_workers
from mobilenets.data.readable import check_readable
from mobilenets.data.split import read_split, split
from mobilenets.errors import InputError
from mobilenets.runtime.progress import progress

log = logging.getLogger("mobilenets")

LEFT_OUT_KINDS = ("unreadable", "too_large")


@dataclass(frozen=True)
class Prepared:
    """The pictures of one run. ``test`` is None where DATA has no test folder besides a validation folder."""

    layout: Layout
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...] | None
    problems: tuple[Problem, ...]
    fingerprint: str

    @property
    def measured(self) -> tuple[Sample, ...]:
        """The pictures that the final figures are for."""
        return self.validation if self.test is None else self.test


def prepare(data: Path, *, share: float, seed: int, max_unreadable: float, workers: int | None = None) -> Prepared:
    """Read DATA, try every picture, and split it where it comes unsplit.

    Raises ``InputError`` for data that cannot be trained on: see ``find_data`` and ``read_folder``; also when more
    than ``max_unreadable`` of the pictures do not decode, or a class has no readable picture to learn from.
    """
    workers = workers or default_workers()
    layout = find_data(data)
    folder = read_folder(layout.train)
    problems = [*folder.problems]
    parts: dict[str, tuple[Sample, ...]] = {"train": folder.samples}
    for name, place in (("validation", layout.validation), ("test", layout.test)):
        if place is not None:
            other = read_folder(place, folder.classes)
            parts[name] = other.samples
            problems += other.problems
    readable = sum(map(len, parts.values()))
    total = readable + sum(problem.kind in LEFT_OUT_KINDS for problem in problems)
    with progress("checking pictures", readable, "pictures") as shown:
        for name, samples in parts.items():
            before = shown.done
            parts[name], unreadable = check_readable(
                samples,
                workers,
                lambda done, _, before=before: shown.advance(before + done - shown.done),  # type: ignore[misc]
            )
            problems += unreadable
    _accept(problems, total, max_unreadable)
    # What is written down is the data as it will be used: the mark of it must not depend on the left out.
    mark = fingerprint([sample for samples in parts.values() for sample in samples], layout.root, workers)
    if layout.validation is None:
        halves = split(parts["train"], folder.classes, share, seed, layout.root)
        parts |= {"train": halves.train, "validation": halves.validation}
        problems += halves.problems
        _name(halves.problems)
    _refuse_empty(parts, folder.classes)
    return Prepared(
        layout,
        folder.classes,
        parts["train"],
        parts["validation"],
        parts.get("test"),
        tuple(_inside(problem, layout.root) for problem in problems),
        mark,
    )


def prepare_again(
    data: Path,
    split_file: Path,
    classes: tuple[str, ...],
    mark: str,
    problems: Sequence[Problem],
    workers: int | None = None,
) -> Prepared:
    """Take the pictures of a run that was begun, as its ``split.csv`` has them, in the order that ``prepare`` gave.

    Raises ``InputError`` when the pictures are no longer those that the run began with.
    """
    layout = find_data(data)
    halves = read_split(split_file, layout.root, classes)
    test = None
    if layout.test is not None:
        left_out = {problem.path for problem in problems if problem.kind in LEFT_OUT_KINDS}
        found = read_folder(layout.test, classes).samples
        test = tuple(sample for sample in found if relative(sample.path, layout.root) not in left_out)
    # split.csv is sorted by path as text, which puts "cat b/" before "cat/"; the batches follow the order here.
    train, validation = (
        tuple(sorted(half, key=lambda sample: (sample.label, sample.path)))
        for half in (halves.train, halves.validation)
    )
    used = [*train, *validation, *(test or ())]
    if fingerprint(used, layout.root, workers or default_workers()) != mark:
        raise InputError(
            f"{data}: the pictures have changed since this run began; train into another folder, without --resume"
        )
    return Prepared(layout, classes, train, validation, test, tuple(problems), mark)


def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Count the pictures of each class."""
    found = Counter(sample.label for sample in samples)
    return {name: found[label] for label, name in enumerate(classes)}


def _accept(problems: Sequence[Problem], total: int, limit: float) -> None:
    """Name what is left out; refuse when that is too much."""
    bad = [problem for problem in problems if problem.kind in LEFT_OUT_KINDS]
    _name(problems)
    if not bad:
        return
    log.warning("%d of %d pictures cannot be read and are left out; the files are untouched", len(bad), total)
    if len(bad) > limit * total:
        raise InputError(
            f"{len(bad)} of {total} pictures cannot be read, more than --max-unreadable {limit:g} allows: "
            f"repair or remove them; the first is {bad[0].path} ({bad[0].detail})"
        )


def _name(problems: Sequence[Problem]) -> None:
    for problem in problems:
        about = (problem.path, problem.detail, problem.kind.replace("_", " "))
        log.warning("%s: %s (%s)", *about, extra={"detail": True})


def _inside(problem: Problem, root: Path) -> Problem:
    """Name a problem's file below DATA, so that it is known again wherever DATA is called from."""
    path = Path(problem.path)
    return replace(problem, path=relative(path, root)) if path.is_relative_to(root) else problem


def _refuse_empty(parts: dict[str, tuple[Sample, ...]], classes: Sequence[str]) -> None:
    for name, samples in parts.items():
        if not samples:
            raise InputError(f"no readable picture is left for {name}; each class needs at least two, one to hold out")
    missing = [name for name, number in counts(parts["train"], classes).items() if not number]
    if missing:
        raise InputError(f"class {missing[0]} has no readable picture to learn from; add some or remove it")
