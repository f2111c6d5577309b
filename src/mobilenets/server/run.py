"""The server's process: connections that may not dawdle, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI
from h11 import IDLE, SEND_BODY
from uvicorn.protocols.http.h11_impl import H11Protocol

from mobilenets.server.limits import Limits

_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SMALL = b"the body came in too many small chunks: send it whole, or in chunks of a kilobyte or more\n"
_CHOPPED = (
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    % (len(_TOO_SMALL), _TOO_SMALL)
)
_CROWDED = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)
_NO_NEWCOMERS = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A socket filter of Linux (code, jump if true, jump if false, value): drop what has TCP's SYN flag, pass the rest."""
_LEAST, _MOST, _WHOLE = 2 << 10, 32 << 10, 256 << 10
"""Bytes read from one connection before the others have their turn: each chunk of a body takes its time, be it of one
byte, so that many are read only from a body that comes in large ones, and most from one that is not in chunks."""
_FRAMING = 32 << 10
"""Bytes that may come around those of a body, beside one for every 32 of its own: some 6,000 chunks."""
_HANDSHAKE = 0.1
"""Seconds for connections that are being made to be made, and for accepted ones to be known."""
_LAST_WORDS = 0.5
"""Seconds from the door's closing to that of connections on which nothing comes."""


class _Connection(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP protocol with bounds on how many there are, how long each side may take, and what it costs."""

    limits: ClassVar[Limits]
    # One for all: what is read is handled before anything else is.
    buffer: ClassVar[bytearray]
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _at_once = _LEAST
    _content = _framing = 0
    _chunked = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._end(_CROWDED)
        self._watch()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say how much may be read at once."""
        return memoryview(self.buffer)[: self._at_once]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(memoryview(self.buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        before = 0 if cycle is None else len(cycle.body)
        super().data_received(data)
        self._watch()
        if self.conn.their_state is not SEND_BODY:
            self._at_once = _LEAST
        elif cycle is None or self.cycle is not cycle:  # the head of a request
            self._chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
            self._content = self._framing = 0
            self._at_once = _LEAST if self._chunked else _WHOLE
        elif self._chunked:
            self._weigh(len(data), len(cycle.body) - before)

    def _weigh(self, read: int, content: int) -> None:
        """Hold what came against how much of it was the body's."""
        self._content += content
        self._framing += read - content
        lean = read - content <= read // 32
        self._at_once = min(2 * self._at_once, _MOST) if lean else _LEAST
        if self._framing > _FRAMING + self._content // 32:
            self._end(b"" if self.cycle.response_started else _CHOPPED)

    def _watch(self) -> None:
        """Give a head its time from the first moment that one is expected."""
        if self.conn.their_state is not IDLE:
            self._unwatch()
        elif self._head is None:
            self._head = self.loop.call_later(self.limits.header, self._end, _SLOW)

    def _unwatch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def shutdown(self) -> None:
        self.loop.call_later(_LAST_WORDS, self.hang_up)

    def hang_up(self) -> None:
        """Close behind the last answer; now, if none is due."""
        if not (self.transport.is_closing() or self._begun()):
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        if not self._begun():
            super().timeout_keep_alive_handler()

    def _begun(self) -> bool:
        """Whether some of a head has come, be it only to the socket; its time is then kept by the watch."""
        if self.conn.their_state is not IDLE or self.transport.is_closing():
            return False
        if self.conn.trailing_data[0]:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.transport.get_extra_info("socket"), selectors.EVENT_READ)
            return bool(selector.select(0))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.idle, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)


def connections(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol of a server with these limits."""
    return type("Connection", (_Connection,), {"limits": limits, "buffer": bytearray(_WHOLE)})


class Server(uvicorn.Server):
    """A uvicorn server that, told to end, first says so and lets in who is on the way."""

    closes_door = True
    """Whether the door closes when this server ends: not where others go on behind it."""
    backlog = 2048

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
                backlog=self.backlog,
                proxy_headers=False,
                timeout_keep_alive=limits.keep_alive,
                timeout_graceful_shutdown=int(limits.shutdown),
            )
        )
        self._app = app
        self._drain = limits.drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer ``Connection: close`` for a moment, then close the door, answer the rest, and end."""
        self._app.state.server.closing = True
        await asyncio.sleep(self._drain)
        late = []
        if self.closes_door:
            for listener in sockets or ():
                _turn_away(listener)
            await asyncio.sleep(_HANDSHAKE)
            late = [connection for listener in sockets or () for connection in _queued(listener)]
        for server in self.servers:
            server.close()
        for connection in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(_HANDSHAKE)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to end; a second Ctrl-C ends at once."""
        self._app.state.server.closing = True
        super().handle_exit(sig, frame)


def _turn_away(listener: socket.socket) -> None:
    """Let the system drop who asks to connect from now on: one who came while the door closes would be hung up on.

    Elsewhere than on Linux this does nothing, and a connection made in that moment is lost.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_NEWCOMERS))
    about = struct.pack("HP", len(_NO_NEWCOMERS), ctypes.addressof(program))
    with suppress(OSError):  # not every Linux has it (gVisor)
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, about)


def _queued(listener: socket.socket) -> Iterator[socket.socket]:
    """Let in who has connected and was not yet seen; the system would hang up on them when the listener closes."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        yield connection


def run(app: FastAPI, listener: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM, which is a good end, or Ctrl-C, which raises ``KeyboardInterrupt``."""
    quiet_forms()
    with _terminable():
        Server(app, limits).run(sockets=[listener])


def quiet_forms() -> None:
    """Keep the reader of forms from saying of every broken one where it broke."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


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
