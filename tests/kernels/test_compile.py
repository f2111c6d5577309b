from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mobilenets.kernels import compile as compiling

USE = """
import logging
logging.basicConfig(level="INFO", format="%(message)s")
import numpy as np
from mobilenets.kernels.norms import apply, gradient_sums
y, lines = np.ones((2, 3), "f4"), np.ones((3, 3), "f4")
gradient_sums(y, y, lines, 1)  # which calls another kernel
print(apply(y, lines, 0)[0, 0])
"""


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
    )


def test_the_first_use_says_so_and_later_ones_find_it_on_disk(tmp_path: Path) -> None:
    first = run(USE, MOBILENETS_CACHE=str(tmp_path), NUMBA_CACHE_DIR="")
    assert "preparing kernels" in first.stderr
    assert list((tmp_path / "kernels").rglob("*.nbc"))
    again = run(USE, MOBILENETS_CACHE=str(tmp_path), NUMBA_CACHE_DIR="")
    assert again.stderr == ""
    assert again.stdout == first.stdout == "2.0\n"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a cache with what the kernels of ``USE`` were compiled to, to be copied."""
    folder = tmp_path_factory.mktemp("kernels")
    run(USE, MOBILENETS_CACHE=str(folder), NUMBA_CACHE_DIR="")
    return folder


@pytest.mark.parametrize(("suffix", "bytes_kept"), [("nbi", 40), ("nbc", 0), ("nbc", 40)])
def test_a_kept_file_that_was_cut_short_is_made_anew(
    filled: Path, tmp_path: Path, suffix: str, bytes_kept: int
) -> None:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    folder = {"MOBILENETS_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    cut = list((tmp_path / "kernels").rglob(f"*.{suffix}"))
    assert cut
    for path in cut:
        path.write_bytes(path.read_bytes()[:bytes_kept])
    assert run(USE, **folder).stdout == "2.0\n"
    again = run(USE, **folder)
    assert again.stdout == "2.0\n"
    assert again.stderr == ""


def test_a_folder_that_is_lost_while_kernels_are_made_costs_no_run(tmp_path: Path) -> None:
    lost = "import shutil; import mobilenets.kernels.norms; from mobilenets.kernels.compile import _folder\n"
    lost += "shutil.rmtree(_folder()); open(_folder(), 'w').close()\n"
    found = run(lost + USE, MOBILENETS_CACHE=str(tmp_path), NUMBA_CACHE_DIR="")
    assert found.stdout == "2.0\n"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no modes here")
def test_nothing_is_kept_where_others_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    compiling._folder.cache_clear()
    folder = compiling._folder()
    assert folder is not None
    Path(folder).chmod(0o777)
    compiling._folder.cache_clear()
    assert compiling._folder() is None
    assert "belongs to others" in caplog.text
    compiling._folder.cache_clear()


def test_a_cache_that_cannot_be_made_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "file"))
    compiling._folder.cache_clear()
    assert compiling._folder() is None
    compiling._folder.cache_clear()


def test_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiling.available()
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not compiling.available()
    monkeypatch.undo()
    monkeypatch.setenv("MOBILENETS_KERNELS", "off")
    assert not compiling.available()


def test_numba_is_loaded_by_a_kernel_alone() -> None:
    script = (
        "import sys, mobilenets, mobilenets.kernels.compile, mobilenets.training.run; print('numba' in sys.modules)"
    )
    assert run(script).stdout == "False\n"
