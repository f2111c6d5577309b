from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from mobilenets.base import files
from mobilenets.base.files import DiskFull, read_json, write_bytes, write_json, write_text, writing
from mobilenets.errors import InputError


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "été\n")
    assert path.read_bytes() == "été\n".encode()
    with pytest.raises(RuntimeError, match="half way"), writing(path) as aside:
        aside.write_text("half")
        assert aside.parent == path.parent
        assert aside.suffix == ".txt"
        assert path.read_text("utf-8") == "été\n"
        raise RuntimeError("half way")
    assert path.read_text("utf-8") == "été\n"
    assert names(path.parent) == ["file.txt"]


def test_absent_stays_absent(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "file") as aside:
        aside.write_bytes(b"x")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be brought to the disk does not take the final name."""
    write_bytes(tmp_path / "file", b"old")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(DiskFull, match=r"file: cannot be written: No space left on device; free some space, then"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device"),
        (OSError(errno.EFBIG, "x", "elsewhere"), "File too large"),
        (OSError(getattr(errno, "EDQUOT", errno.ENOSPC), "x"), ""),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc] . No space left on device"), "No space left"),
        (sqlite3.OperationalError("database or disk is full"), "Disk is full"),
    ],
    ids=repr,
)
def test_no_room_however_it_is_said(tmp_path: Path, error: Exception, words: str) -> None:
    with pytest.raises(DiskFull) as raised, writing(tmp_path / "deep/file") as aside:
        aside.write_bytes(b"half")
        raise error
    assert str(raised.value).startswith(f"{tmp_path / 'deep/file'}: cannot be written: {words}")
    assert names(tmp_path / "deep") == []


def test_what_is_not_about_writing_stays_what_it_is(tmp_path: Path) -> None:
    for error in (RuntimeError("shapes differ"), FileNotFoundError(2, "No such file", str(tmp_path / "photo.jpg"))):
        with pytest.raises(type(error)) as raised, writing(tmp_path / "file"):
            raise error
        assert raised.value is error
    # A picture that may not be read is not a file that may not be written, even in the same folder.
    with pytest.raises(PermissionError), writing(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "photo.jpg"))


def test_where_writing_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(options["dir"] / f"{options['prefix']}x"))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(InputError, match="cannot be written there: Read-only file system; choose another place"):
        write_bytes(tmp_path / "run/file", b"")
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match=r"taken/file: cannot be written there: (File exists|Not a directory)"):
        write_bytes(tmp_path / "taken/file", b"")


def test_a_disk_that_refuses_to_sync_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")  # the system does not say of what

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(InputError, match="run/file: cannot be written there: Read-only file system; choose another"):
        write_bytes(tmp_path / "run/file", b"")


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_limit_of_the_system(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from mobilenets.base.files import DiskFull, write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path({str(tmp_path / "file")!r}), bytes(10_000))
except DiskFull as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "file: cannot be written: File too large; free some space" in done.stdout
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_what_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixes.csv").write_text("action,path\n")
    assert files.read_given(tmp_path / "fixes.csv") == b"action,path\n"
    monkeypatch.setattr(files, "MOST_GIVEN", 11)
    with pytest.raises(InputError, match=r"fixes\.csv: over 0 MiB, too large to be read"):
        files.read_text(tmp_path / "fixes.csv")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"b": [1, 2.5], "a": "猫"})
    assert path.read_text("utf-8") == '{\n  "b": [\n    1,\n    2.5\n  ],\n  "a": "猫"\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"loss": value})
    assert json.loads(path.read_bytes())["a"] == "猫"


def test_json_of_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "value.json", {"path": name})
    assert json.loads((tmp_path / "value.json").read_text("utf-8")) == {"path": name}
    assert name.encode("utf-8", "surrogateescape") == b"caf\xe9.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"size": 32,\n "epochs": 1,}', "line 2 has one comma too many, before '}'"),
        ('{"size": 32,\n "epochs": 1,\n}\n', "line 2 has one comma too many, before '}'"),
        ("[1,\n2,\n]", "line 2 has one comma too many, before ']'"),
        ("{'size': 32}", "line 1 has single quotes, but JSON needs double ones"),
        ('{"size": 32\n "epochs": 1}', "a comma is missing before '\"epochs\": 1}' in line 2"),
        ('{\n // small\n "size": 32}', "line 2 has a comment"),
        ('{"size": 32', "the text ends too early, in line 1"),
        ("", "the file is empty"),
        ('{"size": nothing}', "line 1: expecting value"),
    ],
)
def test_what_is_wrong_with_json(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "recipe.json", "give a recipe")
    assert str(caught.value).startswith(f"{tmp_path / 'recipe.json'}: not JSON: {said}")
    assert str(caught.value).endswith("; give a recipe") and "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_json_of_any_editor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{\r\n"names": ["猫", "狗"]}'.encode(encoding))
    assert read_json(tmp_path / "a.json", "") == {"names": ["猫", "狗"]}
