"""Copies among pictures: the same file, or the same picture resized, re-encoded, mirrored, rotated or cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilenets.datasets.folder import Sample
from mobilenets.doctor.confirm import Match, matches
from mobilenets.doctor.hashes import Thumbnails, thumbnails


@dataclass(frozen=True)
class Pair:
    """Two pictures that are copies.

    ``kind`` is ``exact`` (the same bytes) or ``near``; ``score`` says how alike they are, 1 for no difference; ``how``
    is in words what was done: ``same file``, ``same picture`` (resized, re-encoded), ``mirrored``, ``rotated 90°``,
    ``cropped``, ``cropped, mirrored``, …
    """

    path: Path
    partner: Path
    kind: Literal["exact", "near"]
    score: float
    how: str


def find_copies(
    samples: Sequence[Sample], *, crops: bool = True, workers: int | None = None, small: Thumbnails | None = None
) -> list[Pair]:
    """Find the copies among pictures; one that does not decode can have exact copies only.

    ``crops``: those are looked for too, down to 80 % of the sides, which is ten times the work. ``workers`` are threads
    that decode, ``small`` the thumbnails where they were made.

    Returns pairs in the order of ``samples``. Of several files with the same bytes each is paired with the first, and
    only the first takes part in the search for near copies; ``split.clusters`` brings them together. Raises
    ``InputError`` for a file that cannot be opened.
    """
    paths = [sample.path for sample in samples]
    return [named(match, paths) for match in matches(small or thumbnails(paths, workers), crops=crops)]


def named(match: Match, paths: Sequence[Path]) -> Pair:
    """Give a match its files."""
    kind: Literal["exact", "near"] = "exact" if match.exact else "near"
    return Pair(paths[match.one], paths[match.other], kind, match.score, match.how)
