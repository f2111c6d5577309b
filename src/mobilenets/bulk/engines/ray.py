"""Parts by a pool of actors on a Ray cluster.

Ray Data is not used: it names its files itself, forgets which of them a killed run had finished, and joins and cuts
blocks, while here a part is a file, known by name. Actors restart wherever there is room (``max_restarts``), but a part
is not tried again by Ray (``max_task_retries`` is 0): it goes to whoever is free, and not behind an actor that waits
for a machine. Each actor asks a ``Worker``, so time limits and bad pictures are as with processes. Answers come back to
the driver, which writes them: the machines need to see the pictures and the model, and no common place to write to.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mobilenets.base.notes import log
from mobilenets.bulk.engines import LOOK, Course
from mobilenets.bulk.job import Answered, Failed
from mobilenets.bulk.parts import Part
from mobilenets.bulk.worker import Worker
from mobilenets.datasets.shards.remote import address_of
from mobilenets.errors import InputError, MobilenetsError

# Of the package around this module, which is there before it is.
VERSION: str = sys.modules["mobilenets"].__version__

# Machines that a part may take down, or lose, before it is given up.
MOST_LOSSES = 4
# The answers of a part are small and are fetched at once: a store of the least size that Ray takes does.
STORE = 80 << 20
PATIENCE = 60.0
# Seconds that a cluster may take to answer.
LONGEST = 10.0


class Answerer:
    """What runs as an actor: a worker on some machine of the cluster."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._worker = Worker(asked)

    def ready(self, where: str, version: str) -> str | None:
        """Open the model; returns what stands in the way of answering on this machine."""
        if version != VERSION:
            return f"{socket.gethostname()} has mobilenets {VERSION}, not {version}"
        try:
            self._worker.open()
        except MobilenetsError as error:
            return f"{socket.gethostname()}: {error}"
        seen = address_of(where) is not None or Path(where).exists()
        return None if seen else f"{socket.gethostname()} does not see {where}"

    def answer(self, part: Part) -> Answered | Failed:
        """Answer for a part."""
        try:
            return self._worker.answer(part)
        except MobilenetsError as error:
            return Failed(str(error))


@contextmanager
def _cluster(address: str | None, workers: int | None, threads: int) -> Iterator[tuple[Any, int]]:
    """Connect to a cluster, or start one on this machine; gives Ray and how many actors to ask for."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None and "RAY_ADDRESS" not in os.environ:
        # Without "local" it would join a cluster that somebody runs on this machine.
        own = {"address": "local", "include_dashboard": False, "object_store_memory": STORE}
        settings |= own if workers is None else own | {"num_cpus": workers * threads}
    else:
        settings["address"] = address or os.environ["RAY_ADDRESS"]
    try:
        host, _, port = settings["address"].rpartition(":")
        if port.isdigit() and "/" not in host:  # where nobody answers, Ray itself tries for minutes
            socket.create_connection((host, int(port)), LONGEST).close()
        ray.init(**settings)
    except Exception as error:  # a cluster that is not there, or that does not start: each its own, some bare
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"Ray: {reason}; start one with `ray start --head`, or leave --ray-address out") from error
    try:
        room = int(ray.cluster_resources().get("CPU", 1)) // threads
        yield ray, workers or max(1, room)
    finally:
        ray.shutdown()


def answered(parts: Sequence[Part], asked: dict[str, Any], workers: int | None, address: str | None) -> Course:
    """Have parts answered by actors; gives each as it is done.

    Parts of a machine that is lost are done again by others. Raises ``InputError`` where a machine cannot open the
    model or does not see the pictures.
    """
    with _cluster(address, workers, asked["threads"]) as (ray, count):
        kind = ray.remote(num_cpus=asked["threads"], max_restarts=-1, max_task_retries=0)(Answerer)
        crew = [kind.remote(asked) for _ in range(min(count, len(parts)))]
        try:
            yield from _handed_out(ray, crew, parts)
        finally:
            for actor in crew:
                with suppress(Exception):  # one that is gone anyway
                    ray.kill(actor)


def _handed_out(ray: Any, crew: Sequence[Any], parts: Sequence[Part]) -> Course:
    """Hand parts to actors as they become free; one that is lost is waited for, and its part goes to another."""

    def opening(actor: Any) -> Any:
        # Waits until it has been started, again if need be: calls of an actor that is down fail at once otherwise.
        return actor.ready.options(max_task_retries=-1).remote(parts[0].where, VERSION)

    waiting, idle, losses = deque(parts), list[Any](), Counter[str]()
    under_way: dict[Any, tuple[Any, Part | None]] = {opening(actor): (actor, None) for actor in crew}
    heard, told = time.monotonic(), False
    while waiting or any(part is not None for _, part in under_way.values()):
        while waiting and idle:
            actor, part = idle.pop(), waiting.popleft()
            under_way[actor.answer.remote(part)] = actor, part
        done, _ = ray.wait(list(under_way), timeout=LOOK)
        for reference in done:
            heard = time.monotonic()
            actor, asked_for = under_way.pop(reference)
            try:
                found = ray.get(reference)
            except ray.exceptions.RayError as error:
                if asked_for is not None:
                    losses[asked_for.name] += 1
                    log.warning("%s: its worker was lost; it is done again", asked_for.name)
                    if losses[asked_for.name] >= MOST_LOSSES:
                        yield asked_for, Failed(f"lost {MOST_LOSSES} times: {type(error).__name__}")
                    else:
                        waiting.appendleft(asked_for)
                elif not isinstance(error, ray.exceptions.RayActorError):
                    raise InputError(f"a worker cannot start: {' '.join(str(error).split())[-300:]}") from error
                under_way[opening(actor)] = actor, None
                continue
            if asked_for is None and found is not None:
                raise InputError(f"{found}: every machine of the cluster needs it, under the same path")
            idle.append(actor)
            if asked_for is not None:
                yield asked_for, found
        if not told and time.monotonic() - heard > PATIENCE and not any(part for _, part in under_way.values()):
            told = True
            log.warning("no machine of the cluster has room for a worker; waiting for one")
        yield 0
