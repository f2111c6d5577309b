"""A team of threads that sleep while there is nothing to do, for kernels that run without the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

Part = tuple[Any, ...]


class _Worker:
    """One thread; a call is handed over by one lock and its end given back by another."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., Any], Part]] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        threading.Thread(target=self._work, name="mobilenets-kernels", daemon=True).start()

    def begin(self, function: Callable[..., Any], part: Part) -> None:
        self._calls.put((function, part))

    def end(self) -> BaseException | None:
        return self._done.get()

    def _work(self) -> None:
        while True:
            function, part = self._calls.get()
            error: BaseException | None = None
            try:
                function(*part)
            except BaseException as raised:
                error = raised
            del function, part  # the arrays are not to live until the next call
            self._done.put(error)
            del error


class Team:
    """Runs the parts of a kernel at the same time, the first on the thread that asks.

    Threads are started when they are first needed. A process that was forked starts its own, and a second thread that
    asks while the team is at work runs its parts by itself. So which thread runs a part may differ, and what a part
    computes does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def run(self, function: Callable[..., Any], parts: Sequence[Part]) -> None:
        """Call ``function(*part)`` for each part; raises what one of them raised, when all have ended."""
        if len(parts) < 2 or not self._lock.acquire(blocking=False):
            for part in parts:
                function(*part)
            return
        try:
            while len(self._workers) < len(parts) - 1:
                self._workers.append(_Worker())
            busy = self._workers[: len(parts) - 1]
            for worker, part in zip(busy, parts[1:], strict=True):
                worker.begin(function, part)
            error: BaseException | None = None
            try:
                function(*parts[0])
            except BaseException as raised:
                error = raised
            for worker in busy:
                error = worker.end() or error
            if error is not None:
                raise error
        finally:
            self._lock.release()


_team = Team()


def run(function: Callable[..., Any], parts: Sequence[Part]) -> None:
    """Call ``function(*part)`` for each part at the same time, on the team of this process; see ``Team.run``."""
    _team.run(function, parts)


def split(count: int, parts: int, least: int = 1, step: int = 1) -> list[tuple[int, int]]:
    """Divide ``range(count)`` into at most ``parts`` ranges ``(first, last)`` of about the same length.

    Each but the last is a multiple of ``step``, and none is shorter than ``least`` unless it is the only one. The same
    numbers always give the same ranges.
    """
    parts = max(1, min(parts, count // max(least, 1)))
    length = -(-count // parts)
    length = -(-length // step) * step
    return [(first, min(first + length, count)) for first in range(0, count, max(length, 1))] or [(0, 0)]


def _in_child() -> None:
    global _team
    _team = Team()


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_in_child)
