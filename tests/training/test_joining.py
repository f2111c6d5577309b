"""Processes find one another, and end with one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mobilenets
from mobilenets.training import checkpoint

PROGRAM = """
import os, signal, sys
from mobilenets.cli import main
from mobilenets.training.joining import joined
from mobilenets.training.steppers.plain import PlainStepper
made = PlainStepper.step
def step(self, group, number, rate):
    if os.environ["RANK"] == "1" and number == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, group, number, rate)
PlainStepper.step = step
for _ in range(2):  # which leave nothing in the way of the training
    with joined() as processes:
        assert processes.total({"rank": processes.rank + 1.0}) == {"rank": 3.0}
raise SystemExit(main())
"""


def test_a_killed_process_ends_the_others(photos: Path, quick_settings: dict[str, Any], tmp_path: Path) -> None:
    settings = quick_settings | {"epochs": 2, "batch": 5}  # five steps an epoch
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = tmp_path / "run"
    ended = subprocess.run(
        [*launcher, str(tmp_path / "program.py"), "train", str(photos), "--out", str(run), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    said = [line for line in ended.stderr.splitlines() if line.startswith("mobilenets:")]
    assert len(said) == 1, ended.stderr
    assert "rank 1 of 2 on " in said[0] and "--resume" in said[0]
    assert json.loads((run / "recipe.json").read_text())["hardware"]["processes"] == 2
    state = checkpoint.peek(run)
    assert (state.epoch, state.step) == (1, 1)
    result = mobilenets.train(photos, run, resume=True)
    assert result["epochs"] == 2
    assert any("processes 1 instead of 2" in note for note in result["notes"])
