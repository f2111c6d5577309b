"""``mobilenets fetch``: a known data set as a folder of labelled pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mobilenets.base.progress import Progress, progress
from mobilenets.datasets.write import write_folders


def fetch(name: str, out: str | Path, *, archive: str | Path | None = None, size: int | None = None) -> dict[str, Any]:
    """Write a data set (``cifar10``, ``cifar100``, ``fashion_mnist``, ``digits``, ``shapes``) as folders of pictures.

    Parameters
    ----------
    name:
        The data set.
    out:
        The folder to write: ``train/`` and ``validation/``, with one folder per class.
    archive:
        A file or folder that you already have, instead of a download.
    size:
        Side of the pictures in pixels; by default the data set's own.

    Returns ``name``, ``folder``, ``size`` (pixels), ``train`` and ``validation`` (numbers of pictures) and
    ``classes`` (their folders, in label order). Raises InputError when the name is unknown, ``out`` is not
    empty, or the archive or the network fails.

    >>> result = mobilenets.fetch("digits", "digits")
    >>> result["train"], result["validation"], result["classes"][:3]
    (1438, 359, ['0', '1', '2'])

    """
    with ExitStack() as stack:
        shown: dict[str, Progress] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in shown:
                unit = "B" if what == "bytes" else what
                shown[what] = stack.enter_context(progress(f"{name}: {what}", total, unit, already=done))
            shown[what].advance(done - shown[what].done)

        written = write_folders(
            name, Path(out), archive=None if archive is None else Path(archive), size=size, progress=report
        )
    return {
        "name": name,
        "folder": str(out),
        "size": written.size,
        "train": written.train,
        "validation": written.validation,
        "classes": list(written.classes),
    }
