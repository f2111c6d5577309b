"""Ctrl-C and SIGTERM as requests that are met between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mobilenets.base.notes import log

INTERRUPTED = 130


@contextmanager
def stop_requests(alone: bool = True) -> Iterator[Callable[[], bool]]:
    """Give what says whether the first Ctrl-C or SIGTERM has come.

    With ``alone`` it is said that it came. One of several processes says only how it ended: they stop each other.

    The two together, as some send them, are one request. The second of a kind raises ``KeyboardInterrupt`` at once,
    and the third ends the process as it stands: every file is whole or as it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    counts: dict[int, int] = {}
    former: dict[int, Any] = {}

    # It stays in place for both: Python prints a traceback where a handler is changed while its signal waits.
    def ask(number: int, frame: Any) -> None:
        counts[number] = counts.get(number, 0) + 1
        if counts[number] > 2:
            os._exit(INTERRUPTED)
        if counts[number] > 1:
            raise KeyboardInterrupt
        if len(counts) == 1 and alone:
            # A note that this very signal broke into cannot be begun again.
            with suppress(RuntimeError):
                log.info("stopping after this step; press Ctrl-C again to stop at once")

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        if signal.getsignal(number) is not None:  # else a program around Python, such as R, has it, and keeps it
            former[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(counts)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
