from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.base.cells import bare, kept, read_cells, write_cells
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.split import read_split, write_split

RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
CELLS = st.one_of(st.text(max_size=12), st.text("'=+-@\t\r\n,;\"\uff1d a", max_size=6))


@given(CELLS)
def test_a_cell_is_no_formula_and_comes_back_exactly(cell: str) -> None:
    assert not kept(cell).startswith(RUN)
    assert bare(kept(cell)) == cell


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=4))
def test_tables_come_back_exactly(rows: list[list[str]]) -> None:
    text = write_cells(rows)
    assert read_cells(text) == rows
    # No cell begins anew behind the mark of another country.
    for mark in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark):
            assert not any(cell.startswith(("=", "+", "-", "@", "\uff1d")) for cell in row)


def test_what_is_written() -> None:
    cells = ["=1", "a;=1", "b\t@2", 'c"', "d-e", "'", "'x", "'=x"]
    assert write_cells([cells]) == "'=1,a;'=1,b\t'@2,\"c\"\"\",d-e,','x,''=x\n"


def test_what_was_never_kept_stays() -> None:
    assert read_cells("=1,'a,''=x,-\n") == [["=1", "'a", "'=x", "-"]]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_split_with_classes_like_formulas(tmp_path: Path, delimiter: str) -> None:
    classes = ["=cmd|' /C calc'!A0", "@sum", "-1", "'=x", "'", "a;=b"]
    samples = []
    for label, name in enumerate(classes):
        picture = tmp_path / name.replace("/", "_") / "+a.png"
        picture.parent.mkdir()
        picture.touch()
        samples.append(Sample(picture, label))
    file = tmp_path / "split.csv"
    write_split(file, tmp_path, classes, samples[:4], samples[4:])
    with file.open(newline="", encoding="utf-8") as text:
        rows = list(csv.reader(text))
    assert not any(cell.startswith(RUN) for row in rows for cell in row)
    if delimiter == ";":  # as a spreadsheet saves it elsewhere
        with file.open("w", newline="", encoding="utf-8") as text:
            csv.writer(text, delimiter=";").writerows(rows)
    found = read_split(file, tmp_path, classes)
    assert sorted(found.train + found.validation, key=lambda one: one.label) == samples
