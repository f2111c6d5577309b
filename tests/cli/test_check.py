"""What ``mobilenets check`` says, and its exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def draw_scenes(folder: Path, names: tuple[str, ...], count: int, seed: int) -> None:
    """Write pictures of random patches, of one size and format: nothing tells the classes but their content."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng((seed, label, number))
            patches = Image.fromarray(rng.integers(0, 255, (7, 7, 3), np.uint8))
            patches.resize((64, 64), Image.Resampling.BICUBIC).save(folder / name / f"{number:02}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_scenes(tmp_path / "photos/train", ("cat", "dog"), 10, 0)
    draw_scenes(tmp_path / "photos/validation", ("cat", "dog"), 5, 1)
    return tmp_path / "photos"


def leak(data: Path) -> None:
    """Do as the tutorial's script did: copy training pictures into the validation folder."""
    for number in range(3):
        shutil.copy(data / f"train/cat/0{number}.png", data / f"validation/cat/1{number}.png")


def test_nothing_is_found_and_nothing_is_written(data: Path, tmp_path: Path, command: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("check", "photos")
    assert status == 0
    assert out == "30 pictures of 2 classes (20 train, 10 validation)\nNothing wrong was found.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_leak_is_the_first_line(data: Path, tmp_path: Path, command: Any, monkeypatch: Any) -> None:
    leak(data)
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("check", "photos")
    assert status == 1
    assert out.startswith(
        "3 of 13 validation pictures are in training too: the accuracy measured on them is too high ("
    )
    assert "train photos --fixes checks/photos-1/fixes.csv" in out
    assert sorted(path.name for path in (tmp_path / "checks/photos-1").iterdir()) == [
        "check.html",
        "check.json",
        "fixes.csv",
    ]
    command("check", "photos")
    assert (tmp_path / "checks/photos-2/check.html").is_file()


def test_json_has_what_is_promised(data: Path, tmp_path: Path, command: Any) -> None:
    leak(data)
    (data / "train/cat/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    status, out, _ = command("check", data, "--json", "--out", tmp_path / "found")
    result = json.loads(out)
    assert status == 1
    assert (result["images"], result["classes"]) == (34, {"cat": 19, "dog": 15})
    leaks = [one for one in result["problems"] if one["kind"] == "leak"]
    assert leaks[0] == {
        "kind": "leak",
        "path": "validation/cat/10.png",
        "detail": "same file",
        "partner": "train/cat/00.png",
        "score": 1.0,
        "suggestion": "drop partner",
    }
    assert [one["path"] for one in result["problems"] if one["kind"] == "unreadable"] == ["train/cat/broken.jpg"]
    assert {"kind", "path", "detail"} <= result["problems"][-1].keys()
    assert json.loads((tmp_path / "found/check.json").read_text("utf-8")) == result
