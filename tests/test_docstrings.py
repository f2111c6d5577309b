"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mobilenets

SOURCE = Path(mobilenets.__file__).parent
# What runs until it is stopped, and what there is nothing to show of.
WITHOUT = {"__version__", "serve", "FaultFound", "InputError", "MobilenetsError", "Recipe", "register_task"}
MODULES = sorted(
    ".".join(("mobilenets", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text("utf-8") and path.parent.name != "verbs" and path.stem != "predictor"
)


def run(test: doctest.DocTest) -> int:
    """Run the examples of a docstring; returns how many there are."""
    said: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append).failed
    assert not failed, "".join(said)
    return len(test.examples)


@pytest.mark.parametrize("name", sorted({*mobilenets.__all__} - WITHOUT))
def test_every_public_name_has_an_example(
    name: str, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for a folder that holds ``photos``, a ``run`` that learned from them, and ``photo.jpg``."""
    if name == "tune":
        pytest.importorskip("optuna", reason="Optuna is not installed (pip install -e '.[tune]')")
    (tmp_path / "photos").symlink_to(trained.data)
    shutil.copytree(trained.run, tmp_path / "run")
    Image.open(trained.data / "dog/001.png").save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    for part in ("draw_figures", "write_report"):  # half of the time
        monkeypatch.setattr(f"mobilenets.runs.class_report.{part}", lambda *_: None)
    for verb in ("prune", "shrink", "shrink_end", "sparsify"):
        monkeypatch.setattr(f"mobilenets.verbs.{verb}.SECONDS", 0.05)
    monkeypatch.setattr("mobilenets.shrinking.candidates.WIDTHS", {})
    monkeypatch.setattr("mobilenets.verbs.shrink_end.TRIED", 1)
    value = getattr(mobilenets, name)
    examples = doctest.DocTestParser().get_doctest(
        inspect.getdoc(value) or "", {"mobilenets": mobilenets}, name, None, None
    )
    assert run(examples) > 0


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    assert sum(map(run, tests)) > 0
