"""Standard output and error that may be closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

OUTPUT = "standard output"


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Let the block write to both streams whatever has become of them.

    What goes to a closed stream is dropped, and so is what standard error does not take: notes are no reason to stop.
    An error of standard output names it, so that it is not taken for one of a file.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    out, err = (_Dropped() if stream is None or stream.closed else stream for stream in before)
    if isinstance(out, io.TextIOWrapper):
        # A file's name may hold what the output's encoding lacks.
        out.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = _Output(out), _Notes(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Open the null device where the caller closed 0, 1 or 2: else the next file opened would get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)


def discard(stream: Any) -> None:
    """Let what is still to be written go nowhere, so that Python does not complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Dropped(io.StringIO):
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


class _Steady:
    """A stream whose writing goes through ``_do``; everything else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._do("write", text)
        return len(text)

    def flush(self) -> None:
        self._do("flush")

    def _do(self, name: str, *words: str) -> None:
        getattr(self._stream, name)(*words)


class _Output(_Steady):
    def _do(self, name: str, *words: str) -> None:
        try:
            super()._do(name, *words)
        except OSError as error:
            discard(self._stream)
            raise OSError(error.errno, error.strerror, OUTPUT) from error


class _Notes(_Steady):
    def _do(self, name: str, *words: str) -> None:
        try:
            super()._do(name, *words)
        except (OSError, ValueError):
            discard(self._stream)
            self._stream = _Dropped()
