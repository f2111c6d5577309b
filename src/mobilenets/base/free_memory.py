"""How much memory there is to use."""

from __future__ import annotations

import os
from pathlib import Path

from mobilenets.base.cores import control_groups


def free_memory(proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that this process may still take without others having to give way; None where nobody tells.

    Under Linux what the kernel calls available, within the limits of the control groups of this process; elsewhere a
    quarter of what is built in.
    """
    groups = map(_left_in, control_groups("memory", proc / "self", mount))
    found = [value for value in (_of_the_machine(proc), *groups) if value is not None]
    return max(0, min(found)) if found else None


def _of_the_machine(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _left_in(folder: Path) -> int | None:
    """Return what a group has left; files that it has read and can drop do not count as taken."""
    for most, taken in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            limit, used = int((folder / most).read_text()), int((folder / taken).read_text())
            words = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return limit - used + next((int(value) for name, value in words if name == "inactive_file"), 0)
        except (OSError, ValueError):  # "max" is no number
            continue
    return None
