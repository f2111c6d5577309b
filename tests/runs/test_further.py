"""The recipe with which a training goes on from a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.runs.further import further, pictures_to_go_on


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


def test_a_run_that_learned_from_all_pictures(trained: Any, tmp_path: Path) -> None:
    """As one of several folds: nothing would tell what pruning costs."""
    classes = ("cat", "dog", "owl")
    known = pictures_to_go_on(trained.run, trained.data, classes, tmp_path / "new")
    assert len(known.measured) == 12 and len(known.training) == 48
    run = shutil.copytree(trained.run, tmp_path / "run")
    lines = (run / "seen.csv").read_text().replace(",validation", ",train")
    (run / "seen.csv").write_text(lines)
    with pytest.raises(InputError, match="learned from all of these pictures, as with --folds"):
        pictures_to_go_on(run, trained.data, classes, tmp_path / "new")


@pytest.mark.parametrize("verb", [mobilenets.prune, mobilenets.sparsify, mobilenets.quantize])
def test_nothing_is_written_among_the_pictures(verb: Any, trained: Any) -> None:
    before = sorted(trained.data.rglob("*"))
    with pytest.raises(InputError, match="is inside the picture folder"):
        verb(trained.run, trained.data, out=trained.data / "cat-new")
    with pytest.raises(InputError, match="is inside the picture folder"):
        mobilenets.shrink(trained.run, data=trained.data, out=trained.data / "cat-new")
    assert sorted(trained.data.rglob("*")) == before
