"""The signals that a parent of several servers hears."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals() -> Iterator[tuple[list[int], socket.socket]]:
    """Collect the signals that come, and wake who waits for the socket; SIGHUP of a closed terminal is an end."""
    bell, hammer = socket.socketpair()
    came: list[int] = []
    had = _has_terminal()

    def hear(number: int, _: Any) -> None:
        came.append(signal.SIGTERM if number == signal.SIGHUP and had and not _has_terminal() else number)

    with bell, hammer:
        hammer.setblocking(False)
        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        wakeup = signal.set_wakeup_fd(hammer.fileno())
        try:
            yield came, bell
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
