"""What is in DATA, taken as it is: halves, classes and pictures, and class folders that do not match.

``read_folder`` refuses what a network cannot be trained on; here all of it is listed and told.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base.files import nfc
from mobilenets.datasets.folder import Sample, below, class_folders, relative
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.listing import Problem, instead, names
from mobilenets.doctor.problems import Finding
from mobilenets.errors import InputError

TINY = 10  # pictures to learn from
MANY = 50  # other files of one suffix: so many are meant to be there
UNEVEN = 10  # times as many in the largest class as in this


@dataclass(frozen=True)
class Listing:
    """The pictures of DATA by half, in order of class and path; ``findings`` are what is wrong with the folders.

    ``classes`` are those of all halves. ``halves`` has the half of every picture by its path below ``root``.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Sample, ...]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All pictures: of training, validation and test."""
        return tuple(sample for half in self.parts.values() for sample in half)

    @property
    def halves(self) -> dict[str, str]:
        """Say which half each picture is in, by its path below ``root``."""
        return {relative(one.path, self.root): half for half, samples in self.parts.items() for one in samples}

    def counts(self) -> dict[str, int]:
        """Count the pictures of each class, in all halves."""
        found = Counter(sample.label for sample in self.samples)
        return {name: found[label] for label, name in enumerate(self.classes)}


def list_data(data: Path) -> Listing:
    """List DATA as ``find_data`` lays it out, with what is wrong with its folders and classes.

    Raises InputError where it is no data set at all: see ``find_data``; also where it has no pictures.
    """
    layout = find_data(data)
    problems: list[Problem] = []
    notes = [*layout.notes]
    halves = (("train", layout.train), ("validation", layout.validation), ("test", layout.test))
    places = {half: place for half, place in halves if place is not None}
    found = {half: dict(class_folders(place, problems, notes)) for half, place in places.items()}
    findings = _twins_across(found)
    own = _own_names(found)
    held = {own[nfc(name)] for some in found.values() for name, inside in some.items() if inside}
    if not held:
        raise InputError(f"{layout.root} has no pictures in class folders{instead(problems)}")
    classes = tuple(sorted(held))
    labels = {name: label for label, name in enumerate(classes)}
    parts = {
        half: tuple(
            sorted(
                (Sample(path, labels[own[nfc(name)]]) for name, inside in some.items() for path in inside),
                key=lambda sample: (sample.label, sample.path),
            )
        )
        for half, some in found.items()
    }
    told, beside = _beside(problems)
    notes += beside
    findings += [Finding(one.kind, below(one.path, layout.root), one.detail) for one in told]
    findings += _twins_within(found, places, layout.root)
    findings += _missing(parts, classes)
    learned = Counter(sample.label for sample in parts["train"])
    findings += class_sizes({name: learned[label] for label, name in enumerate(classes)})
    return Listing(layout.root, classes, parts, tuple(findings), tuple(notes))


def _beside(problems: Sequence[Problem]) -> tuple[list[Problem], list[str]]:
    """Take out files that lie beside pictures in great number, such as a text for each: they are counted in notes."""
    counts = Counter(one.detail for one in problems if one.kind == "not_an_image" and "convert" not in one.detail)
    many = {detail: number for detail, number in counts.items() if number > MANY}
    notes = [f"{number} files beside the pictures are not used: {detail}" for detail, number in many.items()]
    return [one for one in problems if one.kind != "not_an_image" or one.detail not in many], notes


def _own_names(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> dict[str, str]:
    """The class of each folder's name in NFC: that of the training folder, however other halves write it."""
    own = {nfc(name): nfc(name) for name in found["train"]}
    plain: dict[str, str] = {}
    for some in found.values():
        for name in map(nfc, some):
            own.setdefault(name, plain.get(_plain(name), name))
            plain.setdefault(_plain(name), own[name])
    return own


def _plain(name: str) -> str:
    """A class's name without what people write in two ways: case, Unicode form, ``_`` and ``-`` for a blank."""
    return " ".join(nfc(name).casefold().replace("_", " ").replace("-", " ").split())


def _twins_within(
    found: Mapping[str, Mapping[str, Sequence[Path]]], places: Mapping[str, Path], root: Path
) -> list[Finding]:
    """Class folders side by side whose names differ in case, Unicode form, ``_`` or ``-`` only."""
    findings = []
    for half, some in found.items():
        same: dict[str, list[str]] = {}
        for name in some:
            same.setdefault(_plain(name), []).append(name)
        for twins in same.values():
            if len(twins) > 1:
                first, *rest = (f"{name!a}" if not name.isascii() else name for name in twins)
                detail = f"differs from {names(rest)} beside it only in how it is written: put both in one folder"
                path = below(str(places[half] / twins[0]), root)
                findings.append(
                    Finding("class_twins", path, f"{first} {detail}", below(str(places[half] / twins[1]), root))
                )
    return findings


def _twins_across(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[Finding]:
    """Classes that another half calls a little otherwise."""
    findings = []
    taught = [*map(nfc, found["train"])]
    for half, some in found.items():
        for name in map(nfc, some) if half != "train" else ():
            like = [one for one in taught if _plain(one) == _plain(name)]
            if like and name not in like:
                detail = f"{half}/ calls {like[0]!r} so: most tools take it for a class of its own"
                findings.append(Finding("class_twins", name, detail, like[0]))
    return findings


def _missing(parts: Mapping[str, Sequence[Sample]], classes: Sequence[str]) -> list[Finding]:
    """Classes that stand in one half and not in another, and a data set of one class."""
    findings = []
    if len(classes) == 1:
        findings.append(Finding("class_missing", classes[0], "this is the only class: at least two are needed"))
    for half, samples in parts.items():
        has = {sample.label for sample in samples}
        for label, name in enumerate(classes):
            if label in has:
                continue
            others = " and ".join(f"{other}/" for other, some in parts.items() if any(s.label == label for s in some))
            if half == "train":
                findings.append(Finding("class_extra", name, f"{others} has it, and train/ has no picture of it"))
            else:
                findings.append(Finding("class_missing", name, f"{others} has it, and {half}/ has no picture of it"))
    return findings


def class_sizes(counts: Mapping[str, int], what: str = "picture") -> list[Finding]:
    """Classes with few pictures, or boxes, to learn from, and such as others have many times as many of."""
    sizes = {name: number for name, number in counts.items() if number}
    if not sizes:
        return []
    largest = max(sizes, key=lambda name: sizes[name])
    middle = statistics.median(sizes.values())
    findings = []
    for name, number in sizes.items():
        few = f"1 {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('x') else 's'}"
        if number < TINY:
            findings.append(Finding("tiny_class", name, f"{few} to learn from"))
        if sizes[largest] >= UNEVEN * number and number < middle:
            times = sizes[largest] // number
            detail = f"{few}, and {largest} has {times} times as many ({sizes[largest]})"
            findings.append(Finding("uneven_class", name, detail))
    return findings
