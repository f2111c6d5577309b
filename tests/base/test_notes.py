"""Notes reach who calls from Python, and leave the logging of others as it was."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import mobilenets
from mobilenets.base.notes import MOST, caveats, keeping_caveats

PROGRAM = """
import asyncio, logging
import mobilenets
{before}
async def cell():  # as in a notebook, where a loop is running already
    return mobilenets.summary("mobilenet_v1_cifar"), mobilenets.demo.__module__
result, home = asyncio.run(cell())
logging.getLogger("mobilenets").info("after")
log = logging.getLogger("mobilenets")
assert (log.handlers, log.level, logging.getLogger().handlers) == ([], {level}, {root}), log.handlers
"""


def run(before: str = "", level: int = 0, root: str = "[]") -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    program = PROGRAM.format(before=before, level=level, root=root) + (
        "\nfrom mobilenets.base.notes import noted\nnoted(lambda: (log.info('a note'), log.warning('a caveat')))()\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_seen_where_no_logging_is_set_up() -> None:
    err = run()
    assert err.endswith("a note\na caveat\n") and "after" not in err


def test_silenced_by_a_level() -> None:
    assert run('logging.getLogger("mobilenets").setLevel("ERROR")', level=logging.ERROR) == ""


def test_logging_that_is_set_up_decides() -> None:
    set_up = "logging.basicConfig(format='own %(message)s')"
    assert run(set_up, root="logging.getLogger().handlers[:]") == "own a caveat\n"


def test_public_verbs_can_be_handed_to_a_process() -> None:
    assert pickle.loads(pickle.dumps(mobilenets.train)) is mobilenets.train


def test_caveats_are_kept() -> None:
    log = logging.getLogger("mobilenets")

    @keeping_caveats
    def work() -> list[str]:
        log.info("a note")
        log.warning("%d pictures are left out", 3)
        log.warning("cat/1.png: damaged", extra={"detail": True})
        log.warning("3 pictures are left out")
        for number in range(MOST + 4):
            log.warning("number %d", number)
        return caveats()

    kept = work()
    assert kept[0] == "3 pictures are left out" and len(kept) == MOST + 1
    assert kept[-1] == "and 5 more warnings"
    assert caveats() == [] and log.handlers == []


def test_what_training_warns_of_is_in_the_result(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("blue", "green", "red"):
        (tmp_path / "data" / name).symlink_to(photos / name)
    (tmp_path / "data/stray.png").write_bytes((photos / "red/000.png").read_bytes())
    settings = {"model": "mobilenet_v1_cifar", "width": 0.25, "size": 32, "epochs": 1, "batch": 8, "threads": 1}
    result = mobilenets.train(tmp_path / "data", tmp_path / "run", device="cpu", **settings)
    assert any("1 pictures beside the class folders" in note for note in result["notes"])
    assert "1 pictures beside the class folders" in (tmp_path / "run/metrics.json").read_text("utf-8")
