"""The bare install, ``pip install mobilenets``: NumPy, Pillow and ONNX Runtime, and everything else out of reach."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

import mobilenets
from mobilenets.runtime.bundle import read_bundle, write_bundle

ROOT = Path(__file__).parents[2]
# NumPy, Pillow and ONNX Runtime with what they bring themselves.
BROUGHT = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime", "google", "flatbuffers", "packaging")
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from mobilenets.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packages")
    site = Path(onnxruntime.__file__).parents[1]
    for name in BROUGHT:
        if (site / name).exists():
            (place / name).symlink_to(site / name)
    (place / "mobilenets").symlink_to(Path(mobilenets.__file__).parent)
    return place


@pytest.fixture
def bare(packages: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        # Without site, so that nothing else of this environment can be imported.
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(packages), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="module")
def exported(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare") / "exported"
    assert mobilenets.export(trained.run, out)["passed"]
    return out


def test_what_a_bare_install_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {entry.split(">")[0] for entry in project["dependencies"]} == {"numpy", "onnxruntime", "pillow"}


def test_torch_is_out_of_reach(packages: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(packages)!r}); import mobilenets; import torch"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in done.stderr


@pytest.mark.parametrize("what", ["run", "export"])
def test_predicts(bare: Any, trained: Any, exported: Path, what: str) -> None:
    path = trained.data / "owl/003.png"
    done = bare("predict", exported if what == "export" else trained.run, path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)["predictions"]
    [expected] = mobilenets.predict(mobilenets.Predictor(trained.run, runtime="torch"), path)
    assert [entry["label"] for entry in said] == [entry["label"] for entry in expected["predictions"]]
    for entry, same in zip(said, expected["predictions"], strict=True):
        assert entry["probability"] == pytest.approx(same["probability"], abs=1e-5)


def test_predicts_many(bare: Any, trained: Any, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = bare(
        "predict", exported, trained.data / "owl", "--engine", "local", "--out", out, "--workers", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pictures"] == 20 and [file.name for file in out.glob("answers/*")] == [
        "part-00000.jsonl"
    ]


def test_evaluates(bare: Any, trained: Any, exported: Path) -> None:
    done = bare("evaluate", exported, trained.data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 60


def test_checks_and_sends_nobody_to_a_page_that_is_not_there(bare: Any, trained: Any, tmp_path: Path) -> None:
    data = shutil.copytree(trained.data, tmp_path / "data")
    (data / "owl/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    done = bare("check", data, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "There is no page: jinja2 is not installed (" in done.stdout
    assert "\nEdit the fixes, then:\n" in done.stdout


def test_sums_up(bare: Any) -> None:
    done = bare("summary", "mobilenet_v2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"] == 3_504_872


def test_benchmarks(bare: Any, exported: Path) -> None:
    done = bare("benchmark", exported, "--threads", "1", "--batch", "1", "--seconds", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["runtime"].startswith("onnxruntime")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("predict {old} {picture}", "which is not installed: give an exported file, or install it: "),
        ("predict {run} {picture} --explain {out}", "pip install"),
        ("train {data} --out {out}", "pip install"),
        ("export {run} --out {out}", "pip install"),
        ("summary mobilenet_v2 --diagram {out}.png", "pip install"),
        ("serve {exported} --port 0", "pip install"),
        ("evaluate {exported} {data} --out {out}", "pip install"),
        ("predict {exported} {picture} --sheet {out}.png", "pip install"),
    ],
)
def test_what_is_missing_is_said(
    bare: Any, words: str, says: str, trained: Any, exported: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(trained.run / "model.safetensors", old)
    write_bundle(old, replace(read_bundle(trained.run), graph=None))
    places = {"old": old, "run": trained.run, "data": trained.data, "picture": trained.data / "owl/003.png"}
    done = bare(*words.format(**places, exported=exported, out=tmp_path / "out").split())
    assert done.returncode == 2 and says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
