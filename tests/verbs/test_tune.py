"""``tune``: trials of settings, in a study that goes on where it was stopped."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import FaultFound, InputError
from mobilenets.training import loop
from mobilenets.training.checkpoint import State
from mobilenets.training.recipes import load_recipe
from mobilenets.verbs import tune as verb

REASON = "Optuna is not installed (pip install -e '.[tune]')"


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Take the time of no plot of a run."""


@pytest.fixture
def command(photos: Path, tmp_path: Path) -> list[str]:
    network = ["--model", "mobilenet_v1_cifar", "--width", "0.25", "--size", "16", "--weights", "none"]
    how = ["--epochs", "3", "--lr", "0.01", "--device", "cpu", "--threads", "1", "--workers", "1"]
    return ["tune", str(photos), "--out", str(tmp_path / "tuned"), "--trials", "4", *network, *how]


def test_without_optuna(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"tune needs Optuna: .*pip install .*tune"):
        mobilenets.tune(photos, tmp_path / "tuned")
    assert not list(tmp_path.iterdir())


def test_stopped_and_taken_up(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason=REASON)
    out = tmp_path / "tuned"
    made: Callable[..., Any] = verb.train_since
    tried = []

    def train_since(began: float, data: Path, run: Path, **settings: Any) -> Any:
        tried.append((run.name, settings["resume"]))
        if run.name == "003":
            raise FaultFound("the loss is nan")
        return made(began, data, run, **settings)

    monkeypatch.setattr(verb, "train_since", train_since)
    told: Callable[..., None] = loop.epoch_done
    done = 0

    def pressed(state: State) -> None:
        nonlocal done
        done += 1
        if done in (4, 6):  # in the second trial, when an epoch is kept and nobody has heard of it
            raise KeyboardInterrupt
        told(state)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "epoch_done", pressed)
        assert (main(command), main(command)) == (130, 130)
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert main([*command, "--dropout", "0.3"]) == 2
    assert "begun with other pictures or settings" in capsys.readouterr().err
    assert not (out / "recipe.json").exists()

    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert tried == [("000", False), ("001", False), ("001", True), ("002", False), ("003", False)]
    rows = result["trials"]
    assert [row["number"] for row in rows] == [0, 1, 2, 3] and rows[3]["state"] == "failed"
    assert (rows[3]["why"], rows[0]["state"], rows[1]["state"]) == ("the loss is nan", "complete", "complete")
    assert list(rows[1]["epochs"]) == ["1", "2", "3"] and rows[2]["settings"].keys() == rows[1]["settings"].keys()
    assert rows[0]["settings"]["dropout"] is None and "lr" not in rows[0]["settings"]
    # The best, and the first beside it, are runs that were measured.
    assert json.loads((out / "tune.json").read_text()) == {name: result[name] for name in result if name != "folder"}
    best = max((row for row in rows if row["value"] is not None), key=lambda row: (row["value"], -row["number"]))
    assert result["best"] == best["number"] and Path(result["run"]) == out / f"trials/{best['number']:03}"
    assert json.loads((Path(result["run"]) / "metrics.json").read_text())["evaluated_on"] == "validation"
    assert "a test/ folder" in result["notes"][0] and (out / "tune.png").stat().st_size > 1000
    recipe = load_recipe(out / "recipe.json")
    assert {name: getattr(recipe, name) for name in best["settings"]} == best["settings"]
    with sqlite3.connect(out / "study.db") as file:
        assert file.execute("select count(*) from trials").fetchone() == (4,)
    # Nothing is left to do: the same command says the same.
    tried.clear()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert not tried and "3 trials ran to the end, 1 failed" in said and "--recipe" in said


def test_a_trial_behind_the_others_is_given_up(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna", reason=REASON)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 1)
    assert main([*command, "--trials", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in result["trials"]] == ["complete", "pruned"]
    assert list(result["trials"][1]["epochs"]) == ["1"] and result["changes"] == {} and result["compare"] is None
    assert [path.name for path in (tmp_path / "tuned/trials").iterdir()] == ["000"]


def test_the_clock(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason=REASON)
    assert main([*command, "--minutes", "0.0001"]) == 2
    assert "one trial takes about" in capsys.readouterr().err
    ahead, clock = 0.0, time.monotonic
    first: Callable[..., Any] = verb._first

    def later(*given: Any) -> Any:
        nonlocal ahead
        found = first(*given)
        ahead = 3600.0
        return found

    with monkeypatch.context() as patch:
        patch.setattr(verb, "_first", later)
        patch.setattr(time, "monotonic", lambda: clock() + ahead)
        assert main([*command, "--minutes", "50", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials 0"),
        ({"minutes": 0}, "minutes 0"),
        ({"minutes": float("nan")}, "minutes nan"),
        ({"folds": 3}, "folds: not for a trial"),
        ({"seeds": 3}, "seeds: not for a trial"),
        ({"task": "detection"}, "only classifiers"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be(photos: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("optuna", reason=REASON)
    given = {"data": photos, "out": tmp_path / "tuned", "weights": "none", **settings}
    with pytest.raises(InputError, match=message):
        mobilenets.tune(**given)
    assert not (tmp_path / "tuned").exists()
