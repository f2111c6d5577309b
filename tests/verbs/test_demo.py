"""The demo's flow, on its real pictures, with a training of two steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets

import mobilenets
from mobilenets.cli import main
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.errors import InputError
from mobilenets.training.recipes import RECIPES

ROOT = Path(__file__).parents[2]

RUN_FILES = {
    *("model.safetensors", "model.json", "model.onnx", "recipe.json", "split.csv", "history.csv", "metrics.json"),
    *("seen.csv", "lr.png", "curves.png", "confusion.png", "report.html", "checkpoint"),
    *("distance.safetensors", "thumbnails.npz", "copies.json"),
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried = RECIPES["digits"].replace(steps=2, width=0.05, batch=8, threads=1, device="cpu", augment="none")
    monkeypatch.setitem(RECIPES, "digits", hurried)
    # All 1,797 of them are counted in tests/datasets/test_known.py.
    bunch = sklearn.datasets.load_digits()
    bunch.images, bunch.target = bunch.images[:200], bunch.target[:200]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: bunch)


def test_whole_way(
    hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my demo"
    assert main(["demo", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert {path.name for path in (out / "run").iterdir()} == RUN_FILES
    assert len(list((out / "digits/train").rglob("*.png"))) == 160
    assert printed.err.splitlines()[0].startswith("1/2  pictures: ")
    lines = printed.out.splitlines()
    assert lines[0] == "40 pictures (validation)"
    assert lines[-5:] == [
        f"The report:  {out / 'run/report.html'}",
        "Next:",
        f"  mobilenets predict '{out / 'run'}' '{out / 'digits'}' --top 3",
        f"  mobilenets serve '{out / 'run'}'    # a page to try it on",
        f"  mobilenets export '{out / 'run'}'   # a file for a phone, a browser or a server",
    ]
    # A second demo does not write over the first; --resume goes on with it, here to say it all again.
    assert main(["demo", "--out", str(out)]) == 2
    assert "is not empty: continue it with --resume" in capsys.readouterr().err
    weights = (out / "run/model.safetensors").read_bytes()
    # Which take most of the time.
    for name in ("results.draw_curves", "class_report.draw_figures", "class_report.write_report"):
        monkeypatch.setattr(f"mobilenets.runs.{name}", lambda *_: None)
    assert main(["demo", "--out", str(out), "--resume", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (result["images"], result["data"]) == (40, str(out / "digits"))
    assert (out / "run/model.safetensors").read_bytes() == weights


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for resume in (False, True):
        with pytest.raises(InputError, match="is a file: give a folder with --out"):
            mobilenets.demo(tmp_path / "file", resume=resume)
    with pytest.raises(InputError, match="is not empty"):
        mobilenets.demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilenets.verbs.demo.fetch", stop)
    assert main(["demo", "--out", str(tmp_path / "new")]) == 130
    assert capsys.readouterr().err.endswith(
        "mobilenets: stopped before anything was done: run the same command again\n"
    )
    monkeypatch.setattr("mobilenets.verbs.demo.train", stop)
    (tmp_path / "my demo/digits").mkdir(parents=True)
    assert main(["demo", "--out", str(tmp_path / "my demo"), "--resume"]) == 130
    assert capsys.readouterr().err.endswith(f"to continue: mobilenets demo --out '{tmp_path / 'my demo'}' --resume\n")


def test_detection_draws_shapes_and_trains_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("mobilenets.verbs.demo.PICTURES", 6)
    monkeypatch.setattr("mobilenets.verbs.demo.train", lambda *given, **more: asked.append((given, more)) or {})
    mobilenets.demo(tmp_path / "demo", task="detection")
    shapes = tmp_path / "demo/shapes"
    assert asked == [((shapes, tmp_path / "demo/run"), {"recipe": "shapes", "resume": False})]
    assert len(list(shapes.rglob("*.jpg"))) == 6 and is_detection(shapes)
    with pytest.raises(InputError, match="choose classification or detection"):
        mobilenets.demo(tmp_path / "other", task="segmentation")  # type: ignore[arg-type]


def test_make_demo_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")

    def commands() -> str:
        told = [make, "-n", "-o", ".venv/.train", "-f", ROOT / "Makefile", "demo"]
        alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(told, cwd=tmp_path, env=alone, capture_output=True, text=True, check=True).stdout

    assert commands().split() == [".venv/bin/mobilenets", "demo", "--out", "demo"]
    (tmp_path / "demo").mkdir()
    assert commands().split() == [".venv/bin/mobilenets", "demo", "--out", "demo", "--resume"]
