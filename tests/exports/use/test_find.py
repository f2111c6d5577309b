"""The Python of a detector's USE.md, without the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mobilenets

LESS = {"PYTHONPATH": ""}


@pytest.mark.parametrize(("nms", "interpolation"), [(False, "bilinear"), (True, "corner")])
def test_finds_what_predict_finds(
    finder: Any, finder_by: Callable[[str], Path], nms: bool, interpolation: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert mobilenets.export(finder_by(interpolation), out, data=finder.data, nms=nms)["passed"]
    assert ("box_scales" in (out / "USE.md").read_text()) is not nms
    assert {path.name for path in (out / "use").iterdir()} == {"predict.py", "find.py"}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(out / "use/find.py"), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | LESS, cwd=tmp_path)

    assert run("--check").returncode == 0
    golden = json.loads((out / "model.json").read_bytes())["export"]["golden"]
    assert run("--test", finder.data).stdout.count("OK ") == len(golden) > 1
    picture = finder.data / "pictures/004.png"
    expected = [
        f"{picture} {one['label']} {one['score']:.1%} " + " ".join(str(round(side)) for side in one["box"])
        for one in next(mobilenets.predict(out, picture))["detections"]
    ]
    assert expected and run(picture).stdout.splitlines() == expected
    for one in golden:
        other = tmp_path / "other" / one["picture"]
        other.parent.mkdir(parents=True, exist_ok=True)
        Image.open(finder.data / one["picture"]).rotate(180).save(other)
    failed = run("--test", tmp_path / "other")
    assert failed.returncode == 1 and "PIXELS DIFFER" in failed.stdout
