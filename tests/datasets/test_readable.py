"""Pictures that do not decode are named, and left out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.readable import check_readable
from mobilenets.pictures import decode


def put(root: Path, *names: str) -> Path:
    """Make small pictures, each of its own colour."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        value = sum(map(ord, name)) % 256
        Image.new("RGB", (4, 3), (value, len(name), 7)).save(path, "PNG")
    return root


def test_unreadable_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(40)))
    (tmp_path / "cat/3.png").write_bytes((tmp_path / "cat/3.png").read_bytes()[:50])
    (tmp_path / "dog/4.png").write_text("no picture", encoding="utf-8")
    (tmp_path / "dog/5.png").write_bytes(b"")
    Image.new("RGB", (50, 50)).save(tmp_path / "dog/6.png")
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    samples = read_folder(tmp_path).samples
    steps: list[int] = []
    threads: set[str] = set()

    def advance(done: int) -> None:
        steps.append(done)
        threads.add(threading.current_thread().name)

    good, problems = check_readable(samples, 2, advance)
    bad = [tmp_path / name for name in ("cat/3.png", "dog/4.png", "dog/5.png", "dog/6.png")]
    assert [Path(problem.path) for problem in problems] == bad
    assert [problem.kind for problem in problems] == ["unreadable", "unreadable", "unreadable", "too_large"]
    assert problems[2].detail == "the file is empty"
    assert good == tuple(sample for sample in samples if sample.path not in bad)
    assert sum(steps) == 80
    assert threads == {threading.current_thread().name}
    assert check_readable(samples, 1) == (good, problems)
    assert check_readable((), 2) == ((), ())
