from __future__ import annotations

import csv
import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobilenets.datasets.loader import Batch
from mobilenets.errors import InputError
from mobilenets.runs.request import Request
from mobilenets.runs.settle import settle
from mobilenets.training import checkpoint
from mobilenets.training.loop import Training
from mobilenets.verbs.train import train

WEIGHTS = "model.safetensors"

# The command line, held up at one step and saying so, so that a signal meets it there.
HELD_UP = """
import sys, time
from mobilenets.cli import main
from mobilenets.training.loop import Training
step, epoch, place, seconds = Training._step, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def slow(self, state, group):
    if (state.epoch, state.step) == (epoch, place):
        print("here", flush=True)
        time.sleep(seconds)
    return step(self, state, group)
Training._step = slow
sys.exit(main(sys.argv[4:]))
"""


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Take the time of no plot: these tests are about weights."""


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Press Ctrl-C during every so-many-th step of each fit."""
    step: Callable[[Training, Any, list[Batch]], float] = Training._step
    done = 0

    def pressed(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        nonlocal done
        done += 1
        if done % steps == 0:
            signal.raise_signal(signal.SIGINT)
        return step(self, state, group)

    monkeypatch.setattr(Training, "_step", pressed)


def history(run: Path) -> list[dict[str, str]]:
    """Give history.csv without what the clock wrote into it."""
    with (run / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def fit_with_stops(make: Callable[[], Training]) -> int:
    stops = 0
    while True:
        try:
            make().fit()
        except KeyboardInterrupt:
            stops += 1
        else:
            return stops


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "clip": 0.5, "balance": "weights"},
        {"optimizer": "adam", "ema": 0.9, "mixup": 0.4, "dropout": 0.5},
        {"optimizer": "rmsprop", "balance": "sampling", "accumulate": 2, "batch": 4, "schedule": "one_cycle"},
        {"optimizer": "adamw", "ema": 0.95, "cutmix": 1.0, "mixup": 0.2, "augment": "strong", "steps": 9},
        {
            "model": "mobilenet_v2",
            "optimizer": "rmsprop",
            "ema": 0.9,
            "mixup": 0.2,
            "dropout": 0.3,
            "balance": "sampling",
        }
        | {"accumulate": 2, "batch": 4, "steps": 4, "keep": "last"},
        {"optimizer": "adamw", "ema": 0.9, "sparsity": 0.7, "keep": "last"},
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_stopped_again_and_again(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, Any]
) -> None:
    state = begin("whole", **settings).fit()
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        stops = fit_with_stops(lambda: begin("parts", **settings))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # The stop is met at the step that it came in; one in the last step of an epoch counts too.
    assert stops == begin("unused", **settings).stage.steps // 3
    assert (parts / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert history(parts) == history(whole)
    assert [row["epoch"] for row in history(parts)] == [str(1 + e) for e in range(state.epoch)]


def command(data: Path, run: Path, *more: str) -> list[str]:
    return [
        *("train", str(data), "--out", str(run), "--model", "mobilenet_v1_cifar", "--width", "0.25", "--size", "16"),
        *("--weights", "none"),
        *("--epochs", "3", "--batch", "6", "--lr", "0.01", "--ema", "0.9", "--mixup", "0.2", "--dropout", "0.3"),
        *("--threads", "1", "--workers", "2", "--device", "cpu", *more),
    ]


@pytest.fixture
def held_up() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in a process of its own and wait until it reaches a step."""
    begun: list[subprocess.Popen[str]] = []

    def start(epoch: int, step: int, seconds: float, arguments: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HELD_UP, str(epoch), str(step), str(seconds), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n", process.communicate()[1]
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def settings_of(run: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((run / "recipe.json").read_bytes())["recipe"]
    return recipe


def test_killed_in_the_middle(photos: Path, tmp_path: Path, held_up: Callable[..., subprocess.Popen[str]]) -> None:
    killed, asked, whole = (tmp_path / name for name in ("killed", "asked", "whole"))

    process = held_up(1, 2, 600, command(photos, killed))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    state = checkpoint.peek(killed)
    assert (state.epoch, state.step) == (1, 0)
    assert not (killed / "metrics.json").exists()

    process = held_up(1, 2, 0.3, command(photos, asked))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == (
        f"mobilenets: stopped; what was done is kept; to continue: mobilenets train {photos} --out {asked} --resume"
    )
    state = checkpoint.peek(asked)
    assert (state.epoch, state.step) == (1, 3)
    assert history(asked) == history(killed)

    metrics = train(photos, whole, **settings_of(killed))
    assert metrics["epochs"] == 3
    for run in (killed, asked):
        resumed = train(photos, run, resume=True)
        assert (run / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
        assert (run / "model.json").read_bytes() == (whole / "model.json").read_bytes()
        assert history(run) == history(whole)
        unlike = ("run", "report", "seconds", "total_seconds", "forecast_seconds", "next_steps")
        assert {k: v for k, v in resumed.items() if k not in unlike} == {
            k: v for k, v in metrics.items() if k not in unlike
        }


def test_lost_before_the_first_checkpoint(
    photos: Path, tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training._step

    def lost(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        if state.step == 2:
            raise RuntimeError("power cut")
        return step(self, state, group)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", lost)
        with pytest.raises(RuntimeError, match="power cut"):
            train(photos, tmp_path / "parts", **small)
    assert not checkpoint.exists(tmp_path / "parts")
    train(photos, tmp_path / "parts", resume=True)
    train(photos, tmp_path / "whole", **small)
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_order_of_samples_survives(
    draw: Callable[..., Path], tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text "cat b/…" comes before "cat/…", but the class cat comes before the class cat b."""
    data = draw(tmp_path / "photos", {"cat": 8, "cat b": 8, "cat-c": 8})
    (data / "cat" / "a").mkdir()
    for number in range(3):
        (data / "cat" / f"00{number}.png").rename(data / "cat" / "a" / f"{number}.png")
    train(data, tmp_path / "whole", **small)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "parts", **small)
    train(data, tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_left_out_test_picture_from_another_place(
    draw: Callable[..., Path], tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, count in (("train", 6), ("validation", 3), ("test", 4)):
        draw(tmp_path / "photos" / part, {"a": count, "b": count})
    (tmp_path / "photos" / "test" / "b" / "000.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    first = train("photos", "run", **small)
    monkeypatch.chdir(tmp_path / "photos")
    again = train("../photos", "../run", resume=True)
    assert again["images"] == first["images"] == 7
    assert again["evaluated_on"] == "test"
    problems = json.loads((tmp_path / "run" / "recipe.json").read_bytes())["data"]["problems"]
    assert [(problem["kind"], problem["path"]) for problem in problems] == [("unreadable", "test/b/000.png")]


def test_what_a_killed_writer_left_is_removed(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None
) -> None:
    train(photos, tmp_path / "run", **small | {"epochs": 1})
    names = (".writing-a.json", "checkpoint/.writing-b.safetensors", ".writing-unfinished")
    left = [tmp_path / "run" / name for name in names]
    for path in left:
        path.touch()
    train(photos, tmp_path / "run", resume=True)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("left", [".writing-x.json", ".writing-unfinished", ".writing-lock"])
@pytest.mark.parametrize("resume", [False, True])
def test_killed_before_anything_was_written(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None, left: str, resume: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / left).touch()
    if left == ".writing-unfinished":
        (run / "model.json").write_text("{}")  # what was written before the kill
    request = Request(photos, run, None, small, resume)
    assert settle(request).recipe.epochs == small["epochs"]
    assert not (run / ".writing-x.json").exists()


def test_two_at_once(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = tmp_path / "run", []
    close = Training._close_epoch

    def meanwhile(self: Training, state: checkpoint.State, lr: float) -> None:
        close(self, state, lr)
        for resume in (True, False):
            with pytest.raises(InputError) as caught:
                train(photos, run, resume=resume, **small)
            said.append(str(caught.value))
        evaluate(run, photos)

    evaluate: Callable[..., Any] = importlib.import_module("mobilenets.verbs.evaluate").evaluate
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_close_epoch", meanwhile)
        train(photos, run, **small | {"epochs": 1})
    assert said == [f"{run}: another training is at work there: wait until it ends, or use another --out"] * 2
    assert not list(run.rglob(".writing-*"))
    train(photos, run, resume=True)


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_removed_while_training(
    photos: Path, tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    run, step = tmp_path / "run", Training._step

    def removed(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        if state.epoch == 1:
            shutil.rmtree(run)
            if again:
                run.mkdir()
        return step(self, state, group)

    monkeypatch.setattr(Training, "_step", removed)
    with pytest.raises(InputError, match=r"run/.*: not written, because the folder .*run was removed or replaced"):
        train(photos, run, **small | {"batch": 30})
    assert list(run.rglob("*")) == []


def test_a_machine_that_is_not_as_it_was(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said in the result, and in every later one of the run."""
    run = tmp_path / "run"
    del small["threads"]
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(photos, run, **small | {"epochs": 1, "batch": 12})
    record = json.loads((run / "recipe.json").read_bytes())
    record["hardware"]["threads"] = 64
    (run / "recipe.json").write_text(json.dumps(record))
    for _ in range(2):
        notes = [note for note in train(photos, run, resume=True)["notes"] if "continued with" in note]
        assert notes == [
            "continued with threads 1 instead of 64: not byte for byte the model of a run that never stopped"
        ]


def test_nothing_to_go_on_with_is_said(
    photos: Path, tmp_path: Path, small: dict[str, Any], undrawn: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mobilenets"):
        train(photos, tmp_path / "new", resume=True, **small | {"epochs": 1})
    assert "there is nothing to continue" in caplog.text
