"""What goes wrong while a command runs: one line where the user can do something about it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobilenets.base.extras import how_to_install


def test_an_error_of_the_system_is_one_line(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, words in (
        (OSError(28, "No space left on device", "run/model.json"), "run/model.json: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left: free some space, then run"),
        (sqlite3.OperationalError("database or disk is full"), "Disk is full: free some space, then run"),
        (PermissionError(13, "Permission denied", b"a\xffb"), r"a\udcffb: Permission denied"),
        (MemoryError(), "not enough memory: try a smaller --batch, --size or --width, or --device cpu"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), "not enough"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nTried to"), "not enough memory"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            f"torch is not installed: {how_to_install('train')}\n",
        ),
    ):
        monkeypatch.setattr("mobilenets.verbs.fetch.fetch", raiser(error))
        status, out, err = command("fetch", "digits", "new")
        assert (status, out) == (2, "")
        assert err.startswith(f"mobilenets: {words}")
        assert err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ModuleNotFoundError("x", name="colour"), KeyError(1)])
def test_our_own_fault_is_not_hidden(command: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("mobilenets.verbs.fetch.fetch", raiser(error))
    with pytest.raises(type(error)):
        command("fetch", "digits", "new")


def raiser(error: Exception) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.skipif(os.name != "posix", reason="Windows lets nobody remove the current folder")
def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = "mobilenets: the current folder is no longer there: change to one that is (cd)\n"
    assert command("predict", tmp_path, tmp_path) == (2, "", line)
