"""Notes for who calls from Python, where no logging is set up, as in a notebook; and the caveats among them."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from mobilenets.base.text import printable_lines

Verb = TypeVar("Verb", bound=Callable[..., Any])

log = logging.getLogger("mobilenets")
# More caveats than this are counted, not repeated.
MOST = 20


class _Shown(logging.Handler):
    """A line per note on standard error, which a notebook shows below the cell."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            print(printable_lines(self.format(record)), file=sys.stderr, flush=True)


@contextmanager
def shown() -> Iterator[None]:
    """Show notes while the block runs, if nobody has set up logging: no handler gets them and no level is set.

    ``logging.getLogger("mobilenets").setLevel("ERROR")`` silences them. The root logger is left as it is.
    """
    if log.hasHandlers() or log.level != logging.NOTSET:
        yield
        return
    handler = _Shown()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


def noted(verb: Verb) -> Verb:
    """Return a verb of the package that shows its notes, under its public name, by which it can be pickled."""
    call = shown()(verb)
    call.__module__, call.__qualname__ = "mobilenets", verb.__name__
    return call


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[str, None] = {}
        self.more = 0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "detail", False):  # one of many, whose number is said apart
            return
        line = record.getMessage()
        if len(self.lines) < MOST:
            self.lines[line] = None
        elif line not in self.lines:
            self.more += 1


_keeping: ContextVar[_Kept | None] = ContextVar("mobilenets_caveats", default=None)


def keeping_caveats(verb: Verb) -> Verb:
    """Return a verb during which the warnings that are logged are kept for its result: see ``caveats``."""

    @functools.wraps(verb)
    def call(*words: Any, **settings: Any) -> Any:
        handler = _Kept()
        token = _keeping.set(handler)
        log.addHandler(handler)
        try:
            return verb(*words, **settings)
        finally:
            log.removeHandler(handler)
            _keeping.reset(token)

    return call  # type: ignore[return-value]


def caveats() -> list[str]:
    """Return the warnings logged so far by the verb that is running."""
    handler = _keeping.get()
    if handler is None:
        return []
    return [*handler.lines, *([f"and {handler.more} more warnings"] if handler.more else [])]
