"""Ctrl-C and SIGTERM as requests that are met between two steps."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

log = logging.getLogger("mobilenets")


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Give what says whether the first Ctrl-C or SIGTERM has come; the second acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False
    former: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        for one, handler in former.items():
            signal.signal(one, handler)
        # A note that this very signal broke into cannot be begun again.
        with suppress(RuntimeError):
            log.info("stopping after this step; press Ctrl-C again to stop at once")

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        former[number] = signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
