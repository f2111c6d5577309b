"""What stands between the network and the routes: names, token, security headers, refusals, figures, the end."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mobilenets.server.hosts import Hosts
from mobilenets.server.limits import Limits, Refused
from mobilenets.server.metrics import Metrics

SECURITY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass
class State:
    """Where a server is between its start and its end."""

    closing: bool = False
    waits: bool = False
    """Whether nobody is let in before the model has answered once."""
    warmed: Callable[[bool], None] = lambda answered: None
    """Told when the model has answered once, or failed."""
    free: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
    """Waits until the model is between two runs, which one that hangs never is."""


@dataclass(frozen=True, eq=False)
class Guard:
    """Middleware around the whole application.

    ``open_paths`` need no token; ``known_paths`` are counted under their own names.
    """

    app: ASGIApp
    state: State
    limits: Limits
    metrics: Metrics
    token: str | None
    hosts: Hosts
    open_paths: Collection[str]
    known_paths: Collection[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self)
        if scope["method"] == "HEAD":
            # As GET (RFC 9110, 9.3.2); uvicorn keeps the body back.
            scope = {**scope, "method": "GET"}
        try:
            refusal = self._refusal(scope)
            if refusal is None:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await refusal_response(refusal)(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # The last moment of a shutdown.
            if exchange.status is not None:
                raise
            late = Refused(503, "closing", "the server is shutting down", retry_after=5)
            await refusal_response(late)(scope, exchange.receive, exchange.send)
        finally:
            exchange.count()

    def _refusal(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        # A page elsewhere may not use the reader's browser to reach a server that listens to this machine only.
        refusal = self.hosts.refusal(headers, scope["method"])
        if refusal is not None:
            return refusal
        if self.token is None or scope["path"] in self.open_paths:
            return None
        given = headers.get("authorization", "")
        kind, _, token = given.partition(" ")
        same = hmac.compare_digest(token.strip().encode(), self.token.encode())
        if kind.lower() == "bearer" and same:
            return None
        return Refused(401, "wrong_token" if given else "no_token", "send the token: Authorization: Bearer TOKEN")


def refusal_response(refusal: Refused) -> JSONResponse:
    """Answer with a status and ``{"error": reason, "code": code}``."""
    headers = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": refusal.reason, "code": refusal.code}, refusal.status, headers)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, guard: Guard) -> None:
        self.status: int | None = None
        self._scope, self._receive, self._send, self._guard = scope, receive, send, guard
        self._begun = time.perf_counter()
        # A sender who waits for `100 Continue` sends nothing more once it has another answer.
        headers = Headers(scope=scope)
        self._waits = headers.get("expect", "").lower() == "100-continue"
        self._whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        self._waits = False
        message = await self._receive()
        self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            # Who is to come back later must not find the connection just closed by a shutdown.
            if self._guard.state.closing or self.status == 503 or not self._whole:
                headers["connection"] = "close"
        elif not message.get("more_body", False) and not self._whole and not self._waits:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _linger(self) -> None:
        """Read on for a while: were the connection closed on a sender, the answer would be lost on the way."""
        try:
            async with asyncio.timeout(self._guard.limits.linger):
                while not self._whole:
                    await self.receive()
        except TimeoutError:
            pass

    def count(self) -> None:
        """Count the request."""
        path = self._scope["path"] if self._scope["path"] in self._guard.known_paths else "other"
        self._guard.metrics.requests.labels(path, str(self.status or 500)).inc()
        self._guard.metrics.seconds.labels(path).observe(time.perf_counter() - self._begun)
