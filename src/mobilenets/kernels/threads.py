"""A team of threads that sleep while there is nothing to do, for kernels that run without the interpreter's lock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

Part = tuple[Any, ...]

# How long a thread looks for work before it sleeps, and how long it is waited for before this process lets others run.
SPIN, PATIENCE = 500e-6, 1e-3
NAP = 50e-6


class _Worker:
    """One thread; parts of kernels reach it through ``memory`` while it spins (``mobilenets.kernels.handing``).

    One that sleeps is to be woken first.
    """

    def __init__(self, looks: int) -> None:
        from mobilenets.kernels import handing

        self._serve, self._looks = handing.serve, looks
        self._held, self.memory = handing.memory()
        self._asleep = self._held[(self.memory - self._held.ctypes.data) // 8 + handing.ASLEEP :][:1]
        self._asleep[0] = 1
        self._bell: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._work, name="mobilenets-kernels", daemon=True).start()

    def wake(self) -> None:
        """Have it look for parts, where it does not."""
        if self._asleep[0]:
            self._asleep[0] = 0
            self._bell.put(None)

    def _work(self) -> None:
        while True:
            self._bell.get()
            self._serve(self.memory, self._looks)


class Team:
    """Runs the parts of a kernel at the same time, the first on the thread that asks.

    Threads are started when they are first needed. A process that was forked starts its own, and a second thread that
    asks while the team is at work runs its parts by itself. So which thread runs a part may differ, and what a part
    computes does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._targets: dict[tuple[Any, ...], int] = {}
        self._looks = 0.0  # a second

    def run(self, function: Callable[..., Any], parts: Sequence[Part]) -> None:
        """Call the kernel ``function(*part)`` for each part, all of the same types; returns when all have ended."""
        if len(parts) < 2 or not self._lock.acquire(blocking=False):
            for part in parts:
                function(*part)
            return
        try:
            if not self._looks:
                self._looks = _looks_a_second()
            while len(self._workers) < len(parts) - 1:
                self._workers.append(_Worker(int(SPIN * self._looks)))
            self._share(function, parts)
        finally:
            self._lock.release()

    def _share(self, function: Callable[..., Any], parts: Sequence[Part]) -> None:
        from mobilenets.kernels import handing

        first, *others = parts
        key = (function, *map(_kind, first))
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = handing.address_of(function, first)
        workers = self._workers[: len(others)]
        for worker in workers:
            worker.wake()
        memories, looks = np.array([worker.memory for worker in workers]), int(PATIENCE * self._looks)
        offered, found = False, -1
        stopped: BaseException | None = None
        while found < 0:
            try:
                if offered:
                    time.sleep(NAP)
                    found = handing.wait(memories, looks)
                else:
                    offered = True
                    found = handing.share(memories, target, looks, first, tuple(others))
            except BaseException as raised:  # Ctrl-C too: others may still compute with the parts' arrays
                stopped = raised
        if stopped is not None:
            raise stopped
        if found:
            raise MemoryError("a kernel found no memory")


def _kind(value: Any) -> Any:
    """Tell apart what compiled code takes apart: an array's type, dimensions and layout, or the type of a number."""
    return (value.dtype.num, value.ndim, value.flags.num) if isinstance(value, np.ndarray) else type(value)


def _looks_a_second() -> float:
    """Measure how often a thread looks for work in a second."""
    from mobilenets.kernels import handing

    held, memory = handing.memory()
    handing.serve(memory, 1)  # compiles
    times = []
    for _ in range(3):  # of which the shortest counts: another process may have the core meanwhile
        began = time.perf_counter()
        handing.serve(memory, 20000)
        times.append(time.perf_counter() - began)
    del held
    return 20000 / max(min(times), 1e-6)


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
