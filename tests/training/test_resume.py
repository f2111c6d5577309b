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


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """Give a copy of a finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


def test_finished_run_stays(photos: Path, copied: Path) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir() if path.is_file()}
    state = (copied / checkpoint.FILE).read_bytes()
    train(photos, copied, resume=True)
    for name in (WEIGHTS, "model.json", "history.csv", "recipe.json", "split.csv"):
        assert (copied / name).read_bytes() == before[name], name
    # The commands that it advises name the folder of the run, which has moved.
    metrics = [json.loads(content) for content in (before["metrics.json"], (copied / "metrics.json").read_bytes())]
    assert metrics[0].pop("next_steps") is not None and metrics[1].pop("next_steps") is not None
    assert metrics[0] == metrics[1]
    assert metrics[0]["total_seconds"] > metrics[0]["seconds"] > 0
    assert (copied / checkpoint.FILE).read_bytes() == state


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 5}, "here epochs 2: leave --epochs out"),
        ({"weight_decay": 0.1}, "here weight_decay 0.05: leave --weight-decay out"),
        ({"recipe": "digits"}, "leave --recipe out"),
        ({"resume": False}, "is not empty: continue it with --resume, or use another --out"),
    ],
)
def test_changed_settings(photos: Path, finished: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        train(photos, finished, **({"resume": True} | arguments))
    assert "\n" not in str(caught.value)


def test_same_settings_are_fine(photos: Path, copied: Path) -> None:
    assert train(photos, copied, recipe="photos", resume=True, epochs=2, width=0.25)["epochs"] == 2


@pytest.mark.parametrize("change", ["edited", "gone", "swapped"])
def test_changed_pictures(photos: Path, copied: Path, tmp_path: Path, change: str) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "photos"))
    one, two = data / "red" / "000.png", data / "red" / "001.png"
    if change == "edited":
        one.write_bytes(one.read_bytes() + b"\0")
    elif change == "gone":
        one.unlink()
    else:
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
    with pytest.raises(InputError, match="no longer exists" if change == "gone" else "have changed") as caught:
        train(data, copied, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("recipe.json", b"{"), ("recipe.json", b"[]"), ("checkpoint/state.safetensors", b"x" * 50)],
)
def test_damaged_run(photos: Path, copied: Path, name: str, content: bytes) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(InputError, match="damaged") as caught:
        train(photos, copied, resume=True)
    assert "\n" not in str(caught.value)


def test_truncated_checkpoint(photos: Path, copied: Path) -> None:
    path = copied / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged, so the run cannot be continued"):
        train(photos, copied, resume=True)


def test_no_run_to_go_on_with(photos: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no run to continue: use another --out"):
        train(photos, tmp_path / "other", resume=True, **small)
    # What was stopped before it had written recipe.json is begun anew.
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "split.csv").write_text("image,class,split\n")
    assert train(photos, tmp_path / "stub", resume=True, **small | {"epochs": 1})["epochs"] == 1


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


def test_weights_may_be_gone_by_then(photos: Path, copied: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    first = train(photos, tmp_path / "run", freeze="backbone", **small | {"epochs": 1, "weights": str(copied)})
    shutil.rmtree(copied)
    assert train(photos, tmp_path / "run", resume=True, freeze="backbone")["loss"] == first["loss"]


def test_stop_in_the_last_validation(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    close = Training._close_epoch

    def pressed(self: Training, state: checkpoint.State, lr: float) -> None:
        signal.raise_signal(signal.SIGINT)
        close(self, state, lr)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_close_epoch", pressed)
        with pytest.raises(KeyboardInterrupt):
            begin(epochs=1).fit()
    assert checkpoint.peek(tmp_path / "run").finished
    weights = (tmp_path / "run" / WEIGHTS).read_bytes()
    assert begin(epochs=1).fit().epoch == 1
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == weights


def test_second_ctrl_c_acts_at_once(begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def twice(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was not met")

    monkeypatch.setattr(Training, "_step", twice)
    with pytest.raises(KeyboardInterrupt):
        begin().fit()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_both_signals_at_once_are_one_request(
    begin: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    step = Training._step

    def both(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        # Kept back and let through together, as they come when a terminal is closed.
        signals = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for number in signals:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return step(self, state, group)

    monkeypatch.setattr(Training, "_step", both)
    with pytest.raises(KeyboardInterrupt):
        begin().fit()
    assert checkpoint.peek(tmp_path / "run").step == 1
    assert capfd.readouterr().err == ""


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
