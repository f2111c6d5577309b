"""``seen.csv``: which pictures a model learned from and held out, by content."""

from __future__ import annotations

import csv
from pathlib import Path

from mobilenets.base.cells import read_cells, write_cells
from mobilenets.base.files import nfc, read_text, write_text
from mobilenets.datasets.folder import Sample, content_hashes, fingerprint, read_folder, relative
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.prepare import LEFT_OUT_KINDS
from mobilenets.datasets.seen import SeenPictures, seen_of
from mobilenets.datasets.split import read_split
from mobilenets.errors import InputError
from mobilenets.runs.record import SPLIT, DataRecord, known_data

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
        used = [*samples, *_test_half(root, known)]
        if fingerprint(used, root) == known.fingerprint:
            return seen_of({"train": halves.train, "validation": halves.validation}, known.classes, contents)
    return None


def _test_half(root: Path, known: DataRecord) -> list[Sample]:
    """Give the pictures that a run was tested on, as far as they are still there."""
    test = None if known.test is None else find_data(root).test
    if test is None:
        return []
    left_out = {problem.path for problem in known.problems if problem.kind in LEFT_OUT_KINDS}
    found = read_folder(test, known.classes).samples
    return [sample for sample in found if relative(sample.path, root) not in left_out]
