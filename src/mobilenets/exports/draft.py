"""An export's folder: written aside, and moved to its place when the file has passed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobilenets.base.files import ASIDE, explaining, sync
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import DESCRIPTION, read_bundle


def check_place(folder: Path, format: str) -> None:
    """Refuse a place where something of the user's would be replaced; an earlier export may be."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: use another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        known = read_bundle(folder).export
    except InputError:
        known = None
    if known is None:
        raise InputError(f"{folder} holds something other than an export: use another --out")
    if known.format != format:
        raise InputError(f"{folder} already holds an export in format {known.format}: use another --out")


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """Give a folder beside the final one, so that moving files there is a renaming; it is removed in the end."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder.parent)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); use another --out") from error
    # What is written there is written by each runtime's own library.
    with place as name, explaining(folder):
        yield Path(name)


def publish(draft: Path, folder: Path) -> None:
    """Bring the finished files to their place, the description last: until then no reader takes them."""
    for path in draft.iterdir():
        sync(path)
    folder.mkdir(exist_ok=True)
    names = sorted((path.name for path in draft.iterdir()), key=lambda name: (name == DESCRIPTION, name))
    for name in names:
        if (draft / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
        (draft / name).replace(folder / name)
    sync(folder)
