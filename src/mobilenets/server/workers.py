"""Several processes behind one door, watched, and replaced one by one without a lost request.

All of them accept on one socket, which is the parent's: what waits there is taken by whoever is left, so a process that
goes loses nothing (with ``SO_REUSEPORT`` each would have a queue of its own, which goes with it). uvicorn's supervisor
builds uvicorn's own server; ours closes the door as ``run`` says, and tells in one line why a worker did not start.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from fastapi import FastAPI

from mobilenets.base.notes import log, shown
from mobilenets.base.text import counted
from mobilenets.errors import InputError, MobilenetsError
from mobilenets.server.limits import Limits
from mobilenets.server.run import Server, quiet_forms
from mobilenets.server.signals import signals

METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Where ``prometheus_client`` keeps the figures of all processes, so that any of them tells the sums."""
_READY, _FAILED, _LEAVE, _END, _ALIVE = b"ready", b"failed ", b"leave", b"end", b"alive"
_AT_ONCE = 5.0
"""Seconds: a worker that lived longer is started again at once, others after a pause that doubles up to the longest."""
_LONGEST = 30.0
_LOOK, _SILENT = 20.0, 3
"""Seconds between two questions whether a worker is alive, and how many in a row may stay without an answer."""
_GRACE = 5.0
"""Seconds beside those of the limits, after which a worker that should have ended is killed."""


class _Server(Server):
    """What runs in a worker: told by its parent to leave, or by SIGTERM; without a parent it ends."""

    closes_door = False
    # How many connections it accepts at once, though others are free.
    backlog = 1

    def __init__(self, app: FastAPI, limits: Limits, parent: Connection, *, waits: bool) -> None:
        super().__init__(app, limits)
        self._parent = parent
        self._state = app.state.server
        self._state.waits, self._state.warmed = waits, self._say

    def _say(self, answered: bool) -> None:
        with suppress(OSError):
            self._parent.send_bytes(_READY if answered else _FAILED + b"the model failed; see the lines before")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, one connection at a time, so that the others get their share of those that wait."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        for listener in sockets or ():
            listener.listen(1024)  # asyncio has set it to what is accepted at once
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        while not self.closes_door:
            try:
                word = self._parent.recv_bytes()
            except (OSError, EOFError):
                word = _END
            if word == _ALIVE:
                if not self._loop.is_closed():
                    asyncio.run_coroutine_threadsafe(self._prove(), self._loop)
                continue
            self.closes_door = word == _END
            self._leave()

    async def _prove(self) -> None:
        """Answer the parent once the model is between two runs: neither it nor the loop hangs."""
        await self._state.free()
        with suppress(OSError):
            self._parent.send_bytes(_ALIVE)

    def _leave(self) -> None:
        self._state.closing = self.should_exit = True

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Leave on SIGTERM; Ctrl-C is for the parent, who tells."""
        if sig == signal.SIGTERM:
            self._leave()


def _work(
    make: Callable[[], FastAPI], listener: socket.socket, limits: Limits, parent: Connection, first: bool
) -> None:
    """Be a worker; the ``first`` of all answers ``/ready`` with 503 until it is, others let nobody in before."""
    quiet_forms()
    with shown():
        if not first:  # it says the same
            log.setLevel(logging.WARNING)
        try:
            app = make()
        except MobilenetsError as error:
            parent.send_bytes(_FAILED + str(error).encode())
            return
        _Server(app, limits, parent, waits=not first).run(sockets=[listener])


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    begun: float = field(default_factory=time.monotonic)
    ready: bool = False
    reason: str = ""
    unanswered: int = 0

    def tell(self, word: bytes) -> None:
        with suppress(OSError):
            self.pipe.send_bytes(word)


class Workers:
    """The parent of ``count`` processes that serve what ``make``, which can be pickled, makes."""

    def __init__(self, make: Callable[[], FastAPI], listener: socket.socket, limits: Limits, count: int) -> None:
        self._make, self._listener, self._limits, self._count = make, listener, limits, count
        self._serving: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._coming: _Worker | None = None
        self._old: deque[_Worker] = deque()
        # When others are started in place of those that died.
        self._due: list[float] = []
        self._pause = 0.0
        self._next_look = time.monotonic() + _LOOK
        self._announced = self._again = False

    def run(self, started: Callable[[], None]) -> None:
        """Serve until SIGTERM, which is a good end, or Ctrl-C, which raises ``KeyboardInterrupt``.

        ``started`` is called when all are ready. SIGHUP replaces them one by one. Raises ``InputError`` with the
        reason of one that cannot start in the beginning.
        """
        with tempfile.TemporaryDirectory(prefix="mobilenets-") as figures, signals() as (came, bell):
            self._figures = figures
            try:
                self._serving = [self._start(first=number == 0) for number in range(self._count)]
                while not {signal.SIGTERM, signal.SIGINT} & set(came):
                    if signal.SIGHUP in came:
                        came.remove(signal.SIGHUP)
                        self._replace()
                    self._turn(bell)
                    if not self._announced and all(worker.ready for worker in self._serving):
                        self._announced = True
                        started()
                        self._once_more()
            finally:
                self._end(came, bell)
            if signal.SIGINT in came:
                raise KeyboardInterrupt

    def _start(self, *, first: bool = False) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(self._make, self._listener, self._limits, theirs, first), daemon=True
        )
        before = os.environ.get(METRICS)
        # Ctrl-C and a closed terminal go to all processes of a group; these hear of them from their parent.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        os.environ[METRICS] = self._figures  # read where prometheus_client is imported
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.environ.pop(METRICS)
            if before is not None:
                os.environ[METRICS] = before
        theirs.close()
        return _Worker(process, ours)

    def _all(self) -> list[_Worker]:
        return [*self._serving, *self._leaving, *([self._coming] if self._coming else [])]

    def _turn(self, bell: socket.socket) -> None:
        """Wait for the next thing to happen, and see to it."""
        pause = max(0.0, min([self._next_look, *self._due]) - time.monotonic())
        workers = self._all()
        happened = wait(
            [bell, *(w.pipe for w in workers if not w.pipe.closed), *(w.process.sentinel for w in workers)], pause
        )
        if bell in happened:
            bell.recv(64)
        for worker in workers:
            if worker.pipe in happened:
                self._hear(worker)
            if worker.process.sentinel in happened:
                self._gone(worker)
        now = time.monotonic()
        while self._due and self._due[0] <= now:
            del self._due[0]
            self._serving.append(self._start())
        if now >= self._next_look:
            self._next_look = now + _LOOK
            for worker in (*self._serving, *self._leaving):
                self._look_after(worker)

    def _look_after(self, worker: _Worker) -> None:
        """Ask a worker whether it is alive; end one that hangs: another takes its place, or has taken it.

        Questions are counted and not seconds, so that a parent that was stopped for a while blames nobody.
        """
        if worker.unanswered >= _SILENT:
            worker.reason = f"it did not answer for {_SILENT * _LOOK:g} seconds, and was ended"
            worker.process.kill()
        elif worker.ready:
            worker.unanswered += 1
            worker.tell(_ALIVE)

    def _hear(self, worker: _Worker) -> None:
        try:
            word = worker.pipe.recv_bytes()
        except (OSError, EOFError):
            worker.pipe.close()
            return
        if word.startswith(_FAILED):
            worker.reason = word.removeprefix(_FAILED).decode()
            worker.process.terminate()
            return
        worker.unanswered = 0
        if word == _ALIVE:
            return
        worker.ready = True
        if worker is self._coming:
            self._coming = None
            self._serving.append(worker)
            old = self._old.popleft()
            if old in self._serving:
                self._serving.remove(old)
                self._leaving.append(old)
                old.tell(_LEAVE)
            else:
                self._next()

    def _gone(self, worker: _Worker) -> None:
        """A worker has ended: as it was told, before it was ready, or by itself."""
        if not worker.pipe.closed and worker.pipe.poll():
            self._hear(worker)
        worker.process.join()
        worker.pipe.close()
        self._forget(worker)
        why = worker.reason or f"it ended with status {worker.process.exitcode}"
        if worker in self._leaving:
            self._leaving.remove(worker)
            self._next()
        elif worker is self._coming:
            self._coming = None
            self._old.clear()
            log.error("a new worker did not start, the others go on: %s", why)
            if len(self._serving) + len(self._due) < self._count:
                self._start_later(worker)
            self._once_more()
        else:
            self._serving.remove(worker)
            if not self._announced:
                raise InputError(worker.reason or f"a worker did not start: {why}; is there enough memory?")
            log.warning("worker %d is gone (%s); another is started", worker.process.pid, why)
            # Unless the one that comes was to take its place.
            if self._coming is None or worker is not self._old[0]:
                self._start_later(worker)

    def _start_later(self, gone: _Worker) -> None:
        """Start another in place of one that is gone: at once if that one lived, else after longer pauses."""
        lived = gone.ready and time.monotonic() - gone.begun > _AT_ONCE
        self._pause = 0.0 if lived else min(_LONGEST, 2 * self._pause + 1)
        self._due = sorted([*self._due, time.monotonic() + self._pause])

    def _forget(self, worker: _Worker) -> None:
        """Have its pictures no longer counted among those that wait; what it has answered stays in the sums."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.process.pid, path=self._figures)  # type: ignore[no-untyped-call]

    def _replace(self) -> None:
        if self._old or self._coming or self._leaving or not self._announced:
            self._again = True
            return
        log.info("the workers are replaced one by one")
        self._old.extend(self._serving)
        self._next()

    def _next(self) -> None:
        """Start the worker that the next old one makes way for."""
        while self._old and self._old[0] not in self._serving:
            self._old.popleft()
        if self._old and self._coming is None:
            self._coming = self._start()
        elif not self._leaving and self._coming is None:
            log.info("%s ready", counted(len(self._serving), "worker"))
            self._once_more()

    def _once_more(self) -> None:
        """Replace them again, if that was asked for while they were being replaced."""
        if self._again:
            self._again = False
            self._replace()

    def _end(self, came: list[int], bell: socket.socket) -> None:
        """Have all of them answer what they have, and end; a second Ctrl-C does not wait."""
        workers = self._all()
        for worker in workers:
            if worker.ready:
                worker.tell(_END)
            else:
                worker.process.kill()
        end = time.monotonic() + self._limits.drain + self._limits.shutdown + _GRACE
        running = [worker.process.sentinel for worker in workers]
        while running and time.monotonic() < end and came.count(signal.SIGINT) < 2:
            happened = wait([bell, *running], max(0.0, end - time.monotonic()))
            if bell in happened:
                bell.recv(64)
            running = [sentinel for sentinel in running if sentinel not in happened]
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def check(count: int) -> None:
    """Refuse what cannot be: raises ``InputError``."""
    if count < 1:
        raise InputError(f"workers {count}: give a number from 1")
    if sys.platform == "win32":
        raise InputError("several workers need Linux or macOS; here start servers on several ports behind a proxy")
    if threading.current_thread() is not threading.main_thread():
        raise InputError("workers are started from the main thread of a program, which hears its signals")
