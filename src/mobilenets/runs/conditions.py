"""What the bytes of a model follow from beside the recipe and the pictures, and what a resumed run can keep of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mobilenets.base.cores import cores
from mobilenets.base.notes import log
from mobilenets.kernels.compile import taking
from mobilenets.runs.record import Record

_MACHINE = ("processes", "threads", "processor", "device", "gpu")
_VERSIONS = ("mobilenets", "torch", "numpy", "pillow")
_KERNELS = "kernels_for"


def threads_of(record: Record | None) -> int | None:
    """Return the number of threads that a run began with, where there are as many cores to use; else None."""
    known = None if record is None else record.hardware.get("threads")
    return known if isinstance(known, int) and 0 < known <= cores() else None


@contextmanager
def kernels_of(record: Record | None) -> Iterator[None]:
    """Take kernels in the block as the run did when it began, as far as ``MOBILENETS_KERNELS`` allows."""
    with taking(None if record is None else _kernels(record.hardware)):
        yield


def carry_on(
    run: Path, record: Record, hardware: Mapping[str, str | int], versions: Mapping[str, str], long: bool
) -> Record:
    """Say in one line what is not as it was when the run began, and write it into its record, which is returned.

    ``long`` says whether the run is one that takes kernels where they are there.
    """
    found = _unlike(record.hardware, hardware, _MACHINE)
    then, now = _kernels(record.hardware), _kernels(hardware)
    if then is not None and then != now and (long or "all runs" in (then, now)):
        found.append(f"kernels for {now} instead of {then}")
    names = (*_VERSIONS, "numba") if long or then == "all runs" else _VERSIONS
    found += _unlike(record.versions, versions, names)
    if not found:
        return record
    line = f"continued with {', '.join(found)}: not byte for byte the model of a run that never stopped"
    log.warning("%s", line)
    if line not in record.resumed:
        record = dataclasses.replace(record, resumed=(*record.resumed, line))
        record.write(run)
    return record


def _unlike(then: Mapping[str, str | int], now: Mapping[str, str | int], names: tuple[str, ...]) -> list[str]:
    """Name what differs; what the record of an earlier release does not have is not known to."""
    return [
        f"{name} {now.get(name, 'none')} instead of {then[name]}"
        for name in names
        if name in then and then[name] != now.get(name)
    ]


def _kernels(hardware: Mapping[str, str | int]) -> str | None:
    """Say for which runs kernels were taken; earlier releases said only whether they were there."""
    known = hardware.get(_KERNELS) or {"off": "none", "on": "long runs"}.get(str(hardware.get("kernels")))
    return None if known is None else str(known)
