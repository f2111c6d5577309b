"""Progress of long work, on standard error."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mobilenets.base.notes import log
from mobilenets.base.text import printable


class Progress:
    """Counts what is done. On a terminal a bar with rate and ETA; elsewhere a line now and then."""

    SILENCE = 15.0

    def __init__(self, what: str, total: int | None, unit: str, already: int = 0) -> None:
        self.what, self.total, self.unit = printable(what), total, unit
        self.done = self._already = already
        self.notes = ""
        self._start = self._spoken = time.monotonic()
        self._bar: Any = None
        # A program without a console, such as pythonw, has no standard error.
        if sys.stderr is not None and sys.stderr.isatty() and not log.disabled:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(
                total=total,
                initial=already,
                desc=self.what,
                unit=f" {unit}",
                leave=False,
                dynamic_ncols=True,
                unit_scale=unit == "B",
            )

    def advance(self, count: int, **notes: str) -> None:
        """Say that ``count`` more are done; ``notes`` stand beside the bar."""
        self.done += count
        self.notes = "  ".join(f"{name} {printable(value)}" for name, value in notes.items())
        if self._bar is not None:
            if notes:
                self._bar.set_postfix_str(self.notes, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._spoken > self.SILENCE:
            self._spoken = time.monotonic()
            log.info("%s", self.line())

    def line(self) -> str:
        """Return where the work stands, as one line."""
        seconds = time.monotonic() - self._start
        # What an earlier run left counts as done, not as speed.
        rate = (self.done - self._already) / seconds if seconds else 0.0
        total = f"/{self.total}" if self.total else ""
        left = f", {duration((self.total - self.done) / rate)} left" if self.total and rate else ""
        speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{self.what}: {self.done}{total} {self.unit}, {speed} per second{left}  {self.notes}".rstrip()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress(what: str, total: int | None, unit: str, already: int = 0) -> Iterator[Progress]:
    """Show progress while the block runs; ``already`` were done before."""
    shown = Progress(what, total, unit, already)
    try:
        yield shown
    finally:
        shown.close()


def duration(seconds: float) -> str:
    """Say a time as people do: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """Say a time that is only roughly known: ``about 40 s``, ``about 4 min``, ``about 2 h``."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {math.ceil(2 * seconds / 3600) / 2:g} h"
