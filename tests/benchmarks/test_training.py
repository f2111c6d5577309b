"""The comparison of training steps runs, keeps its figures, and says what it leaves out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def drive(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "training.py"), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_two_peers_take_turns(tmp_path: Path) -> None:
    out = tmp_path / "training.json"
    done = drive(
        *("--case", "v2-32x2", "--threads", "1", "--rounds", "1", "--seconds", "0.05", "--out", str(out)),
        *("--peers", "ours", "pytorch_channels_last", "mindspore", "keras_tensorflow"),
        # Neither is there: one has no environment, and the other's has not what it needs.
        *("--python", f"mindspore={sys.executable}", f"pytorch={sys.executable}", "--busy"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text("utf-8"))

    rows = {(row["peer"], row["condition"]): row for row in result["rows"]}
    both = ("ours", "pytorch_channels_last")
    assert set(rows) == {(peer, condition) for peer in both for condition in ("quiet", "busy")}
    for row in rows.values():
        assert row["steps"] >= 1 and row["pictures_per_second"] > 0
        assert row["cpu_seconds_per_picture"] > 0
        assert 50 < row["peak_rss_mb"] < 5000
        assert row["about"]["parameters"] == 3_504_872
        assert row["about"]["versions"]["torch"]
    [floor] = result["floor"]
    assert floor["parameters"] == 3_504_872 and result["faults"] == []
    assert floor["pictures_per_second"] > 0
    assert result["machine"]["cores"] >= 1 and result["date"]

    assert "mindspore" in result["left_out"]["mindspore v2-32x2 1"]
    assert "--set-up" in result["left_out"]["keras_tensorflow"]
    assert "left out: keras_tensorflow" in done.stderr
    assert "| mobilenets |" in done.stdout and "| PyTorch, channels_last |" in done.stdout
    assert "Floor:" in done.stdout


@pytest.mark.parametrize("case", ["v5-32x2", "v2-32", "v2-0x2"])
def test_a_case_that_is_none_is_refused(case: str) -> None:
    done = drive("--case", case)
    assert done.returncode == 2
    assert "give one like v2-224x16" in done.stderr


def test_another_network_is_told() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        check_networks = load("training").check_networks
    finally:
        sys.path.remove(str(BENCHMARKS))
    rows = [{"peer": peer, "case": "v2-32x2", "about": {"parameters": count}} for peer, count in (("a", 7), ("b", 8))]
    [fault] = check_networks(rows, [{"case": "v2-32x2", "parameters": 7}])
    assert fault.startswith("b has 8 parameters")


def test_the_floor_counts_every_map_of_v1() -> None:
    # Table 1 of arXiv 1704.04861 at 224: side and channels of the input and output of each layer.
    layers = [(224, 3, 112, 32)]
    side, channels = 112, 32
    for outputs, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]:
        layers += [(side, channels, side // stride, channels), (side // stride, channels, side // stride, outputs)]
        side, channels = side // stride, outputs
    values = sum(3 * s * s * c + 3 * t * t * d for s, c, t, d in layers) - 224 * 224 * 3 + 7 * 7 * 1024
    weights = 4_231_976 * (3 + 7)

    floor = load("floor").floor("v1", 224, 16, 1000, "adamw")
    assert floor.bytes == 4 * (16 * values + weights)
    # 569 M multiply-accumulates, table 4.
    assert floor.operations == pytest.approx(6 * 16 * 569e6, rel=0.01)
    assert floor.seconds(1e9, 1e9) == (floor.bytes / 1e9, floor.operations / 1e9)
