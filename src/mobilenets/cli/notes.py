"""Notes of the package, one per line, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mobilenets.base.notes import log
from mobilenets.cli import colour
from mobilenets.cli.text import printable


class NoteHandler(logging.Handler):
    """Shows notes without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        line = colour.paint(printable(self.format(record)), getattr(record, "style", record.levelname), sys.stderr)
        bars = sys.modules.get("tqdm")
        if bars is not None and sys.stderr.isatty():
            bars.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def show_notes() -> None:
    """Show notes from now on."""
    if not any(isinstance(handler, NoteHandler) for handler in log.handlers):
        log.addHandler(NoteHandler())
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def without_repeated(json: bool) -> Iterator[None]:
    """Leave out the notes that are in the result of the block too, and are shown with it, unless that is ``json``."""

    def wanted(record: logging.LogRecord) -> bool:
        return json or not getattr(record, "noted", False)

    log.addFilter(wanted)
    try:
        yield
    finally:
        log.removeFilter(wanted)
