"""What only a process of its own shows: exit status, imports, time, signals and closed pipes."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobilenets.cli.verbs import build_parser

Program = tuple[list[str], dict[str, str]]


def run(program: Program, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run([*program[0], *words], env=program[1], **given)


def test_help_imports_nothing_heavy(program: Program) -> None:
    words, environment = program
    done = run(([words[0], "-X", "importtime", *words[1:]], environment), "--help")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mobilenets.cli.verbs" in imported
    assert not imported & {"torch", "matplotlib", "numpy", "PIL", "sklearn", "jinja2", "tqdm", "safetensors"}


def test_help_is_quick(program: Program) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(program, "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


def test_wrong_use(program: Program, tmp_path: Path) -> None:
    done = run(program, "fetch", "mnist64", "here", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mobilenets: unknown data set 'mnist64'")
    assert done.stderr.count("\n") == 1


def test_bad_picture_and_standard_input(program: Program, trained: Any, tmp_path: Path) -> None:
    picture = trained.data / "cat/000.png"
    broken = os.fsencode(tmp_path) + b"/broken\xff.png"
    Path(os.fsdecode(broken)).touch()
    command = [*program[0], "predict", str(trained.run), "-", broken, "--top", "1"]
    with picture.open("rb") as stream:
        done = subprocess.run(command, env=program[1], stdin=stream, capture_output=True, timeout=120)
    first, second = done.stdout.decode("utf-8").splitlines()
    assert (done.returncode, done.stderr) == (1, b"")
    assert first.startswith("-: cat ")
    assert second == f"{tmp_path}/broken\\udcff.png: not read: the file is empty"


def test_reader_that_has_gone(program: Program) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = run(program, "train", "--help", capture_output=False, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is Linux's")
def test_full_disk(program: Program) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(program, "--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, "mobilenets: standard output: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_says_how_to_go_on(program: Program, draw: Callable[..., Path], tmp_path: Path) -> None:
    draw(tmp_path / "my pets", {"cat": 8, "dog": 8})
    words = ["train", "my pets", "--out", "the run", "--model", "mobilenet_v1_cifar", "--size", "16"]
    words += ["--width", "0.25", "--epochs", "100000", "--threads", "1", "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen(
        [*program[0], *words], env=program[1], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.lstrip().startswith("1/100000 "):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    last = err.splitlines()[-1]
    start = "mobilenets: stopped; what was done is kept; to continue: mobilenets "
    assert last.startswith(start)
    assert "Traceback" not in err
    options = build_parser().parse_args(shlex.split(last.removeprefix(start)))
    assert (options.verb, options.data, options.out, options.resume) == ("train", "my pets", "the run", True)
    for name in ("recipe.json", "split.csv", "model.json", "history.csv", "checkpoint"):
        assert (tmp_path / "the run" / name).exists()


def test_ctrl_c_before_anything_was_done(
    photos: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilenets.runs.begin.prepare", stop)
    status, out, err = command("train", photos, "--out", tmp_path / "run", "--weights", "none")
    assert (status, out) == (130, "")
    assert err == "mobilenets: stopped before anything was done: run the same command again\n"
    monkeypatch.setattr("mobilenets.verbs.evaluate.evaluate", stop)
    assert command("evaluate", "run", "photos") == (130, "", "mobilenets: interrupted\n")
