from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mobilenets
from mobilenets.bench.latency import (
    ROUNDS,
    describe_machine,
)
from mobilenets.bench.models import write_device_script
from mobilenets.cli.benchmark import benchmarked
from mobilenets.errors import InputError

KEYS = {
    *("model", "runtime", "precision", "threads", "batch", "p50_ms", "p95_ms", "p99_ms", "images_per_second"),
    *("peak_rss_mb", "load_ms", "bytes", "runs", "machine", "runtime_version"),
}
has_onnx = pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="onnx is not installed")


@pytest.fixture(scope="module")
def exported(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert mobilenets.export(trained.run, folder, data=trained.data)["passed"]
    return folder


def sound(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) >= KEYS
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["images_per_second"] > 0
        assert 10 < row["peak_rss_mb"] < 10_000
        assert row["load_ms"] > 0
        assert row["machine"] == describe_machine()
    json.dumps(rows, allow_nan=False)


def test_a_run_in_pytorch(trained: Any) -> None:
    rows = mobilenets.benchmark(trained.run, threads=[1], batches=[2, 1], seconds=0.05)
    sound(rows)
    assert [row["batch"] for row in rows] == [1, 2]
    for row in rows:
        assert (row["model"], row["runtime"], row["precision"]) == (str(trained.run), "torch", "float32")
        assert row["bytes"] == (trained.run / "model.safetensors").stat().st_size
        assert row["runs"] >= ROUNDS
        assert row["runtime_version"].startswith("2.")


@has_onnx
def test_a_row_for_everything(trained: Any, exported: Path, tmp_path: Path) -> None:
    rows = mobilenets.benchmark(
        [trained.run, exported],
        runtimes=["onnxruntime", "torch"],
        threads=[1, 2],
        batches=[1, 3],
        seconds=0.05,
        out=tmp_path / "out",
    )
    sound(rows)
    assert [(row["model"], row["runtime"], row["threads"], row["batch"]) for row in rows] == [
        (str(model), runtime, threads, batch)
        for model, runtime in ((trained.run, "torch"), (exported, "onnxruntime"))
        for threads in (1, 2)
        for batch in (1, 3)
    ]
    # PyTorch alone needs more than all of ONNX Runtime with it.
    assert min(row["peak_rss_mb"] for row in rows[:4]) > max(row["peak_rss_mb"] for row in rows[4:])
    assert json.loads((tmp_path / "out/benchmark.json").read_bytes()) == rows
    with Image.open(tmp_path / "out/benchmark.png") as picture:
        assert picture.format == "PNG"
    text = benchmarked(rows)
    assert len(text.splitlines()) == 3 + len(rows)
    assert "onnxruntime" in text


@has_onnx
def test_exported_files_need_neither_torch_nor_matplotlib(exported: Path, tmp_path: Path) -> None:
    program = """
import importlib.util, logging, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "matplotlib" else found(name, *rest)
logging.basicConfig(format="%(message)s")
import mobilenets
rows = mobilenets.benchmark(sys.argv[1], runtimes=["onnxruntime"], batches=[1], seconds=0.05, out=sys.argv[2])
assert len(rows) == 1
"""
    # In the processes that it starts there is no torch either.
    for name in ("torch", "onnx", "safetensors"):
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text(f"raise ImportError('no {name}')")
    places = [str(tmp_path / "absent"), str(Path(mobilenets.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    words = [sys.executable, "-c", program, str(exported), str(tmp_path / "out")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no plot was drawn" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["benchmark.json"]


@has_onnx
def test_a_file_that_resizes_gets_pictures_of_a_camera(trained: Any, tmp_path: Path) -> None:
    assert mobilenets.export(trained.run, tmp_path / "out", camera=True)["passed"]
    rows = mobilenets.benchmark(tmp_path / "out", runtimes=["onnxruntime"], threads=[1], batches=[2], seconds=0.05)
    sound(rows)
    assert [row["geometry"] for row in rows] == ["inside"]
    script = write_device_script(tmp_path / "bench.py")
    words = [str(tmp_path / "out/model.onnx"), "--threads", "1", "--batch", "2", "--seconds", "0.05"]
    done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [row["batch"] for row in json.loads(done.stdout)] == [2]


@has_onnx
def test_the_device_script_times_each_layer(trained: Any, exported: Path, tmp_path: Path) -> None:
    script = write_device_script(tmp_path / "bench.py")
    words = [str(exported / "model.onnx"), "--threads", "1", "--batch", "2", "1", "--seconds", "0.05", "--layers"]
    done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)
    assert "layers" not in two and all(0 <= ms < 1e3 for ms in one["layers"].values())
    # By the names of the network's layers, or of what an activation was joined to.
    network = mobilenets.load_model(trained.run)
    named = {name.removesuffix(".conv") for name in one["layers"]}
    assert {part.name for part in network.plan.convolutions} <= named
    # Where the profile cannot be read, what was measured before is kept.
    source = script.read_text("utf-8")
    script.write_text(source.replace("session.end_profiling()", "'gone.json'"), "utf-8")
    done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 2 and "its layers cannot be timed" in done.stderr
    assert [(row["batch"], "layers" in row) for row in json.loads(done.stdout)] == [(1, False), (2, False)]
    words = [str(exported / "model.onnx"), "--batch", "2", "--layers"]
    done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--layers times single pictures: give --batch 1 too" in done.stderr


@has_onnx
def test_the_device_script_stands_alone(exported: Path, tmp_path: Path) -> None:
    script = write_device_script(tmp_path / "elsewhere" / "bench.py")
    # The same file again is no loss.
    assert write_device_script(script) == script
    words = [str(exported / "model.onnx"), "--threads", "1", "2", "--batch", "4", "1", "--seconds", "0.05"]
    assert "from mobilenets" not in script.read_text("utf-8")
    # -I: neither the tests' path nor the folder of the sources.
    done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    sound(rows)
    assert [(row["threads"], row["batch"]) for row in rows] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert {row["precision"] for row in rows} == {"float32"}


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere.onnx", "there is no such file"), ("junk.onnx", "cannot be opened")]
)
def test_the_device_script_says_what_is_wrong(name: str, words: str, tmp_path: Path) -> None:
    script = write_device_script(tmp_path / "bench.py")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    done = subprocess.run([sys.executable, script, tmp_path / name], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_device_script_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        write_device_script(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"ends in \.py"):
        write_device_script(tmp_path / "bench.sh")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threads": [0]}, "threads 0: give a number from 1"),
        ({"threads": []}, "no threads"),
        ({"batches": [1, -2]}, "batch -2: give a number from 1"),
        ({"seconds": 0.0}, "seconds 0: give a number above 0"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"runtimes": ["abacus"]}, "runtime 'abacus': choose executorch, litert, onnxruntime, openvino, torch"),
        ({"runtimes": ["onnxruntime"]}, "a run folder runs in torch, not in onnxruntime"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], words: str, trained: Any) -> None:
    with pytest.raises(InputError, match=words):
        mobilenets.benchmark(trained.run, **settings)


def test_no_model_and_no_place(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model to measure"):
        mobilenets.benchmark([])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no folder can be written there"):
        mobilenets.benchmark(trained.run, out=tmp_path / "file" / "out")


def test_a_model_that_cannot_be_opened_is_one_line(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes((trained.run / "model.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="is damaged") as caught:
        mobilenets.benchmark(tmp_path, seconds=0.05)
    assert "\n" not in str(caught.value)
