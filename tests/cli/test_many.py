from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


def test_answers_by_the_command_line(command: Any, trained: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(trained.data / "owl/003.png", source)
    words = ("predict", trained.run, source, "--engine", "local", "--out", tmp_path / "out", "--format", "jsonl")
    status, out, _ = command(*words, "--json")
    assert status == 0 and json.loads(out)["classes"] == {"owl": 1}
    (source / "empty.png").write_bytes(b"")
    status, out, _ = command(*words)
    assert status == 1
    assert out.startswith("2 pictures in 1 part, 2 now in ") and "empty.png: the file is empty" in out
    status, out, err = command(*words, "--top", "2")
    assert status == 2 and "was begun with top by default, not 2" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--engine local", "give --out FOLDER"),
        ("--engine local --out o --format csv", "with --engine give parquet or jsonl"),
        ("--engine local --out o --sheet s.png", "--sheet is for single pictures"),
        ("--engine local --out o --device cuda", "--engine answers on the CPU"),
        ("photos --engine local --out o", "--engine takes one source"),
        ("--engine spark --out o", "invalid choice: 'spark'"),
        ("--workers 2", "--workers only counts with --engine"),
        ("--ray-address auto", "--ray-address only counts with --engine"),
        ("--format parquet", "add --engine local, and --out FOLDER"),
    ],
)
def test_wrong_use(words: str, says: str, command: Any) -> None:
    status, _, err = command("predict", "run", "photos", *words.split())
    assert status == 2 and says in err and len(err.splitlines()) == 1
