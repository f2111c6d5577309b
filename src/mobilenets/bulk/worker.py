"""The one who asks a child process for the answers of parts, and starts another one where it dies."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mobilenets.bulk.answering import NETWORK, PLACE
from mobilenets.bulk.job import Answered, Failed
from mobilenets.bulk.parts import Part
from mobilenets.errors import InputError

# Deaths that a part may cost, where each of them tells a bad picture.
MOST_DEATHS = 20
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mobilenets.bulk.child import main; main(sys.argv[2])"
)


class Worker:
    """A process that answers for one part after another; it is started by the first.

    ``asked`` has what ``child.open_predictor`` and the loop need: ``model runtime threads threshold top batch format
    limit about``.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._folder = tempfile.TemporaryDirectory(prefix="mobilenets-")
        self._place = Path(self._folder.name) / "place"
        self._place.write_bytes(bytes(PLACE.size))
        self._closed = threading.Event()

    def open(self) -> None:
        """Start the process, if there is none; raises ``InputError`` where it cannot open the model."""
        if self._process is not None:
            return
        self._complaints.seek(0)
        self._complaints.truncate()
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(self._place)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._complaints)
        line = self._said(self._asked)
        if line is None:
            raise InputError(f"a worker cannot start: {self._end()[0]}")
        if "unusable" in line:
            self._stop()
            raise InputError(line["unusable"])

    def answer(self, part: Part) -> Answered | Failed:
        """Get the answers of a part.

        A process that dies costs it one more try. A picture that takes too long, or at which it dies twice, becomes a
        bad row, and the rest is answered. Raises ``InputError`` where the model cannot be opened (any more).
        """
        aside: dict[int, str] = {}
        before: tuple[str, int] | None = None
        for _ in range(MOST_DEATHS):
            if self._closed.is_set():
                break
            self.open()
            line = self._said(part.to_json() | {"aside": aside})
            if line is not None and "failed" not in line:
                assert self._process is not None and self._process.stdout is not None
                content = self._process.stdout.read(line["bytes"])
                if len(content) == line["bytes"]:
                    return Answered(content, line["counts"], line["seconds"])
                line = None
            if self._closed.is_set():
                break
            reason, at, slow = (line["failed"], NETWORK, False) if line is not None else self._end()
            if slow and at != NETWORK:
                aside[at] = f"took longer than {self._asked['limit']:g} s"
            elif before is None:
                before = (reason, at)
            elif at != NETWORK and at == before[1]:
                aside[at], before = f"the process that reads it ends: {reason}", None
            else:
                return Failed(reason)
        return Failed(
            "stopped" if self._closed.is_set() else f"{MOST_DEATHS} of its pictures end the process that reads them"
        )

    def done(self) -> int:
        """Say how many pictures of the part under way are answered for, about."""
        with suppress(OSError, struct.error):  # another process is being started
            return int(PLACE.unpack(self._place.read_bytes())[1])
        return 0

    def close(self) -> None:
        """End the process, whatever it does."""
        self._closed.set()
        self._stop()
        self._complaints.close()
        with suppress(OSError):
            self._folder.cleanup()

    def _said(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Tell the process something and wait for its line; None where it has ended."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # it ended, or ``close`` took the pipe away
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def _end(self) -> tuple[str, int, bool]:
        """Look at the end of the process: why, at which picture, and whether that took too long."""
        assert self._process is not None
        status = self._process.wait()
        self._stop()
        at, _ = PLACE.unpack(self._place.read_bytes())
        self._place.write_bytes(bytes(PLACE.size))
        self._complaints.seek(0)
        words = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        if status < 0:
            with suppress(ValueError):
                name = signal.Signals(-status).name
                return f"{name} (out of memory?)" if name == "SIGKILL" else name, at, False
        slow = any(line.startswith("Timeout (") for line in words)
        limit = f"a step took longer than {self._asked['limit']:g} s"
        return limit if slow else f"status {status}: {''.join(words[-1:])}".rstrip(": "), at, slow

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()
        process.wait()
