"""Which pictures belong together when some are held out: of one burst, one object, one source, or near copies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobilenets.base.cells import read_given_table
from mobilenets.base.files import nfc
from mobilenets.base.notes import log
from mobilenets.base.text import printable
from mobilenets.datasets.arranged import Grouping
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.split import clusters
from mobilenets.doctor.copies import find_copies
from mobilenets.errors import InputError

COPIES = "copies"
_TABLES = (".csv", ".tsv")
_PICTURE_COLUMNS = ("image", "path", "file", "filename", "picture")


def settled(groups: str) -> str:
    """Name a table by its whole path, so that the run can be repeated anywhere; refuses what cannot be used."""
    if groups == COPIES:
        return groups
    if _is_table(groups):
        path, column = _table(groups)
        if not path.is_file():
            raise InputError(f"groups: there is no file {path}: give copies, a CSV file or a pattern")
        return f"{path.resolve()}{column and f':{column}'}"
    _compiled(groups)
    return groups


def grouping(groups: str | None, workers: int | None = None) -> Grouping | None:
    """Return what says which group each picture belongs to; None where ``groups`` is.

    ``groups`` is ``copies``; or ``FILE.csv`` or ``FILE.csv:COLUMN``, whose rows name a picture (by its path below DATA,
    or its file name where only one is called so) and its group (column ``group`` by default); or a regular expression
    with one group, which is searched in each picture's path below DATA. Pictures that it does not find, or rows do not
    name, are groups by themselves. Raises InputError where it finds none, or the table cannot be read.
    """
    if groups is None:
        return None
    given = groups

    def grouped(samples: Sequence[Sample], root: Path) -> Mapping[Path, str]:
        if given == COPIES:  # there may be none
            return _by_copies(samples, root, workers)
        found = _by_table(given, samples, root) if _is_table(given) else _by_pattern(given, samples, root)
        if not found:
            raise InputError(f"groups {given!r}: no picture in {root} belongs to a group: mend it, or leave it out")
        return found

    return grouped


def _is_table(groups: str) -> bool:
    return groups.lower().endswith(_TABLES) or any(f"{suffix}:" in groups.lower() for suffix in _TABLES)


def _table(groups: str) -> tuple[Path, str]:
    """Part ``FILE.csv:COLUMN``; the column is empty where it is not given."""
    match = re.fullmatch(r"(.*\.[ct]sv):([^:/\\]+)", groups, re.IGNORECASE | re.DOTALL)
    return (Path(match[1]), match[2]) if match else (Path(groups), "")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"groups {pattern!r}: no regular expression ({error}), no CSV file, and not copies") from error
    if compiled.groups != 1:
        raise InputError(
            f"groups {pattern!r}: put round brackets around the one part of the path that names the group, as in "
            r"'([^/]+)_\d+\.jpg$'; or give a CSV file, or copies"
        )
    return compiled


def _by_pattern(pattern: str, samples: Sequence[Sample], root: Path) -> dict[Path, str]:
    compiled = _compiled(pattern)
    found = {}
    for sample in samples:
        match = compiled.search(nfc(relative(sample.path, root)))
        if match and match[1]:
            found[sample.path] = match[1]
    return found


def _by_table(groups: str, samples: Sequence[Sample], root: Path) -> dict[Path, str]:
    path, wished = _table(groups)
    numbered = read_given_table(path)
    head = [cell.strip().lower() for cell in numbered[0][1]] if numbered else []
    pictures = next((head.index(name) for name in _PICTURE_COLUMNS if name in head), None)
    column = (wished or "group").lower()
    if pictures is None or column not in head:
        raise InputError(
            f"{path}: row 1 must name the columns image and {wished or 'group'} (it has {printable(', '.join(head))})"
        )
    place = head.index(column)
    names = {nfc(relative(sample.path, root)): sample.path for sample in samples}
    short: dict[str, list[Path]] = {}
    for sample in samples:
        short.setdefault(nfc(sample.path.name), []).append(sample.path)
    found: dict[Path, str] = {}
    unknown = []
    for number, row in numbered[1:]:
        if len(row) <= max(pictures, place) or not row[place].strip():
            continue
        name = nfc(row[pictures].strip().replace("\\", "/").removeprefix("./"))
        fitting = [names[name]] if name in names else short.get(name, [])
        if len(fitting) > 1:
            raise InputError(
                f"{path}, row {number}: {len(fitting)} pictures are called {printable(name)}: write the path in {root}"
            )
        unknown += [] if fitting else [name]
        for one in fitting:
            if found.setdefault(one, row[place].strip()) != row[place].strip():
                raise InputError(
                    f"{path}, row {number}: {printable(name)} stands in another row with another group: leave one"
                )
    if unknown:
        count = "1 row names" if len(unknown) == 1 else f"{len(unknown)} rows name"
        first = printable(unknown[0])
        log.warning("%s: %s no picture of %s that is used, such as %s", path, count, root, first)
    return found


def _by_copies(samples: Sequence[Sample], root: Path, workers: int | None) -> dict[Path, str]:
    found = clusters((pair.path, pair.partner) for pair in find_copies(samples, workers=workers))
    return {path: relative(first, root) for path, first in found.items()}
