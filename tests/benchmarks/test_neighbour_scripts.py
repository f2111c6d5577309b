"""The scripts about a busy machine, memory and the GPU run, in their smallest form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def printed(name: str, *words: str) -> str:
    command = [sys.executable, str(SCRIPTS / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neighbour() -> None:
    words = ["--size", "32", "--batch", "4", "--threads", "1", "--rounds", "1", "--seconds", "0.1"]
    table = printed("neighbour.py", *words)
    assert [row.split("|")[1].strip() for row in table.splitlines()[2:]] == [
        "plain, quiet",
        "plain, busy",
        "ours, quiet",
        "ours, busy",
    ]
    assert "| ours, quiet |" in table and table.splitlines()[4].endswith("| 1.00 |")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory() -> None:
    words = ["--model", "mobilenet_v1_cifar", "--pictures", "6", "--epochs", "2", "--size", "32", "--batch", "4"]
    epochs, _, sizes = printed("memory.py", *words).partition("\n\n")
    assert [row.split("|")[1].strip() for row in epochs.splitlines()[2:]] == ["1", "2"]
    assert [row.split("|")[1].strip() for row in sizes.splitlines()[2:]] == ["6", "60"]


def test_gpu_script_on_the_cpu() -> None:
    words = ["--device", "cpu", "--size", "32", "--batch", "4", "--seconds", "0.1", "--no-compile"]
    table = printed("gpu.py", *words, "--models", "mobilenet_v2")
    ways = [row.split("|")[2].strip() for row in table.splitlines() if row.startswith("| mobilenet_v2")]
    assert ways[:2] == ["mobilenets", "PyTorch eager"]
