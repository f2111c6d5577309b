"""What can be wrong with a data set: kinds, from the worst on, and how each is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mobilenets.datasets.listing import Problem


@dataclass(frozen=True)
class Finding(Problem):
    """A problem with what belongs to it.

    ``path`` is below the folder of DATA, of a picture or folder, or the name of a class. ``partner`` is the other
    picture of a pair, ``score`` from 0 to 1 how sure that is, ``suggestion`` an action of ``fixes.csv`` with its
    target: ``drop``, ``move train``, ``relabel cat``.
    """

    partner: str | None = None
    score: float | None = None
    suggestion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give ``kind path detail``, and of the others what there is."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Kind:
    """How a kind of problem is called, one and many, and what to do about it."""

    one: str
    many: str
    what_to_do: str
    fault: bool = True


# From the worst on: what makes figures wrong, then labels, then what is missing, then pictures.
KINDS: Mapping[str, Kind] = {
    "leak": Kind(
        "picture to measure on is in training too",
        "pictures to measure on are in training too",
        "the accuracy measured on them is too high; fixes.csv drops the training copies",
    ),
    "label_conflict": Kind(
        "picture stands in two classes",
        "pictures stand in two classes",
        "look which class is right, then write relabel or drop in fixes.csv",
    ),
    "shortcut": Kind(
        "class can be told without its pictures' content",
        "classes can be told without their pictures' content",
        "a network learns that instead: take or save the pictures of all classes alike",
    ),
    "class_missing": Kind(
        "class is missing in a half", "classes are missing in a half", "nothing says how well it is told: add pictures"
    ),
    "class_extra": Kind(
        "class has no training pictures", "classes have no training pictures", "add some, or remove the folder"
    ),
    "class_twins": Kind(
        "pair of class folders differs only in how it is written",
        "pairs of class folders differ only in how they are written",
        "give one class one name everywhere",
    ),
    "empty_class": Kind("class folder is empty", "class folders are empty", "add pictures, or remove the folder"),
    "tiny_class": Kind("class is tiny", "classes are tiny", "add pictures: some 20 are a beginning"),
    "uneven_class": Kind(
        "class is far smaller than the largest",
        "classes are far smaller than the largest",
        "add pictures, or train with --balance sampling",
    ),
    "unreadable": Kind(
        "file cannot be read", "files cannot be read", "copy or download them again; training leaves them out"
    ),
    "not_an_image": Kind("file is no picture", "files are no pictures", "convert, replace or remove them"),
    "too_large": Kind("picture has too many pixels", "pictures have too many pixels", "save them smaller"),
    "bad_box": Kind(
        "fault in the annotations",
        "faults in the annotations",
        "mend them; training cuts what sticks out, and leaves out what cannot be used",
    ),
    "unreached_box": Kind(
        "class has boxes that no anchor reaches",
        "classes have boxes that no anchor reaches",
        "they are found badly: cut the pictures into parts, or take them from nearer",
        fault=False,
    ),
    "duplicate": Kind("picture is there twice", "pictures are there twice", "fixes.csv drops all but the first"),
    "near_duplicate": Kind(
        "picture is nearly there twice",
        "pictures are nearly there twice",
        "harmless on one side of a split; train --groups copies keeps them there",
    ),
    "blank": Kind("picture is blank", "pictures are blank", "look at them, and write drop in fixes.csv"),
    "dark": Kind("picture is nearly black", "pictures are nearly black", "look at them, and write drop in fixes.csv"),
    "overexposed": Kind(
        "picture is nearly white", "pictures are nearly white", "look at them, and write drop in fixes.csv"
    ),
    "blurred": Kind("picture is blurred", "pictures are blurred", "look at them, and write drop in fixes.csv"),
    "odd_aspect": Kind(
        "picture is very long or high", "pictures are very long or high", "cut out what matters, or use --resize pad"
    ),
    "tiny_picture": Kind("picture is tiny", "pictures are tiny", "a thumbnail or icon by mistake? replace or drop it"),
    "orientation": Kind(
        "picture is upright by EXIF only",
        "pictures are upright by EXIF only",
        "fine here; tools that ignore EXIF turn them on their side",
        fault=False,
    ),
}


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings from the worst kind on; within a kind, the surest first, then by path."""
    ranks = {kind: rank for rank, kind in enumerate(KINDS)}
    return sorted(
        findings, key=lambda one: (ranks.get(one.kind, len(ranks)), -(one.score or 0), one.path, one.partner or "")
    )


def faults(findings: Iterable[Finding]) -> int:
    """Count the findings that are faults, and not hints."""
    return sum(is_fault(one.kind) for one in findings)


def is_fault(kind: str) -> bool:
    """Say whether a kind is a fault, and not a hint."""
    return kind not in KINDS or KINDS[kind].fault


def counted(findings: Iterable[Finding]) -> dict[str, int]:
    """Count what was found of each kind, from the worst on; a picture with several partners counts once.

    Of annotations, of which many stand in one file, every fault counts.
    """
    once = {(one.kind, one.path, one.detail if one.kind == "bad_box" else "") for one in findings}
    number = Counter(kind for kind, *_ in once)
    return {kind: number[kind] for kind in (*KINDS, *(number.keys() - KINDS.keys())) if number[kind]}


def said(kind: str, number: int) -> str:
    """Say how many there are of a kind: ``40 pictures are blank``."""
    about = KINDS.get(kind, Kind(kind.replace("_", " "), kind.replace("_", " "), ""))
    return f"{number} {about.one if number == 1 else about.many}"


def worst(findings: Sequence[Finding], halves: Mapping[str, str]) -> list[str]:
    """Say in a line each what makes figures wrong, or a class easy for the wrong reason; the worst first.

    ``halves`` has the half of every picture: ``train``, ``validation``, ``test``.
    """
    lines = []
    sizes = Counter(halves.values())
    for half, other in (("test", "train"), ("validation", "train"), ("test", "validation")):
        leaks = [
            one
            for one in findings
            if one.kind == "leak" and halves.get(one.path) == half and halves.get(one.partner or "") == other
        ]
        hit = len({one.path for one in leaks})
        if hit:
            first = max(leaks, key=lambda one: (one.score or 0, one.path))
            effect = "the accuracy measured on them is too high"
            if other == "validation":
                effect = "the epoch is chosen on pictures that the last figure is for"
            lines.append(
                f"{hit} of {sizes[half]} {half} pictures {'is' if hit == 1 else 'are'} in "
                f"{'training' if other == 'train' else other} too: {effect} ({first.path} is {first.partner})"
            )
    if conflicts := {one.path for one in findings if one.kind == "label_conflict"}:
        lines.append(f"{said('label_conflict', len(conflicts))}: for one of the two the label is wrong")
    lines += [f"class {one.path} can be {one.detail}" for one in findings if one.kind == "shortcut"][:3]
    return lines
