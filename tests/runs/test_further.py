"""The recipe with which a training goes on from a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobilenets.runs.further import further


def test_a_teacher_that_is_gone_is_left_out_and_said(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, teacher = tmp_path / "run", tmp_path / "big"
    shutil.copytree(trained.run, run)
    record = json.loads((run / "recipe.json").read_text())
    record["recipe"] |= {"teacher": [str(teacher)], "temperature": 2.0}
    (run / "recipe.json").write_text(json.dumps(record))
    found = further(run, None, "cpu")
    assert (found.teacher, found.temperature) == (None, 4.0) and "big: not there any more" in caplog.text
    teacher.mkdir()
    assert further(run, None, "cpu").teacher == [str(teacher)]
