"""DATA as training takes it: which pictures teach, which measure, and which were left out and why."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mobilenets.base import mounts
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.datasets.arranged import Fixed, Fixing, Grouping, Listed, Reading, group_notes, sides
from mobilenets.datasets.folder import (
    Sample,
    below,
    content_hash,
    content_hashes,
    fingerprint,
    in_reading_order,
    read_folder,
    relative,
)
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.listing import Problem, names, say
from mobilenets.datasets.parts import half_of
from mobilenets.datasets.readable import Look, check_readable
from mobilenets.datasets.seen import SeenPictures, copies_between, seen_of
from mobilenets.datasets.split import read_split, split
from mobilenets.errors import InputError

LEFT_OUT_KINDS = ("unreadable", "too_large")


@dataclass(frozen=True)
class Dataset:
    """The pictures of one run. ``test`` is None where DATA has no test folder besides a validation folder.

    ``validation`` is empty where nothing is held out, because folds are: then all of ``train`` is measured.

    ``notes`` say what was assumed of DATA. ``contents`` are the hashes of the pictures' bytes where they were taken.
    Of the pictures of ``measured``, ``seen_by_source`` counts those that the model which the run begins with, or a
    teacher, learned from, None where neither says, and ``copies`` those that are training pictures too. ``groups``
    names the group of each picture that has one, of a run that begins.
    """

    layout: Layout
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...] | None
    problems: tuple[Problem, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    seen_by_source: int | None = None
    copies: int = 0
    contents: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    dropped: tuple[Path, ...] = field(default=(), compare=False, repr=False)
    groups: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def seen(self) -> SeenPictures:
        """What a model will have seen that is trained on these pictures."""
        unreadable = {content_hash(path).hex() for path in self.dropped if mounts.is_file(path)}
        for problem in self.problems:
            if problem.kind in LEFT_OUT_KINDS:
                with contextlib.suppress(InputError):  # a link that leads nowhere
                    unreadable.add(content_hash(self.layout.root / problem.path).hex())
        return seen_of(self.halves, self.classes, self.contents, unreadable)

    def annotated(self, annotate: Callable[[Sequence[Sample], Path], tuple[Sample, ...]]) -> Dataset:
        """Give every picture its target, by what ``annotate`` makes of pictures and the folder of DATA."""
        root = self.layout.root
        return replace(
            self,
            train=annotate(self.train, root),
            validation=annotate(self.validation, root),
            test=None if self.test is None else annotate(self.test, root),
        )

    @property
    def halves(self) -> dict[str, tuple[Sample, ...]]:
        """The pictures by half: ``train``, ``validation``, ``test``."""
        return {"train": self.train, "validation": self.validation, "test": self.test or ()}

    @property
    def measured(self) -> tuple[Sample, ...]:
        """The pictures that the final figures are for."""
        return (self.validation or self.train) if self.test is None else self.test


def prepare(
    data: Path,
    *,
    share: float,
    seed: int,
    max_unreadable: float,
    workers: int | None = None,
    seen: SeenPictures | None = None,
    pooled: bool = False,
    fix: Fixing | None = None,
    group: Grouping | None = None,
    look: Look | None = None,
    read: Reading | None = None,
) -> Dataset:
    """Read DATA, try every picture, and split it where it comes unsplit.

    ``seen`` is what the model saw that the run begins with: what it learned from stays in training, what it held out
    stays held out, and new pictures only are drawn. ``pooled``: nothing is held out but a test folder; the pictures of
    a validation folder are training pictures too. With a ``share`` of 0 nothing is drawn: what comes unsplit is all
    training pictures. ``fix`` drops, moves and relabels pictures before anything else is done with them, and the
    members of what ``group`` calls one stay on one side of the split. ``look`` gets every picture while it is tried,
    see ``check_readable``. ``read`` reads DATA where its labels are not the folders.

    Raises ``InputError`` for data that cannot be trained on: see ``find_data`` and ``read_folder``; also when more
    than ``max_unreadable`` of the pictures do not decode, or a class has no readable picture to learn from.
    """
    listed = listed_of(_layout(data, pooled)) if read is None else read(data, pooled)
    layout, classes, parts = listed.layout, listed.classes, listed.parts
    problems, notes = listed.problems, listed.notes
    fixed = None if fix is None else fixed_by(fix, parts, classes, layout, problems)
    parts, notes = (parts, notes) if fixed is None else (fixed.parts, [*notes, *fixed.notes])
    _said(notes, data)
    problems += _keep_readable(parts, problems, max_unreadable, workers, look)
    if listed.refine is not None:
        listed.refine(parts, problems, notes)
    # What is written down is the data as it will be used: the mark of it must not depend on the left out.
    used = [sample for samples in parts.values() for sample in samples]
    contents = content_hashes([sample.path for sample in used], workers)
    mark = fingerprint(used, layout.root, contents=contents)
    groups = {} if group is None else group(used, layout.root)
    whole = layout.validation is None and not share
    if pooled:
        parts |= {"train": _in_order([*parts["train"], *parts.get("validation", ())]), "validation": ()}
    elif whole:
        parts["validation"] = ()
    elif layout.validation is None:
        taught, held, new = _by_seen(seen, parts["train"], contents, data)
        kept = sides(parts["train"], contents, taught, held, fixed, groups)
        halves = split(parts["train"], classes, share, seed, layout.root, *kept[:2], groups, contents)
        parts |= {"train": halves.train, "validation": halves.validation}
        problems += halves.problems
        say(halves.problems)
        notes += [*kept[2], *_kept_notes(len(taught), len(held), len(new), len(halves.validation))]
    if group is not None:
        notes += _said(group_notes(parts, groups, drawn=pooled or layout.validation is None), data)
    needed = {half: found for half, found in parts.items() if half != "validation" or not (pooled or whole)}
    _refuse_empty(needed, classes if listed.refine is None else ())
    if tiny := [problem.path for problem in problems if problem.kind == "tiny_class"]:
        notes.append(f"no picture could be held out of {names(tiny)}: no figure here says how well they are told")
    held_out = parts.get("test", parts["validation"])
    shared = copies_between(parts, contents)
    copies = len(shared.get(("train", "test" if "test" in parts else "validation"), ()))
    for note in _copy_notes(parts, shared, layout.root):
        notes.append(note)
        log.warning("%s: %s", data, note, extra={"detail": True})
    left_out = tuple(_inside(problem, layout.root) for problem in problems)
    known = None if seen is None else len(seen.sides(held_out or parts["train"], contents)[0])
    found = (parts["train"], parts["validation"], parts.get("test"))
    dropped = () if fixed is None else fixed.dropped
    return Dataset(layout, classes, *found, left_out, mark, tuple(notes), known, copies, contents, dropped, groups)


def _by_seen(
    seen: SeenPictures | None, samples: Sequence[Sample], contents: Mapping[Path, str], data: Path
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]:
    taught, held, new = ((), (), ()) if seen is None else seen.sides(samples, contents)
    if taught and not (held or new):
        raise InputError(
            f"{data}: the model it starts from (or its teacher) learned from all of these pictures: add a validation/"
        )
    return taught, held, new


def _kept_notes(taught: int, held: int, new: int, held_out: int) -> list[str]:
    """Say what was kept of the split of the model that a run begins with; its sides, and new pictures, are counted."""
    if not new or not (taught or held):
        return []
    note = (
        f"the split of the model it starts from (or of its teacher) was kept: {taught} pictures it was trained on stay "
        f"in training, {held} that it held out stay held out; {held_out - held} of {new} new ones are held out"
    )
    log.info("%s", note)
    return [note]


def fixed_by(
    fix: Fixing,
    parts: Mapping[str, tuple[Sample, ...]],
    classes: Sequence[str],
    layout: Layout,
    problems: Sequence[Problem],
) -> Fixed:
    """Make fixes to the pictures of DATA as they were listed."""
    return fix(parts, classes, layout.root, [_inside(problem, layout.root).path for problem in problems])


def _said(notes: list[str], data: Path) -> list[str]:
    for note in notes:
        log.info("%s: %s", data, note, extra={"noted": True})
    return notes


def _copy_notes(
    parts: Mapping[str, Sequence[Sample]], shared: Mapping[tuple[str, str], Sequence[Sample]], root: Path
) -> list[str]:
    """Say which pictures of a half are byte-identical copies of those of an earlier one, and what that does."""
    last = [*parts][-1]
    notes = []
    for (earlier, later), copies in shared.items():
        of = "training" if earlier == "train" else earlier
        effect = "the figures are too high" if later == last else "the epoch is chosen on pictures that were learned"
        if earlier == "validation":
            effect = "the epoch is chosen on pictures of the final figure"
        what = "pictures measured on" if later == last else f"{later} pictures"
        notes.append(
            f"{len(copies)} of the {len(parts[later])} {what} are copies of {of} pictures, such as "
            f"{relative(copies[0].path, root)}: {effect}; keep each picture in only one of {earlier}/ and {later}/"
        )
    return notes


def listed_of(layout: Layout) -> Listed:
    """Read the folders of DATA: its classes, the pictures of each half, problems, and notes on what was assumed.

    Raises ``InputError`` as ``read_folder`` does.
    """
    folder = read_folder(layout.train)
    parts, problems, notes = {"train": folder.samples}, [*folder.problems], [*layout.notes, *folder.notes]
    for half, place in (("validation", layout.validation), ("test", layout.test)):
        if place is not None:
            other = read_folder(place, folder.classes)
            parts[half] = other.samples
            problems += other.problems
            notes += other.notes
    return Listed(layout, folder.classes, parts, problems, notes)


def _keep_readable(
    parts: dict[str, tuple[Sample, ...]],
    problems: Sequence[Problem],
    limit: float,
    workers: int | None,
    look: Look | None,
) -> list[Problem]:
    """Leave in ``parts`` what decodes; returns the problems of the others, and refuses when they are too many."""
    readable = sum(map(len, parts.values()))
    total = readable + sum(problem.kind in LEFT_OUT_KINDS for problem in problems)
    found: list[Problem] = []
    with progress("checking pictures", readable, "pictures") as shown:
        for half, samples in parts.items():
            parts[half], unreadable = check_readable(samples, workers, shown.advance, look)
            found += unreadable
    _accept([*problems, *found], total, limit)
    return found


def prepare_again(
    data: Path,
    split_file: Path,
    classes: tuple[str, ...],
    mark: str,
    problems: Sequence[Problem],
    workers: int | None = None,
    pooled: bool = False,
    fix: Fixing | None = None,
) -> Dataset:
    """Take the pictures of a run that was begun, as its ``split.csv`` has them, in the order that ``prepare`` gave.

    ``problems`` are those that were found then; ``pooled`` and ``fix`` as then. Raises ``InputError`` when the pictures
    are no longer those that the run began with.
    """
    layout = _layout(data, pooled)
    halves = read_split(split_file, layout.root, classes)
    test = None
    if layout.test is not None:
        left_out = {problem.path for problem in problems if problem.kind in LEFT_OUT_KINDS}
        if fix is None:
            found: Sequence[Sample] = read_folder(layout.test, classes).samples
        else:
            listed = listed_of(layout)
            found = fixed_by(fix, listed.parts, classes, layout, listed.problems).parts["test"]
        test = tuple(sample for sample in found if relative(sample.path, layout.root) not in left_out)
    # split.csv is sorted by path as text, which puts "cat b/" before "cat/"; the batches follow the order here.
    train, validation = (_in_order(half) for half in (halves.train, halves.validation))
    used = [*train, *validation, *(test or ())]
    if fingerprint(used, layout.root, workers) != mark:
        raise InputError(
            f"{data}: the pictures have changed since this run began; train again with another --out, without --resume"
        )
    return Dataset(layout, classes, train, validation, test, tuple(problems), mark)


def _layout(data: Path, pooled: bool) -> Layout:
    """Find DATA's halves; where they are ``pooled``, a test folder that stands in for a validation folder is a test."""
    layout = find_data(data)
    if not pooled:
        return layout
    notes = tuple(note for note in layout.notes if "for validation" not in note)
    given = layout.validation
    named = "" if given is None else given.relative_to(layout.root).parts[0]
    if layout.test is not None or half_of(named)[0] != "test":
        return replace(layout, notes=notes)
    return replace(layout, validation=None, test=given, notes=(*notes, f"{named}/ is the test set"))


def _in_order(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    return in_reading_order(sorted(samples, key=lambda sample: (sample.label, sample.path)))


def counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Count the pictures of each class."""
    found = Counter(sample.label for sample in samples)
    return {name: found[label] for label, name in enumerate(classes)}


def _accept(problems: Sequence[Problem], total: int, limit: float) -> None:
    """Name what is left out; refuse when that is too much."""
    bad = [problem for problem in problems if problem.kind in LEFT_OUT_KINDS]
    say(problems)
    if not bad:
        return
    log.warning("%d of %d pictures cannot be read and are left out; the files are not changed", len(bad), total)
    if len(bad) > limit * total:
        raise InputError(
            f"{len(bad)} of {total} pictures cannot be read, more than --max-unreadable {limit:g} allows: "
            f"repair or remove them; the first is {bad[0].path} ({bad[0].detail})"
        )


def _inside(problem: Problem, root: Path) -> Problem:
    """Name a problem's file below DATA, so that it is known again wherever DATA is called from."""
    return replace(problem, path=below(problem.path, root))


def _refuse_empty(parts: dict[str, tuple[Sample, ...]], classes: Sequence[str]) -> None:
    for name, samples in parts.items():
        if not samples:
            needs = "each class needs at least two" if classes else "at least two are needed"
            raise InputError(f"no readable picture is left for {name}; {needs}, one of them for validation")
    missing = [name for name, number in counts(parts["train"], classes).items() if not number]
    if missing:
        raise InputError(f"class {missing[0]} has no readable training picture; add some or remove the class")
