from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mobilenets.api import fetch as module
from mobilenets.api.fetch import fetch
from mobilenets.data.known import Written
from mobilenets.data.sources import Progress


@pytest.fixture
def progress_given(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Stand in for the writing, with a download that was begun earlier and three pictures."""
    given: list[bool] = []

    def write(name: str, out: Path, *, archive: Path | None, size: int | None, progress: Progress | None) -> Written:
        given.append(progress is not None)
        if progress is not None:
            progress("bytes", 500, 1000)
            progress("bytes", 1000, 1000)
            for done in range(1, 4):
                progress("pictures", done, 3)
        assert archive == Path("a.tar.gz")
        return Written(out, size or 8, 2, 1, ("cat", "dog"))

    monkeypatch.setattr(module, "write_folders", write)
    return given


def test_answer_and_progress(progress_given: list[bool], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    answer = fetch("digits", "out", archive="a.tar.gz", size=16)
    assert answer == {
        "name": "digits",
        "folder": "out",
        "size": 16,
        "train": 2,
        "validation": 1,
        "classes": ["cat", "dog"],
    }
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1.00k/1.00k" in printed.err
    assert "pictures: 100%" in printed.err
    assert "3/3" in printed.err


def test_without_tqdm(
    progress_given: list[bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert fetch("digits", "out", archive="a.tar.gz")["train"] == 2
    assert progress_given == [False]
    assert capsys.readouterr() == ("", "")
