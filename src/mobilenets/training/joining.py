"""How the processes of a training find one another, and what they tell one another.

Numbers go as sums over all of them: by gloo from the memory of the CPU, by NCCL from that of GPUs. Words, and waits
that may be long, go by the store at which the processes found each other; there each also leaves a sign of life.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mobilenets.errors import FaultFound, InputError, LostProcess, MobilenetsError
from mobilenets.training.processes import ALONE, Processes

# torchrun's, and what MPI and other launchers are told to set for PyTorch.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# A process that is killed is noticed at once, because its connections close. This is for a cable that is pulled.
TIMEOUT = timedelta(minutes=5)
# Seconds: from one sign of life to the next; without one, until a process counts as lost, and until it does once an
# exchange has failed; and for the first process to take the word.
BEAT, SILENCE, ROLL_CALL, MANNERS = 1.0, 60.0, 4.0, 10.0
# And no fault of the program.
SAID_IN_A_LINE = (MobilenetsError, KeyboardInterrupt, OSError, MemoryError)
GO_ON = "run the same command again with --resume to go on from the last checkpoint"


class Joined(Processes):
    """One of several processes, with their store and process group of PyTorch."""

    def __init__(self, store: Any, group: Any) -> None:
        super().__init__(dist.get_rank(), dist.get_world_size())
        self._store, self._group, self._meetings, self._told = store, group, 0, False
        self._ended = threading.Event()
        store.set(f"host/{self.rank}", socket.gethostname())
        threading.Thread(target=self._live, daemon=True, name="sign of life").start()

    def add(self, values: Tensor) -> None:
        """Replace a tensor by its sum over all processes; raises what ``_loss`` says where one is gone."""
        if not values.numel():
            return
        try:
            dist.all_reduce(values, group=self._group)
        except RuntimeError as error:
            raise self._loss() from error

    def meet(self) -> None:
        """Wait until all processes are here."""
        self._meetings += 1
        key = f"met/{self._meetings}"
        self._wait(lambda: self._store.add(key, 0) >= self.count, key)

    def publish(self, result: str) -> None:
        """Leave the result of all for the others."""
        self._store.set("result", result)

    def published(self) -> str:
        """Wait for the result that the first process leaves."""
        self._wait(lambda: self._store.check(["result"]))
        return str(self._store.get("result").decode())

    def _wait(self, done: Callable[[], bool], count: str | None = None) -> None:
        """Wait for the others, having counted this process, as long as each of them gives signs of life."""
        try:
            if count is not None:
                self._store.add(count, 1)
            seen, heard = self._beats(), [time.monotonic()] * self.count
            while not done():
                word = self._word()
                if word is not None:
                    raise word
                time.sleep(0.025 * self.count)  # each asks the store about all
                now = self._beats()
                for rank in range(self.count):
                    if now[rank] != seen[rank] or rank == self.rank:
                        heard[rank] = time.monotonic()
                seen = now
                if time.monotonic() - min(heard) > SILENCE:
                    raise self._loss()
        except RuntimeError as error:
            raise self._loss() from error

    def part(self) -> None:
        """Wait a little for the others before this process, which may hold the store, ends."""
        with suppress(RuntimeError):
            self._store.add("parted", 1)
            until = time.monotonic() + MANNERS
            while self._store.add("parted", 0) < self.count and time.monotonic() < until:
                time.sleep(0.05)

    def tell(self, error: BaseException) -> None:
        """Leave word of why this process ends, for those who will miss it; what is told first stands."""
        if self._told:
            return
        self._told = True
        said = {"kind": type(error).__name__, "line": str(error)}
        for kind in (LostProcess, FaultFound, MobilenetsError, KeyboardInterrupt):
            if isinstance(error, kind):
                said["kind"] = kind.__name__
                break
        with suppress(RuntimeError):
            self._store.set(f"word/{self.rank}", json.dumps(said))

    def speaks(self) -> bool:
        """Say whether this process is to tell the person how it ended: one does, by preference the first."""
        try:
            until = time.monotonic() + (0 if self.first else MANNERS)
            while time.monotonic() < until and not self._store.add("spoken", 0):
                beats = self._beats()
                time.sleep(2 * BEAT)
                if self._beats()[0] == beats[0]:  # it will say nothing any more
                    break
            return bool(self._store.add("spoken", 1) == 1)
        except RuntimeError:  # the store has gone with the process that held it
            return True

    def close(self) -> None:
        """Let the others see at once that this process exchanges nothing any more."""
        self._ended.set()
        with suppress(RuntimeError, ValueError, AssertionError):
            dist.destroy_process_group(self._group)

    def _live(self) -> None:
        with suppress(RuntimeError):
            while not self._ended.wait(BEAT):
                self._store.add(f"beat/{self.rank}", 1)

    def _beats(self) -> list[int]:
        return [self._store.add(f"beat/{rank}", 0) for rank in range(self.count)]

    def _word(self) -> BaseException | None:
        """Give what another process left word of, as this one is to raise it; a cause before its consequences."""
        found: BaseException | None = None
        for rank in range(self.count):
            key = f"word/{rank}"
            if rank == self.rank or not self._store.check([key]):
                continue
            said = json.loads(self._store.get(key))
            kind, line = said["kind"], said["line"]
            if kind == "KeyboardInterrupt":
                return KeyboardInterrupt(line)
            if kind == "LostProcess":
                found = LostProcess(line)
            elif kind in ("MobilenetsError", "FaultFound"):
                raised = FaultFound if kind == "FaultFound" else InputError
                return raised(line if rank == 0 else f"{self._name(rank)}: {line}")
            else:
                return LostProcess(f"{self._name(rank)} failed: {kind}: {line}".splitlines()[0])
        return found

    def _name(self, rank: int) -> str:
        host = self._store.get(f"host/{rank}").decode() if self._store.check([f"host/{rank}"]) else "its machine"
        return f"rank {rank} of {self.count} on {host}"

    def _loss(self) -> BaseException:
        """Say why an exchange failed: by the word that a process left, else by who gives no sign of life any more."""
        try:
            before, until = self._beats(), time.monotonic() + ROLL_CALL
            while time.monotonic() < until:
                word = self._word()
                if word is not None:
                    return word
                time.sleep(0.2)
            still = [rank for rank, beat in enumerate(self._beats()) if beat == before[rank] and rank != self.rank]
            if not still:
                return LostProcess(f"the {self.count} processes of this training lost touch; {GO_ON}")
            who = self._name(still[0])
        except RuntimeError:  # the store has gone with the process that held it
            who = f"rank 0 of {self.count}"
        return LostProcess(f"{who} ended without a word (killed, or out of memory?); {GO_ON}")


_joined: Joined | None = None
_meeting: tuple[Any, int, int] | None = None
_trainings = 0


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes of a training while the block runs, where there are any.

    These are the ones that torchrun started, told by its variables of the environment, or those of the process group
    of PyTorch that this process is in. In a block within a block they are the same. What a block raises, the others
    raise too, at the latest when they next exchange something.
    """
    global _joined, _meeting, _trainings
    if _joined is not None:
        yield _joined
        return
    there = dist.is_available() and dist.is_initialized()
    if not there and not all(os.environ.get(name) for name in VARIABLES):
        yield ALONE
        return
    if (str(dist.get_world_size()) if there else os.environ["WORLD_SIZE"]) == "1":
        yield ALONE
        return
    _trainings += 1
    distributed: Any = dist  # not all of it is exported to type checkers
    # Of its own for each training: what one has left in the store would lead the next one astray.
    place, group = f"mobilenets/{_trainings}", None
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        if there:
            group = dist.new_group(backend=backend, timeout=TIMEOUT)
            store = distributed.PrefixStore(place, distributed.distributed_c10d._get_default_store())
        else:
            _meeting = _meeting or next(distributed.rendezvous("env://", timeout=TIMEOUT))
            found, rank, count = _meeting
            store = distributed.PrefixStore(place, found)
            dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the {os.environ.get('WORLD_SIZE', '')} processes of this training did not find one another: "
            f"{str(error).splitlines()[0]}"
        ) from error
    _joined = Joined(store, group)
    here = _joined
    try:
        yield here
        here.part()
    except BaseException as error:
        here.tell(error)
        raise
    finally:
        here.close()
        _joined = None


@contextmanager
def one_voice() -> Iterator[Processes]:
    """Join as ``joined`` does, and have one process alone say how the block fails; the others end without a word."""
    with joined() as processes:
        try:
            yield processes
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(processes, Joined) or not isinstance(error, SAID_IN_A_LINE):
                raise
            processes.tell(error)
            processes.close()  # at once, so that nobody waits for this process any longer
            if processes.speaks():
                raise
            raise SystemExit(
                130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 2)
            ) from None
