from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs import test_set as module
from mobilenets.runs.test_set import Opening, open_test_set
from mobilenets.runtime.bundle import Bundle, write_bundle


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_bundle(tmp_path, Bundle({}, ("a", "b"), Preprocessing(32)))
    return tmp_path


def test_every_opening_is_counted_and_dated(run: Path) -> None:
    first = open_test_set(run, "train", ["x", "y"])
    assert (first.before, first.note) == (0, None)
    second = open_test_set(run / "model.json", "evaluate", ["y", "x"])
    third = open_test_set(run, "compare", ["x", "y"])
    today = datetime.now(UTC).date().isoformat()
    assert second.note == (
        f"measured on this test set once before, first on {today}: the figure is no longer unseen, and too high if "
        "anything was chosen by the earlier ones"
    )
    assert (third.before, third.first) == (2, today) and "2 times before" in (third.note or "")
    # Another set is another matter.
    assert open_test_set(run, "evaluate", ["v", "w", "x"]).before == 0
    openings = json.loads((run / "test.json").read_bytes())["openings"]
    assert [(one["verb"], one["images"]) for one in openings] == [
        ("train", 2),
        ("evaluate", 2),
        ("compare", 2),
        ("evaluate", 3),
    ]


def test_a_set_is_known_again_with_some_pictures_more_or_less(run: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.bytes(16).hex() for _ in range(3000)]
    assert open_test_set(run, "train", pictures[:1000]).before == 0
    assert open_test_set(run, "evaluate", pictures[1:1000]).before == 1
    assert open_test_set(run, "evaluate", [*pictures[100:1000], *pictures[2000:2100]]).before == 2
    assert open_test_set(run, "evaluate", pictures[800:2800]).before == 0
    assert (run / "test.json").stat().st_size < 10_000
    few = Opening("", "", 3, ("a", "b", "c"))
    assert few.same_set(Opening("", "", 2, ("b", "c"))) and few.same_set(Opening("", "", 3, ("b", "c", "d")))
    assert not few.same_set(Opening("", "", 2, ("c", "d")))


def test_a_training_that_is_resumed_counts_once(run: Path) -> None:
    assert [open_test_set(run, "train", ["x"]).before for _ in range(3)] == [0, 0, 0]
    assert open_test_set(run, "evaluate", ["x"]).before == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"openings": 3}', b'{"openings": [{"when": 1}]}'])
def test_a_damaged_file_begins_anew(run: Path, content: bytes) -> None:
    (run / "test.json").write_bytes(content)
    assert open_test_set(run, "evaluate", ["x"]).before == 0
    assert open_test_set(run, "evaluate", ["x"]).before == 1


def test_where_nothing_can_be_written_it_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path, _: object) -> None:
        raise module.InputError(f"{path}: cannot be written there: Read-only file system; choose another place")

    monkeypatch.setattr(module, "write_json", refused)
    with caplog.at_level(logging.WARNING, "mobilenets"):
        assert open_test_set(run, "evaluate", ["x"]).before == 0
    assert "that the test set was opened is not written down" in caplog.text
