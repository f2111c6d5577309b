"""CSV that a spreadsheet opens without running anything in it, and that is read back exactly.

What begins with one of ``= + - @`` is a formula to Excel, LibreOffice and Google Sheets, whatever the file meant: a
class folder named ``=cmd|…`` would be run. Such cells are kept behind an apostrophe (OWASP, "CSV Injection"), and so is
the rest of a cell behind a mark that parts cells in another country. Quotes before such a sign get one too, so that
reading can take one apostrophe away wherever it finds one there.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mobilenets.base.files import read_given, read_text
from mobilenets.errors import InputError

# Tab, the line ends, and the wide forms, which some programs take for the same.
_SIGNS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_START = r"(?:\A|(?<=[,;\t\r\n]))"
_FORMULA = re.compile(f"{_START}(?=['\"]*[{_SIGNS}])")
_QUOTED = re.compile('[,"\r\n]')
_KEPT = re.compile(f"{_START}'(?=['\"]*[{_SIGNS}])")


def kept(cell: str) -> str:
    """Put a cell behind an apostrophe if a spreadsheet would run it; ``bare`` undoes it."""
    return _FORMULA.sub("'", cell)


def bare(cell: str) -> str:
    """Give a cell as it was before ``kept``; one that was never kept stays as it is."""
    return _KEPT.sub("", cell)


def write_cells(rows: Iterable[Sequence[str]]) -> str:
    """Write rows of text as CSV, each on a line of its own."""
    # Python's own writer leaves a lone CR bare before 3.13, and readers end the line there.
    return "".join(",".join(map(_quoted, map(kept, row))) + "\n" for row in rows)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def read_cells(text: str, delimiter: str = ",") -> list[list[str]]:
    """Read what ``write_cells`` wrote, also as a spreadsheet saved it again; empty lines are left out.

    Raises ``csv.Error`` for what is no CSV.
    """
    # Windows ends lines with CR LF; a CR inside of quotes belongs to a cell.
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    return [[bare(cell) for cell in row] for row in rows if row]


def read_table(text: str) -> list[tuple[int, list[str]]]:
    """Read a table as people and spreadsheets save it: every row that has any text, with its number in a spreadsheet.

    Commas, semicolons or tabs part the cells, whichever the first row has most of; Excel's own first line, such as
    ``sep=;``, is left out. Raises ``csv.Error`` for what is no CSV.
    """
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep="):
        text, first = rest, rest.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    return [(number, list(map(bare, row))) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]


def text_of_table(path: Path, ours: Sequence[str] = (), most: int | None = None) -> str:
    """Read the text of a table that the user gave, of at most ``most`` bytes, see ``read_given``.

    In one of ``ours``, which is known by its heading, odd bytes of file names stay as they were written. Raises
    ``InputError``.
    """
    content = read_given(path, most).removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        plain = bool(ours) and content.startswith(",".join(ours).encode())
        text = content.decode("utf-8", "surrogateescape") if plain else read_text(path, "a table", most)
    if "\0" in text:
        raise InputError(f"{path} is not a CSV file: save it as CSV in UTF-8")
    return text


def read_given_table(path: Path, ours: Sequence[str] = ()) -> list[tuple[int, list[str]]]:
    """Read a table that the user gave, see ``text_of_table`` and ``read_table``; raises ``InputError``."""
    try:
        return read_table(text_of_table(path, ours))
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
