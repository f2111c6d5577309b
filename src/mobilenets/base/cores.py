"""How many cores there are to use, and how the threads on them wait for one another."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# How libgomp (PyTorch under Linux), libomp (macOS) and Intel's (Windows) are told how long a waiting thread spins.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def cores() -> int:
    """Count the cores that this process may use: its affinity, within the quota of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def beside() -> int:
    """Count the processes that ``torchrun`` started on this machine, this one too; 1 where it started none."""
    said = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(said)) if said.isdecimal() else 1


def cpu_quota(proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Read how many cores' worth of time the control groups of this process leave it (Linux); None for no limit.

    The smallest of all of them: version 2 has it in ``cpu.max``, version 1 in ``cpu.cfs_quota_us``.
    """
    found = map(_quota_of, control_groups("cpu", proc, mount))
    return min((quota for quota in found if quota is not None), default=None)


def control_groups(controller: str, proc: Path, mount: Path) -> Iterator[Path]:
    """Give the folders of the control groups that bound this process (Linux): its own, and those above it.

    Inside a container its own group may be mounted as the root.
    """
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mount / controllers if controllers else mount
        place = Path(group.lstrip("/"))
        yield from (root, *(root / part for part in (place, *place.parents)))


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            time, period = (folder / "cpu.max").read_text().split()
        else:
            time, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return float(time) / float(period) if float(time) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None


def share_cores() -> None:
    """Have the threads of PyTorch sleep while they wait, and start no more of them than there are cores to use.

    By default they spin: with one other program on two cores, training took 10 times as long. What the environment
    already says stands. This takes effect only before PyTorch is loaded; see ``threads_spin``.
    """
    if "torch" in sys.modules:
        return
    if threads_spin():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    if cpu_quota() is not None:  # which OpenMP does not see
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def threads_spin() -> bool:
    """Whether nobody told OpenMP how long a waiting thread spins, in this process's environment."""
    return not any(name in os.environ for name in _WAITING)
