"""Where a verb writes what it found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from mobilenets.base.files import explaining, staying
from mobilenets.base.leftovers import ASIDE, occupants
from mobilenets.base.lock import holding
from mobilenets.base.notes import log
from mobilenets.base.shell import quote
from mobilenets.datasets.layout import Layout
from mobilenets.datasets.shards.remote import address_of
from mobilenets.errors import InputError
from mobilenets.runs.record import METRICS, RECIPE, folder_of, known_data

RUNS, MODELS = Path("runs"), Path("models")
# In a run folder while it is trained, and held by that process.
LOCK = f"{ASIDE}lock"


def check_folder(folder: Path, another: str = "use another --out") -> Path:
    """Return a folder that can be written to, or made, later; nothing is made now.

    Raises ``InputError`` for others, which says what ``another`` is.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = _why_not(there) if there.is_dir() else "File exists"
        raise InputError(f"{folder}: no folder can be written there ({reason}); {another}")
    return folder


def _why_not(there: Path) -> str:
    read_only = os.statvfs(there).f_flag & os.ST_RDONLY if hasattr(os, "statvfs") else 0
    return "Read-only file system" if read_only else "Permission denied"


def next_free(place: Path, data: Path) -> Path:
    """Make the next free folder ``<data>-N`` in ``place``; raises ``InputError`` where none can be made."""
    check_folder(place)
    for number in count(1):
        folder = place / f"{data.resolve().name or 'data'}-{number}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be created ({error.strerror}); choose another place with --out"
            ) from error
    return folder


@contextmanager
def run_folder(data: str | Path, out: str | Path | None, resume: bool) -> Iterator[Path]:
    """Give the run folder of a training: ``out``, or the next free ``runs/<data>-N``.

    With ``resume`` and no ``out`` it is the newest unfinished run of ``data`` in ``runs``, which is logged. The
    name is taken at once, so that a second training that begins meanwhile gets another; it is given back if nothing
    was written.
    """
    if out is not None:
        yield Path(out)
        return
    folder = Path(data).resolve()
    if resume:
        run = unfinished(Path(data))
        log.info("continuing %s", run)
        yield run
        return
    if not folder.is_dir() and address_of(str(data)) is None:
        yield RUNS / folder.name  # training says what is wrong with the data
        return
    run = next_free(RUNS, folder)
    try:
        yield run
    finally:
        with suppress(OSError):  # they are not empty, as a rule
            run.rmdir()
            RUNS.rmdir()


@contextmanager
def owning(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder while the block runs, and its files from coming back once it is removed.

    It is made if it is missing, and taken away again if nothing came into it. Raises ``InputError`` where another
    training is at work there, or nothing can be written.
    """
    missing = [place for place in (run, *run.parents) if not place.exists()]
    with explaining(run / LOCK):
        run.mkdir(parents=True, exist_ok=True)
    try:
        with holding(run / LOCK) as held:
            if not held:
                raise InputError(f"{run}: another training is at work there: wait until it ends, or use another --out")
            try:
                with staying(run):
                    yield
            finally:
                with suppress(OSError):
                    (run / LOCK).unlink()
    finally:
        if os.name == "nt":  # where nothing goes that is open, here or elsewhere
            with suppress(OSError):
                (run / LOCK).unlink()
        with suppress(OSError):  # those that are not empty stay
            for place in missing:
                place.rmdir()


def unfinished(data: Path) -> Path:
    """Return the newest run of ``data`` in ``runs`` that has no ``metrics.json``; raises ``InputError`` for none."""
    found, wanted = [], folder_of(data)
    of_seeds = (path.parent.parent for path in RUNS.glob(f"*/seed-*/{RECIPE}"))
    for run in {*(path.parent for path in RUNS.glob(f"*/{RECIPE}")), *of_seeds}:
        if (run / METRICS).exists():
            continue
        for path in [run / RECIPE, *run.glob(f"seed-*/{RECIPE}")]:
            known = known_data(path.parent)
            if known is not None and known.folder == wanted:
                found.append((path.stat().st_mtime, run))
    if not found:
        raise InputError(f"there is no unfinished run on {wanted} in {RUNS}: name the run to continue with --out RUN")
    return max(found)[1]


def model_folder(file: str | Path) -> Path:
    """Return the first free folder for a model imported from ``file``: ``models/<name>``, ``models/<name>-2``, …"""
    name = Path(file).name.split(".")[0] or "model"
    places = (MODELS / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(place for place in places if not place.exists() or (place.is_dir() and not occupants(place)))


def export_folder(run: Path, format: str, precision: str) -> Path:
    """Return the folder of an export inside its run folder, such as ``run/exported-onnx-int8``."""
    return run / "-".join(["exported", format, *([] if precision == "float32" else [precision])])


def refuse_inside(out: Path, layout: Layout) -> None:
    """Refuse to write among the pictures, where a folder would become a class."""
    for place in (layout.train, layout.validation, layout.test):
        if place is not None and out.resolve().is_relative_to(place.resolve()):
            there = place.resolve()
            such = quote(str(there.with_name(f"{there.name}-run")))
            raise InputError(f"{out} is inside the picture folder {place}: choose an --out outside it, such as {such}")
