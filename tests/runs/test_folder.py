"""Where things are written when nobody said where."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.runs.folder import check_folder, export_folder, model_folder, run_folder

SETTINGS = {"model": "mobilenet_v1_cifar", "width": 0.25, "size": 32, "epochs": 1, "batch": 8, "threads": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_next_free_run(here: Path) -> None:
    (here / "my photos").mkdir()
    with run_folder("my photos", None, False) as first, run_folder(here / "my photos", None, False) as second:
        assert (first, second) == (Path("runs/my photos-1"), Path("runs/my photos-2"))
        (first / "recipe.json").touch()
    # The one into which nothing was written is given back.
    with run_folder("my photos", None, False) as third:
        assert third == second
    with run_folder("my photos", "elsewhere", False) as given:
        assert given == Path("elsewhere")


def test_nothing_is_left_of_a_mistake(here: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="unknown augmentation 'rain'"):
        mobilenets.train(photos, augment="rain")
    with pytest.raises(InputError, match="nowhere"):
        mobilenets.train("nowhere")
    assert list(here.iterdir()) == []


def test_train_and_resume_without_out(
    here: Path, photos: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    def command(*words: object) -> tuple[int, str, str]:
        return main([str(word) for word in words]), *capsys.readouterr()

    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    status, out, err = command("train", photos, *words, "--device", "cpu")
    assert status == 0
    assert "run folder: runs/photos-1" in err.splitlines()
    assert "The run:     runs/photos-1" in out.splitlines()
    status, out, err = command("train", photos, "--resume")
    assert (status, out) == (2, "")
    said = f"there is no unfinished run on {photos} in runs: name the run to continue with --out RUN"
    assert err == f"mobilenets: {said}\n"
    (here / "runs/photos-1/metrics.json").unlink()
    shutil.copytree(here / "runs/photos-1", here / "runs/photos-7")
    os.utime(here / "runs/photos-1/recipe.json", (1, 1))
    assert mobilenets.train(photos, resume=True)["run"] == "runs/photos-7"


def test_models_and_exports(here: Path) -> None:
    assert model_folder("down/mobilenet_v2.weights.h5") == Path("models/mobilenet_v2")
    (here / "models/mobilenet_v2").mkdir(parents=True)
    (here / "models/mobilenet_v2/model.json").touch()
    assert model_folder("mobilenet_v2.h5") == Path("models/mobilenet_v2-2")
    assert export_folder(Path("run"), "onnx", "float32") == Path("run/exported-onnx")
    assert export_folder(Path("run"), "litert", "int8") == Path("run/exported-litert-int8")


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_disk_that_fills_up_at_a_checkpoint(here: Path, photos: Path) -> None:
    """The largest file allowed is smaller than a checkpoint: said in a line, with how to go on, and it does go on."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    words = [str(word) for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "mobilenets", "train", str(photos), "--out", "the run"]

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    given: dict[str, Any] = {"env": environment, "capture_output": True, "text": True, "timeout": 120, "check": False}
    done = subprocess.run([*command, *words, "--device", "cpu"], preexec_fn=limit, **given)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        ": cannot be written: File too large; free some space, then: "
        f"mobilenets train {photos} --out 'the run' --resume"
    )
    assert list((here / "the run").rglob(".writing-*")) == []
    done = subprocess.run([*command, "--resume"], **given)
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "the run/metrics.json").read_bytes())["epochs"] == 1


def test_a_folder_on_a_read_only_drive_is_not_said_to_lack_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="Permission denied"):
        check_folder(tmp_path / "run")
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(InputError, match="Read-only file system"):
        check_folder(tmp_path / "run")
