"""Files that are either whole or absent: written aside, synced, renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well it is synced and takes the final name.

    The folder is made if it is missing. When the block raises, nothing stands under the final name that did
    not stand there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, because savers such as matplotlib's choose the format by it.
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        # mkstemp makes the file private; a finished file gets what the user's umask grants.
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)
        sync(aside)
        aside.replace(path)
        if os.name == "posix":
            sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before going on."""
    # Windows syncs only what is open for writing, and no folders.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what was there."""
    with writing(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file, or leave what was there."""
    write_bytes(path, content.encode("utf-8"))


def read_json(path: Path, hint: str) -> Any:
    """Read a JSON file that the user gave; raises ``InputError``, with ``hint`` where it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON; {hint}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read and diff; refuses NaN and Infinity, which JSON does not have."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A file name that is no text holds lone surrogates; their backslash form is JSON's own escape.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
