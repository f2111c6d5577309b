"""A few of the faults of ``benchmarks/kills.py``, in a process of its own because it forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which Windows has not")
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_the_next_command_works(kind: str) -> None:
    only = {"kill": ["train", "import"], "full": ["import"]}[kind]
    words = [sys.executable, "benchmarks/kills.py", "--kind", kind, "--faults", "4", "--only", *only]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kind}: 4 faults, " in done.stdout and done.stdout.count(" 0 problems") == len(only) + 1
