"""A run that is taken up again, whole or damaged, with the same or other settings and pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.training import checkpoint
from mobilenets.verbs.train import train

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Take the time of no plot: these tests are about weights."""


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


def test_weights_may_be_gone_by_then(photos: Path, copied: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    first = train(photos, tmp_path / "run", freeze="backbone", **small | {"epochs": 1, "weights": str(copied)})
    shutil.rmtree(copied)
    assert train(photos, tmp_path / "run", resume=True, freeze="backbone")["loss"] == first["loss"]
