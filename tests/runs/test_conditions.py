"""What a resumed run keeps of the machine that it began on, and what it says of the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mobilenets.kernels import compile as kernels
from mobilenets.runs import conditions
from mobilenets.runs.conditions import carry_on, kernels_of, threads_of
from mobilenets.runs.record import DataRecord, Record
from mobilenets.training.recipe import Recipe

THEN = {"threads": 2, "processor": "A", "cores": 4, "device": "cpu", "kernels": "on", "kernels_for": "long runs"}
VERSIONS = {"torch": "2.13.0", "numpy": "2.3", "numba": "0.61", "python": "3.11"}


def record(hardware: dict[str, Any] = THEN) -> Record:
    return Record(Recipe(), "", DataRecord("photos", ("a", "b"), "", {}, {}, None), hardware, VERSIONS)


@pytest.mark.parametrize(("cores", "known", "expected"), [(4, 2, 2), (2, 2, 2), (1, 2, None), (4, None, None)])
def test_threads_as_it_began_where_there_are_so_many(
    monkeypatch: pytest.MonkeyPatch, cores: int, known: int | None, expected: int | None
) -> None:
    monkeypatch.setattr(conditions, "cores", lambda: cores)
    hardware = {name: value for name, value in THEN.items() if name != "threads" or known}
    assert threads_of(record(hardware)) == expected
    assert threads_of(None) is None


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("all runs", None, "all runs"),
        ("long runs", None, "long runs"),
        ("none", None, "none"),
        ("none", "on", "all runs"),
        ("all runs", "off", "none"),
    ],
)
def test_kernels_as_it_began_where_nothing_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, then: str, now: str | None, expected: str
) -> None:
    monkeypatch.setattr(kernels, "_importable", lambda: True)
    monkeypatch.delenv("MOBILENETS_KERNELS", raising=False)
    if now is not None:
        monkeypatch.setenv("MOBILENETS_KERNELS", now)
    before = kernels.taken_for()
    with kernels_of(record(THEN | {"kernels_for": then})):
        assert kernels.taken_for() == expected
    assert kernels.taken_for() == before
    # Earlier releases did not say which runs they are for.
    with kernels_of(SimpleNamespace(hardware={"kernels": "off"})):  # type: ignore[arg-type]
        assert now is not None or kernels.taken_for() == "none"


@pytest.mark.parametrize(
    ("hardware", "versions", "long", "words"),
    [
        ({}, {}, True, None),
        ({"cores": 8}, {"python": "3.12"}, True, None),
        ({"threads": 1}, {}, True, "threads 1 instead of 2"),
        ({"processor": "B"}, {}, False, "processor B instead of A"),
        ({"kernels_for": "none"}, {}, True, "kernels for none instead of long runs"),
        ({"kernels_for": "none"}, {}, False, None),
        ({"kernels_for": "all runs"}, {}, False, "kernels for all runs instead of long runs"),
        ({}, {"numba": "0.62"}, True, "numba 0.62 instead of 0.61"),
        ({}, {"numba": "0.62"}, False, None),
        ({"threads": 1}, {"torch": "2.14.0"}, True, "threads 1 instead of 2, torch 2.14.0 instead of 2.13.0"),
    ],
)
def test_what_differs_is_said_and_written_down(
    tmp_path: Path, hardware: dict[str, Any], versions: dict[str, str], long: bool, words: str | None
) -> None:
    known = record()
    found = carry_on(tmp_path, known, THEN | hardware, VERSIONS | versions, long)
    if words is None:
        assert found == known and not list(tmp_path.iterdir())
        return
    line = f"continued with {words}: not byte for byte the model of a run that never stopped"
    assert found == dataclasses.replace(known, resumed=(line,)) == Record.read(tmp_path)
    # The next time as it began: what was said stays said.
    assert carry_on(tmp_path, found, THEN, VERSIONS, long).resumed == (line,)
    assert carry_on(tmp_path, found, THEN | hardware, VERSIONS | versions, long).resumed == (line,)
