"""``seen.csv``: which pictures a model learned from and held out, by content."""

from __future__ import annotations

import csv
from pathlib import Path

from mobilenets.base.cells import read_cells, write_cells
from mobilenets.base.files import nfc, read_text, write_text
from mobilenets.datasets.folder import content_hashes, fingerprint
from mobilenets.datasets.seen import SeenPictures, seen_of
from mobilenets.datasets.split import read_split
from mobilenets.errors import InputError
from mobilenets.runs.record import SPLIT, known_data

SEEN = "seen.csv"
_HEADER = ["content", "class", "split"]


def write_seen(run: Path, seen: SeenPictures) -> None:
    """Write ``seen.csv`` into a run folder, sorted by content."""
    rows = ([content, *about] for content, about in sorted(seen.pictures.items()))
    write_text(run / SEEN, write_cells([_HEADER, *rows]))


def read_seen(run: Path, data: Path | None = None) -> SeenPictures | None:
    """Read what a model has seen.

    Of a run that is older than ``seen.csv`` the pictures themselves tell, in ``data`` or where they lay then. None
    where that cannot be known. Raises ``InputError`` for a damaged file.
    """
    path = run / SEEN
    if not path.is_file():
        return _of_pictures(run, data)
    try:
        rows = read_cells(read_text(path))
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not rows or rows[0] != _HEADER or any(len(row) != 3 for row in rows):
        raise InputError(f"{path}: damaged; it must hold lines of {','.join(_HEADER)}")
    return SeenPictures({content: (nfc(name), half) for content, name, half in rows[1:]})


def _of_pictures(run: Path, data: Path | None) -> SeenPictures | None:
    known = known_data(run)
    if known is None:
        return None
    for root in filter(None, (data, Path(known.folder))):
        try:
            halves = read_split(run / SPLIT, root, known.classes)
            samples = [*halves.train, *halves.validation]
            contents = content_hashes([sample.path for sample in samples])
        except InputError:
            continue
        if known.test is not None or fingerprint(samples, root, contents=contents) == known.fingerprint:
            return seen_of({"train": halves.train, "validation": halves.validation}, known.classes, contents)
    return None
