"""What a run says of itself, written and read in one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilenets.datasets.listing import Problem
from mobilenets.errors import InputError
from mobilenets.runs.record import (
    METRICS,
    RECIPE,
    DataRecord,
    Record,
    data_folder,
    folder_of,
    known_data,
    total_seconds,
)
from mobilenets.training.recipe import Recipe

DATA = DataRecord(
    folder="photos",
    classes=("cat", "dog"),
    fingerprint="ab",
    train={"cat": 2, "dog": 3},
    validation={"cat": 1, "dog": 1},
    test=None,
    problems=(Problem("unreadable", "cat/1.png", "it is empty"),),
    notes=("a note",),
    seen_by_source=4,
    renamed={"dog": "hound"},
)


def test_written_and_read_back(tmp_path: Path) -> None:
    record = Record(Recipe(epochs=3), "mobilenets train", DATA, {"cores": 2}, {"python": "3"}, {"asked": "auto"})
    record.write(tmp_path)
    assert Record.read(tmp_path) == record
    assert json.loads((tmp_path / RECIPE).read_bytes())["data"]["classes"] == ["cat", "dog"]


def test_data_is_named_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of(Path("photos")) == str(tmp_path.resolve() / "photos")
    # What ``open_data`` makes of an address is no path below the folder that one happens to be in.
    assert folder_of(Path("https://host/photos")) == "https://host/photos"


def test_a_record_of_an_earlier_release(trained: Any, tmp_path: Path) -> None:
    record = json.loads((trained.run / RECIPE).read_bytes())
    del record["weights"], record["data"]["renamed"], record["data"]["copies"]
    record["data"]["of a later release"] = 1
    (tmp_path / RECIPE).write_text(json.dumps(record))
    read = Record.read(tmp_path)
    assert (read.weights, read.data.renamed, read.data.copies) == ({}, {}, 0)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"recipe": {"epochs": -1}}', '{"recipe": {}, "data": {"folder": "x"}}']
)
def test_a_damaged_record(content: str, tmp_path: Path) -> None:
    (tmp_path / RECIPE).write_text(content)
    with pytest.raises(InputError, match=r"recipe.json: damaged; train again"):
        Record.read(tmp_path)


def test_what_is_known_of_a_run(trained: Any, tmp_path: Path) -> None:
    known = known_data(trained.run)
    assert known is not None and known.classes == ("cat", "dog", "owl")
    assert data_folder(trained.run) == trained.data
    assert known_data(tmp_path) is None and data_folder(tmp_path) is None
    seconds = total_seconds(trained.run)
    assert seconds is not None and seconds > 0
    (tmp_path / METRICS).write_text("{}")
    assert total_seconds(tmp_path) is None
