"""Streams that are closed, full, or read by nobody: the work is done all the same, and the exit status is right."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobilenets.cli import main

posix = pytest.mark.skipif(sys.platform == "win32", reason="redirections of a POSIX shell")


def shell(program: Any, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = line.replace("mobilenets", shlex.join(program[0]), 1)
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120, "cwd": cwd}
    return subprocess.run(["bash", "-c", command], env=program[1], check=False, **given)


@pytest.fixture(scope="module")
def place(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a run, and pictures in folders of which one is empty."""
    place = tmp_path_factory.mktemp("streams")
    (place / "run").symlink_to(trained.run)
    (place / "data").symlink_to(trained.data)
    for name in ("a", "b_empty", "c"):
        (place / "E2" / name).mkdir(parents=True)
    for number in range(3):
        shutil.copy(trained.data / f"cat/00{number}.png", place / "E2/a")
        shutil.copy(trained.data / f"dog/00{number}.png", place / "E2/c")
    return place


def test_an_empty_folder_and_a_missing_file_do_not_end_the_batch(place: Path, command: Any) -> None:
    folders = [place / "E2" / name for name in ("a", "b_empty", "c")]
    status, out, err = command("predict", place / "run", *folders, place / "nope", "--top", 1)
    lines = out.splitlines()
    assert (status, err, len(lines)) == (1, "", 8)
    assert all("cat" in line for line in lines[:3]) and all("dog" in line for line in lines[4:7])
    assert lines[3].startswith(f"{folders[1]}: not read: has no pictures (")
    assert lines[7] == f"{place / 'nope'}: not read: there is no such file"


def test_a_sheet_of_them_is_drawn(place: Path, command: Any, tmp_path: Path) -> None:
    folders = [place / "E2" / name for name in ("a", "b_empty")]
    assert command("predict", place / "run", *folders, "--sheet", tmp_path / "sheet.png").status == 1
    assert (tmp_path / "sheet.png").is_file()


SETTINGS = (
    "--model mobilenet_v1_cifar --width 0.25 --size 32 --epochs 1 --batch 16 --threads 1 --workers 1 --device cpu"
)


@posix
@pytest.mark.parametrize("closed", [">&- 2>&- <&-", "2>/dev/full"])
def test_trains_without_streams(closed: str, place: Path, program: Any, tmp_path: Path) -> None:
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is Linux's")
    done = shell(program, f"mobilenets train {place}/data --out run {SETTINGS} {closed}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run/metrics.json").is_file()
    # What is printed has not gone into a file that took the number of a closed stream.
    assert (tmp_path / "run/split.csv").read_text("utf-8").startswith("image,class,split\n")
    assert (tmp_path / "run/recipe.json").read_bytes()[:1] == b"{"


@posix
@pytest.mark.parametrize(
    ("line", "status", "err"),
    [
        ("predict run E2/a >&-", 0, ""),
        ("predict run E2/a E2/b_empty >&-", 1, ""),
        ("predict nowhere E2/a 2>&-", 2, ""),
        ("predict nowhere E2/a >&-", 2, "mobilenets: nowhere: no such model"),
        ("predict run - <&-", 2, "mobilenets: standard input is closed"),
        ("predict run E2/a > /dev/full", 2, "mobilenets: standard output: No space left on device\n"),
        ("predict run E2/a --json > /dev/full 2> /dev/full", 2, ""),
        ("predict run E2/a E2/a E2/c 2>&1 | head -1 | wc -l; exit ${PIPESTATUS[0]}", 0, ""),
        ("--help >&-", 0, ""),
    ],
)
def test_exit_status_without_streams(line: str, status: int, err: str, place: Path, program: Any) -> None:
    if "full" in line and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is Linux's")
    done = shell(program, f"mobilenets {line}", place)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(err) if err else done.stderr == ""


def test_no_streams_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``pythonw`` on Windows has it."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["predict", str(place / "run"), str(place / "E2/a")]) == 0
    assert main(["predict", str(place / "run"), "nowhere"]) == 1
    assert main(["paint"]) == 2
    assert sys.stdout is None and sys.stderr is None
