"""Folds of a cross-validation: which pictures are held out together, stratified, repeatable, without leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobilenets.base.files import nfc
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.split import identical, joined
from mobilenets.errors import InputError


def folds_of(
    samples: Sequence[Sample],
    classes: Sequence[str],
    count: int,
    seed: int,
    root: Path,
    together: Mapping[Path, str] | None = None,
    contents: Mapping[Path, str] | None = None,
) -> tuple[int, ...]:
    """Give each sample its fold, from 1 to ``count``, in the order of ``samples``.

    Each class is spread evenly, and so are all pictures. Byte-identical files stay in one fold, and so do pictures for
    which ``together`` names the same group. As in ``split`` the order in which they are dealt out is drawn by a hash of
    ``seed`` and relative path, and nothing else. ``contents`` is that of ``identical``.

    Raises ``InputError`` for a class that has only one group, which no model could both learn and be measured on, and
    where there are fewer groups than folds.
    """
    alike = identical(samples, root, contents)
    groups = joined(alike, together) if together else alike
    counts = [Counter(sample.label for sample in group) for group in groups]
    having = Counter(label for one in counts for label in one)
    for label in sorted({sample.label for sample in samples}):
        if having[label] < 2:
            raise InputError(
                f"class {classes[label]} has only one picture, or copies and pictures of one group: folds need at "
                "least two of each class; add some, or leave --folds out"
            )
    if len(groups) < count:
        raise InputError(
            f"folds {count}: there are only {len(groups)} pictures, or groups of pictures, to hold out; give at most "
            "that many"
        )
    sizes, done = [0] * count, [Counter[int]() for _ in range(count)]
    places: dict[Sample, int] = {}
    # The large groups first: what is small evens out what they leave uneven.
    for place in sorted(range(len(groups)), key=lambda place: _turn(groups[place], seed, root)):
        fold = min(range(count), key=lambda fold: (_crowded(done[fold], counts[place]), sizes[fold], fold))
        sizes[fold] += len(groups[place])
        done[fold].update(counts[place])
        places |= dict.fromkeys(groups[place], fold + 1)
    return tuple(places[sample] for sample in samples)


def _crowded(done: Counter[int], group: Counter[int]) -> int:
    """Say how many pictures of a group's classes a fold has already."""
    return sum(number * done[label] for label, number in group.items())


def _turn(group: Sequence[Sample], seed: int, root: Path) -> tuple[int, bytes]:
    name = f"fold:{seed}:{nfc(relative(group[0].path, root))}".encode("utf-8", "surrogateescape")
    return -len(group), hashlib.blake2b(name, digest_size=16).digest()
