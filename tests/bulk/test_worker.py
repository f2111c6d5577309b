from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from mobilenets.bulk import worker as workers
from mobilenets.bulk.engines import local
from mobilenets.bulk.job import Answered, Failed
from mobilenets.bulk.parts import Part, parts_of
from mobilenets.bulk.worker import Worker
from mobilenets.errors import InputError

# The same process, but for pictures of some names.
HOSTILE = """
import json, os, sys, time; sys.path[:] = json.loads(sys.argv[1])
from mobilenets.bulk import child
from mobilenets.runtime.predictor import EnginePredictor
prepare = EnginePredictor.prepare
def hostile(self, picture):
    if picture.stem == "kills":
        os.kill(os.getpid(), 9)
    if picture.stem == "sleeps":
        time.sleep(60)
    if picture.stem == "raises":
        raise ZeroDivisionError("of a decoder")
    return prepare(self, picture)
EnginePredictor.prepare = hostile
child.main(sys.argv[2])
"""


def asked(run: Path, **other: Any) -> dict[str, Any]:
    form = {"format": "jsonl", "about": "", "batch": 4, "top": 1, "threshold": None}
    return {"model": str(run), "runtime": None, "threads": 1, "limit": 30.0} | form | other


def rows(found: Answered | Failed) -> list[dict[str, Any]]:
    assert isinstance(found, Answered), found
    return [json.loads(line) for line in found.content.splitlines()]


def test_a_picture_that_ends_its_process_is_a_bad_row(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_PROGRAM", HOSTILE)
    for name in ("a", "kills", "m", "raises", "sleeps", "z"):
        shutil.copy(trained.data / "cat/000.png", tmp_path / f"{name}.png")
    [part] = parts_of(str(tmp_path), 9)
    worker = Worker(asked(trained.run, limit=0.6))
    try:
        found = rows(worker.answer(part))
    finally:
        worker.close()
    assert [row["image"] for row in found] == ["a.png", "kills.png", "m.png", "raises.png", "sleeps.png", "z.png"]
    assert [row["predictions"][0]["label"] for row in found if "error" not in row] == ["cat"] * 3
    assert [row["error"] for row in found if "error" in row] == [
        "the process that reads it ends: SIGKILL (out of memory?)",
        "cannot be read: ZeroDivisionError: of a decoder",
        "took longer than 0.6 s",
    ]


def test_what_comes_from_elsewhere_may_take_longer_than_a_picture(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = "def late(part, limit): time.sleep(1.0); yield 'a', pathlib.Path(part['names'][0])"
    program = HOSTILE.replace("import json", "import json, pathlib", 1)
    monkeypatch.setattr(
        workers, "_PROGRAM", program.replace("child.main", f"{late}\nchild.read_part = late\nchild.main")
    )
    names = zlib.compress(json.dumps([str(trained.data / "cat/000.png")]).encode())
    worker = Worker(asked(trained.run, limit=0.6))
    try:
        found = rows(worker.answer(Part("a", "shard", "https://there.org", "", 1, packed=names)))
    finally:
        worker.close()
    assert [row["predictions"][0]["label"] for row in found] == ["cat"]


def test_a_process_that_dies_costs_one_more_try(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.data / "cat/000.png", tmp_path)
    [part] = parts_of(str(tmp_path), 9)
    worker = Worker(asked(trained.run))
    try:
        worker.open()
        assert worker._process is not None
        worker._process.kill()
        assert len(rows(worker.answer(part))) == 1
    finally:
        worker.close()


def test_a_part_that_fails_twice_is_named(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.data / "cat/000.png", tmp_path)
    [part] = parts_of(str(tmp_path), 9)
    shutil.rmtree(tmp_path)
    worker = Worker(asked(trained.run))
    try:
        found = worker.answer(part)
    finally:
        worker.close()
    assert isinstance(found, Failed) and "not there on this machine" in found.reason


def test_processes_end_with_the_one_who_asks(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PROGRAM", HOSTILE)
    shutil.copy(trained.data / "cat/000.png", tmp_path / "sleeps.png")
    begun: list[Any] = []
    popen = workers.subprocess.Popen
    monkeypatch.setattr(
        workers.subprocess, "Popen", lambda *words, **more: begun.append(popen(*words, **more)) or begun[-1]
    )
    course = local.answered(parts_of(str(tmp_path), 9), asked(trained.run), 2)
    assert next(course) == 0
    course.close()
    assert [process.poll() for process in begun] == [-9]


def test_a_model_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    worker = Worker(asked(tmp_path / "none"))
    try:
        with pytest.raises(InputError, match="no such model"):
            worker.open()
    finally:
        worker.close()
