from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mobilenets.datasets.sources import ProgressCallback
from mobilenets.datasets.write import Written
from mobilenets.verbs import fetch as module
from mobilenets.verbs.fetch import fetch


@pytest.fixture(autouse=True)
def _written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the writing, with a download that was begun earlier and three pictures."""

    def write(name: str, out: Path, *, archive: Path | None, size: int | None, progress: ProgressCallback) -> Written:
        progress("bytes", 500, 1000)
        progress("bytes", 1000, 1000)
        for done in range(1, 4):
            progress("pictures", done, 3)
        assert archive == Path("a.tar.gz")
        return Written(out, size or 8, 2, 1, ("cat", "dog"))

    monkeypatch.setattr(module, "write_folders", write)


def test_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch("digits", "out", archive="a.tar.gz", size=16) == {
        "name": "digits",
        "folder": "out",
        "size": 16,
        "train": 2,
        "validation": 1,
        "classes": ["cat", "dog"],
    }
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch("digits", "out", archive="a.tar.gz")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "digits: bytes:  50%" in printed.err
    assert "500/1.00k" in printed.err
    assert "digits: pictures:  33%" in printed.err
    assert "1/3" in printed.err


def test_without_tqdm_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("mobilenets.base.progress.Progress.SILENCE", -1.0)
    with caplog.at_level("INFO", logger="mobilenets"):
        fetch("digits", "out", archive="a.tar.gz")
    assert any(message.startswith("digits: bytes: 1000/1000 B") for message in caplog.messages)
    assert any(message.startswith("digits: pictures: 3/3 pictures") for message in caplog.messages)
