"""What a user's fixes and groups make of the pictures of DATA, before they are split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.layout import Layout
from mobilenets.datasets.listing import Problem, names


@dataclass(frozen=True)
class Fixed:
    """Pictures by half after fixes; ``pinned`` were moved where the halves are yet to be drawn, and stay there.

    ``dropped`` are the files that were left out, ``notes`` are sentences on what was done.
    """

    parts: dict[str, tuple[Sample, ...]]
    pinned: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    dropped: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Listed:
    """What was read of DATA: the pictures of each half, what is wrong with them, and notes on what was assumed.

    ``refine``, where there is one, gives the pictures that decode their targets, takes those out that have none, and
    adds to problems and notes why; ``classes`` are then not those of pictures, but of what is in them.
    """

    layout: Layout
    classes: tuple[str, ...]
    parts: dict[str, tuple[Sample, ...]]
    problems: list[Problem]
    notes: list[str]
    refine: Callable[[dict[str, tuple[Sample, ...]], list[Problem], list[str]], None] | None = None


Reading: TypeAlias = Callable[[Path, bool], Listed]
"""Reads DATA; the flag says that nothing is to be held out of the training pictures, see ``prepare``'s ``pooled``."""

Fixing: TypeAlias = Callable[[Mapping[str, Sequence[Sample]], Sequence[str], Path, Sequence[str]], Fixed]
"""Makes fixes to pictures by half, given the classes, the folder of DATA, and paths that are known and no samples."""

Grouping: TypeAlias = Callable[[Sequence[Sample], Path], Mapping[Path, str]]
"""Says which group each picture belongs to; one that it leaves out is a group by itself."""


def sides(
    samples: Sequence[Sample],
    contents: Mapping[Path, str],
    taught: Sequence[Sample],
    held: Sequence[Sample],
    fixed: Fixed | None,
    groups: Mapping[Path, str],
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], list[str]]:
    """Say which pictures stay in training and which are held out before the others are drawn, and what is to be noted.

    To ``taught`` and ``held``, what an earlier model learned from and held out, come what a fix moved, with its copies,
    and the other members of the groups of all these. What was learned from stays in training whatever a fix says.
    """
    if fixed is None and not groups:
        return tuple(taught), tuple(held), []
    side = dict.fromkeys(taught, "train") | dict.fromkeys(held, "validation")
    notes = []
    learned = set(taught)
    pinned = {} if fixed is None else fixed.pinned
    wished = {contents[one.path]: half for half, some in pinned.items() for one in some if one.path in contents}
    refused = 0
    for sample in samples:
        half = wished.get(contents[sample.path])
        if half == "validation" and sample in learned:
            refused += 1
        elif half is not None:
            side[sample] = half
    if refused:
        notes.append(
            f"{refused} pictures that a fix moves to validation stay in training: the first model learned them"
        )
    at: defaultdict[str, set[str]] = defaultdict(set)
    for sample, half in side.items():
        if sample.path in groups:
            at[groups[sample.path]].add(half)
    for sample in samples:
        if sample not in side and sample.path in groups and (where := at.get(groups[sample.path])):
            side[sample] = "train" if "train" in where else "validation"
    both = sorted(name for name, where in at.items() if len(where) > 1)
    if both:
        notes.append(f"{len(both)} groups stand on both sides of the split already: {names(both)}")
    chosen = {half: tuple(s for s in samples if side.get(s) == half) for half in ("train", "validation")}
    return chosen["train"], chosen["validation"], notes


def group_notes(parts: Mapping[str, Sequence[Sample]], groups: Mapping[Path, str], drawn: bool) -> list[str]:
    """Say how many groups there are, and of halves that DATA came with, how many groups stand in several."""
    members: dict[str, set[str]] = defaultdict(set)
    for half, samples in parts.items():
        for sample in samples:
            if sample.path in groups:
                members[groups[sample.path]].add(half)
    broken = sorted(name for name, halves in members.items() if len(halves) > 1)
    if not members:
        return ["no pictures were found to belong together"]
    lone = sum(sample.path not in groups for samples in parts.values() for sample in samples)
    beside = f", and {lone} pictures are in none" if lone else ""
    if not broken:
        if len(members) == 1:
            return [f"1 group was kept on one side of the split{beside}"]
        return [f"{len(members)} groups were kept on one side of the split each{beside}"]
    why = (
        ""
        if drawn
        else "; DATA comes split: for a split that keeps them together, put its pictures in one folder a class"
    )
    of = f"{len(broken)} of {len(members)} groups stand" if len(members) > 1 else "the only group stands"
    return [f"{of} on both sides of the split, such as {broken[0]}{why}"]
