"""Commands in forked processes, and what happens to them when they write."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

WATCHED = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ERRORS = {"full": errno.ENOSPC, "readonly": errno.EROFS}


@dataclass(frozen=True)
class Fault:
    """What happens in a child at its boundary number ``at``, from 0; None only counts."""

    kind: str
    at: int | None


def child(words: Sequence[str], place: Path, fault: Fault) -> int:
    """Run a command line in a forked process; returns its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        with (place / "said").open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        os.environ["MOBILENETS_CACHE"] = str(place / "cache")
        _undrawn()
        _watch(place, fault)
        from mobilenets.cli import main

        status = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _undrawn() -> None:
    """Have each plot written as one white pixel: the files are written as ever, in a hundredth of the time."""
    from matplotlib.figure import Figure

    def saved(self: Figure, file: Any, **_: Any) -> None:
        Image.new("RGB", (1, 1), "white").save(file, "png")

    Figure.savefig = saved


def _watch(place: Path, fault: Fault) -> None:
    """Count the boundaries of this process below ``place``, into the file ``boundaries``, and let the fault happen."""
    root, count = str(place), 0
    counted = os.open(place / "boundaries", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def meet(name: str) -> None:
        nonlocal count
        os.pwrite(counted, b"%d" % (count + 1), 0)
        if fault.at is not None and count >= fault.at:
            if fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            raise OSError(ERRORS[fault.kind], os.strerror(ERRORS[fault.kind]), name)
        count += 1

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in WATCHED or not given or not isinstance(given[0], (str, bytes)):
            return
        name = str(Path(os.fsdecode(given[0])).absolute())
        if not name.startswith(root) or (event == "open" and not (given[2] or 0) & WRITES):
            return
        # A full disk lets one remove; one that is read-only does not, and nobody would notice.
        if fault.kind != "kill" and (event in ("os.remove", "os.rmdir") or "-lock" in name or name.endswith("alive")):
            return
        meet(name)

    sync = os.fsync

    def synced(descriptor: int) -> None:
        known = Path(f"/proc/self/fd/{descriptor}")
        name = str(known.readlink()) if known.exists() else root
        if name.startswith(root):
            meet(name)
        sync(descriptor)

    os.fsync = synced
    sys.addaudithook(hook)


def finish(process: int) -> int:
    """Wait for a child; its exit status, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(words: Sequence[str], place: Path, fault: Fault = Fault("kill", None)) -> int:
    return finish(child(words, place, fault))


def said(place: Path) -> list[str]:
    return [line for line in (place / "said").read_text("utf-8", "replace").splitlines() if line.strip()]
