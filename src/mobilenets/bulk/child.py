"""A process that answers for parts: it is told of them on standard input, a line of JSON each.

For each it writes a line of JSON, ``{"bytes": N, "counts": …, "seconds": …}`` or ``{"failed": reason}``, and then the N
bytes of the file of answers. Which picture it is at stands in a file that outlives it, so that one that kills it, or
takes too long, is known by name.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mobilenets.bulk.answering import NETWORK, PLACE, answers, counted
from mobilenets.bulk.reading import Named, from_elsewhere, read_part
from mobilenets.bulk.tables import encode
from mobilenets.errors import MobilenetsError, UnreadablePicture
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.predictor import EnginePredictor

# Seconds that a picture, or a shard, may take to come from elsewhere, which has limits of its own.
LONGEST = 3600.0


def open_predictor(asked: dict[str, Any]) -> EnginePredictor:
    """Open the model that a job asks for; raises ``InputError``, for one that would need PyTorch too."""
    predictor = Predictor(asked["model"], "cpu", runtime=asked["runtime"], threads=asked["threads"])
    threshold = asked["threshold"]
    return predictor if threshold is None else predictor.with_threshold(threshold)


class _Watch:
    """Where the process is, for who looks from outside; and its end, where one step takes too long."""

    def __init__(self, path: Path, limit: float) -> None:
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), PLACE.size)
        self._limit, self._armed, self._done = limit, 0.0, 0

    def begin(self) -> None:
        self._done = 0
        self.at(NETWORK)

    def at(self, index: int) -> None:
        self._done = max(self._done, index)
        PLACE.pack_into(self._shared, 0, index, self._done)
        now = time.monotonic()
        # Not for every picture: a step may take the limit, and at most a quarter more.
        if now - self._armed > self._limit / 4:
            self._armed = now
            faulthandler.dump_traceback_later(1.25 * self._limit, exit=True)

    def wait(self) -> None:
        """Give the step that follows more time, until the next one."""
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        self._armed = 0.0

    def rest(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._armed = 0.0
        PLACE.pack_into(self._shared, 0, NETWORK, 0)


def _answer(predictor: EnginePredictor, asked: dict[str, Any], part: dict[str, Any], watch: _Watch) -> dict[str, Any]:
    """Answer for a part; gives the line, and under ``content`` the bytes."""
    begun = time.monotonic()
    aside = {int(index): reason for index, reason in part["aside"].items()}
    wait = watch.wait if from_elsewhere(part) else lambda: None

    def named() -> Iterator[Named]:
        wait()
        for index, (name, picture) in enumerate(read_part(part, asked["limit"])):
            yield name, UnreadablePicture(aside[index]) if index in aside else picture
            wait()

    try:
        watch.begin()
        rows = list(answers(predictor, named(), batch=asked["batch"], top=asked["top"], at=watch.at))
        content = encode(rows, asked["format"], predictor.places, asked["about"])
    except (MobilenetsError, OSError, RuntimeError, MemoryError) as error:
        return {"failed": " ".join(str(error).split()) or type(error).__name__, "content": b""}
    finally:
        watch.rest()
    seconds = time.monotonic() - begun
    return {"bytes": len(content), "counts": counted(rows), "seconds": seconds, "content": content}


def main(place: str) -> None:
    """Open the model, then answer for parts until standard input ends."""
    with suppress(ValueError):  # Ctrl-C is for the one who asks, who then closes the pipe
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints is no answer
    asked = json.loads(sys.stdin.readline())
    watch = _Watch(Path(place), asked["limit"])
    try:
        predictor = open_predictor(asked)
        line: dict[str, Any] = {"ready": True}
    except MobilenetsError as error:
        line = {"unusable": str(error)}
    with suppress(BrokenPipeError):
        while True:
            content = line.pop("content", b"")
            out.write(json.dumps(line).encode() + b"\n" + content)
            out.flush()
            told = sys.stdin.readline()
            if not told:
                return
            line = _answer(predictor, asked, json.loads(told), watch)
