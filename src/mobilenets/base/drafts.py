"""Folders that are either whole or absent: written aside, and moved to their place when all is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mobilenets.base.files import explaining, sync
from mobilenets.base.leftovers import ALIVE, ASIDE, clear_leftovers, filling
from mobilenets.base.lock import holding
from mobilenets.errors import InputError


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the final one, so that moving it there is a renaming; it is removed in the end.

    What killed processes left beside it is cleared away.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder.parent)
        place = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written there: {error.strerror}; choose another place") from error
    try:
        # What is written there is written by each runtime's own library.
        with holding(place / ALIVE), explaining(folder):
            draft = place / "draft"
            draft.mkdir(parents=True)
            yield draft
    finally:
        # First what is in it: without its lock it would count as somebody's.
        shutil.rmtree(place / "draft", ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)


def publish(draft: Path, folder: Path, last: str) -> None:
    """Bring a finished draft to its place, all at once where there is no folder yet.

    Into one that is there the files go one by one, each whole, ``last`` the one that makes readers take the others; it
    is marked as unfinished meanwhile, so that the next command may do it again.
    """
    files = [path.relative_to(draft) for path in draft.rglob("*") if path.is_file()]
    for file in files:
        sync(draft / file)
    if folder.exists() or folder.is_symlink():
        _fill(draft, folder, sorted(files, key=lambda file: (file == Path(last), file)))
    else:
        draft.rename(folder)
    if os.name == "posix":
        for place in (folder, folder.parent):
            with suppress(OSError):  # not every drive can; the files themselves are on the disk
                sync(place)


def _fill(draft: Path, folder: Path, files: Sequence[Path]) -> None:
    """Move files into a folder that is there, in this order; what earlier ones left in folders of theirs goes."""
    with filling(folder):
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (draft / file).replace(folder / file)
        ours = {folder / file for file in files}
        for top in {file.parts[0] for file in files if len(file.parts) > 1}:
            for path in list((folder / top).rglob("*")):
                if path.is_file() and path not in ours:
                    path.unlink()
