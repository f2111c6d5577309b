"""The server's process: connections that may not dawdle, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from h11 import IDLE
from uvicorn.protocols.http.h11_impl import H11Protocol

from mobilenets.server.limits import Limits

_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CROWDED = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


def connections(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with bounds on how many there are and how long each side may take."""

    class Connection(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._end(_CROWDED)
            self._watch()

        def data_received(self, data: bytes) -> None:
            if not self.transport.is_closing():
                super().data_received(data)
                self._watch()

        def _watch(self) -> None:
            """Give a head its time from the first moment that one is expected."""
            if self.conn.their_state is not IDLE:
                self._unwatch()
            elif self._head is None:
                self._head = self.loop.call_later(limits.header, self._end, _SLOW)

        def _unwatch(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _end(self, answer: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                self.transport.close()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(limits.idle, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

    return Connection


class Server(uvicorn.Server):
    """A uvicorn server that, told to end, first says so and lets in who is on the way."""

    def __init__(self, app: FastAPI, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=connections(limits),
                loop="asyncio",
                ws="none",
                interface="asgi3",
                lifespan="on",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(limits.shutdown),
            )
        )
        self._app = app
        self._drain = limits.drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer ``Connection: close`` for a moment, then close the door, answer the rest, and end."""
        self._app.state.server.closing = True
        await asyncio.sleep(self._drain)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to end; a second Ctrl-C ends at once."""
        self._app.state.server.closing = True
        super().handle_exit(sig, frame)


def run(app: FastAPI, listener: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM, which is a good end, or Ctrl-C, which raises ``KeyboardInterrupt``."""
    # It would say of every broken form where it broke.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    with _terminable():
        Server(app, limits).run(sockets=[listener])


@contextmanager
def _terminable() -> Iterator[None]:
    """Make nothing of the SIGTERM that uvicorn raises again after it has shut down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
