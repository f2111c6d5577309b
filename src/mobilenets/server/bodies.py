"""From the body of a request to pictures, without ever holding more than the limits allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mobilenets.server.limits import Budget, Limits, Refused, too_many

MAX_FIELDS = 16
"""Parts that are no files."""
_CHUNK = 1 << 16


class Intake:
    """Reads requests; the bytes of all that are in at once count against one budget."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits.bodies_bytes)

    @asynccontextmanager
    async def pictures(self, request: Request) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Give the pictures of a request with their names: files of a multipart form, or the body itself.

        Raises ``Refused``: 400 for a broken form, 408 for a slow sender, 413 for too much, 422 for no picture, 503
        when the other requests hold too much.
        """
        body = bytearray()
        try:
            await self._read(request, body)
            kind, options = parse_options_header(request.headers.get("content-type"))
            if kind.lower() == b"multipart/form-data":
                # In a thread: a form may be made so that parsing takes its time.
                yield await asyncio.to_thread(_parts, body, options.get(b"boundary", b""), self.limits)
            else:
                yield [("picture 1", bytes(body))]
        finally:
            self.budget.give(len(body))

    async def _read(self, request: Request, body: bytearray) -> None:
        limits = self.limits
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.body_bytes:
            raise _too_long(limits)
        stream = request.stream()
        try:
            async with asyncio.timeout(limits.upload):
                while True:
                    async with asyncio.timeout(limits.idle):
                        chunk = await anext(stream, None)
                    if chunk is None:
                        return
                    if len(body) + len(chunk) > limits.body_bytes:
                        raise _too_long(limits)
                    self.budget.take(len(chunk))
                    body += chunk
        except TimeoutError:
            raise Refused(408, "too_slow", "the picture came too slowly") from None
        except ClientDisconnect:
            raise Refused(400, "hung_up", "the client closed the connection") from None


def _too_long(limits: Limits) -> Refused:
    mib = limits.body_bytes / (1 << 20)
    return Refused(413, "body_too_large", f"the request is too long; the limit is {mib:g} MiB")


@dataclass
class _Form:
    """What a multipart parser has found; the callbacks have its names."""

    limits: Limits
    files: list[tuple[str, bytes]] = field(default_factory=list)
    fields: int = 0
    head: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    name: str | None = None
    ended: bool = False

    def on_part_begin(self) -> None:
        self.headers, self.content, self.name = {}, bytearray(), None

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.head += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        self.headers[bytes(self.head).lower()] = bytes(self.value)
        self.head, self.value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        if b"filename" not in options:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise Refused(413, "too_many_fields", f"too many fields in the form; the limit is {MAX_FIELDS}")
            return
        if len(self.files) == self.limits.pictures:
            raise too_many(self.limits.pictures)
        name = options[b"filename"].decode("utf-8", "replace")
        self.name = name.replace("\\", "/").rsplit("/", 1)[-1][:200] or f"picture {len(self.files) + 1}"

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.name is not None:
            self.content += data[start:end]

    def on_part_end(self) -> None:
        if self.name is not None:
            self.files.append((self.name, bytes(self.content)))

    def on_end(self) -> None:
        self.ended = True


def _parts(body: bytearray, boundary: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    """Take a multipart form (RFC 7578) apart."""
    form = _Form(limits)
    try:
        callbacks = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}
        parser = MultipartParser(boundary, cast(Any, callbacks))
        view = memoryview(body)
        # By chunks, so that the callbacks can stop it.
        for place in range(0, len(body), _CHUNK):
            parser.write(bytes(view[place : place + _CHUNK]))
        parser.finalize()
    except FormParserError:
        raise Refused(400, "broken_form", "the form is malformed: send multipart/form-data with its boundary") from None
    if not form.ended:
        raise Refused(400, "broken_form", "the form ends too early")
    if not form.files:
        raise Refused(422, "no_picture", "there is no picture in the form: send it as a file")
    return form.files
