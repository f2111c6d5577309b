"""One sender may not take the server from the others, however it sends."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from mobilenets.server import run, structure
from mobilenets.server.limits import check_size
from mobilenets.server.structure import MAX_PARTS, TooManyParts

Run = Callable[..., Any]
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE = b"1\r\na\r\n"


def read_all(connection: Any) -> bytes:
    whole = b""
    try:
        while part := connection.recv(65536):
            whole += part
    except ConnectionError:
        pass
    return whole


def test_chunks_of_one_byte_are_cut_off(running: Run, tools: Any) -> None:
    with running() as server:
        with server.connect() as connection:
            connection.sendall(HEAD + ONE * 10_000)
            said = read_all(connection)
        assert said.startswith(b"HTTP/1.1 413 ") and b"small chunks" in said
        # A few thousand do no harm; neither do many larger ones.
        picture = tools.png()
        for size, count in ((1, 5_000), (1024, 2_000)):
            body = picture + bytes(size * count - len(picture))
            pieces = (b"%x\r\n%s\r\n" % (size, body[at : at + size]) for at in range(0, len(body), size))
            with server.connect() as connection:
                connection.sendall(
                    HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"".join(pieces) + b"0\r\n\r\n"
                )
                assert read_all(connection).startswith(b"HTTP/1.1 200 "), size


def test_others_have_their_turn_between(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four senders of tiny chunks ahead of it, a small request is answered before one of them is done with."""
    order: list[str] = []
    end, complete = run._Connection._end, H11Protocol.on_response_complete

    def cut(self: Any, answer: bytes) -> None:
        order.append("cut")
        end(self, answer)

    def answered(self: Any) -> None:
        order.append("answered")
        complete(self)

    with running() as server, ExitStack() as stack:
        free, held = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            assert free.wait(120)

        server.server.servers[0].get_loop().call_soon_threadsafe(hold)
        assert held.wait(120)
        monkeypatch.setattr(run._Connection, "_end", cut)
        monkeypatch.setattr(H11Protocol, "on_response_complete", answered)
        greedy = [stack.enter_context(server.connect()) for _ in range(4)]
        for connection in greedy:
            connection.sendall(HEAD + ONE * 9_000)
        with server.connect() as small:
            small.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            free.set()
            assert read_all(small).startswith(b"HTTP/1.1 200 ")
        for connection in greedy:
            read_all(connection)
    assert order[0] == "answered" and order.count("cut") == 4


def test_a_body_in_large_chunks_is_read_in_large_pieces() -> None:
    connection = run.connections(run.Limits()).__new__(run.connections(run.Limits()))
    assert len(connection.get_buffer(-1)) == run._LEAST
    for _ in range(10):
        connection._weigh(1000, 1000)
    assert len(connection.get_buffer(-1)) == run._MOST
    connection._weigh(1000, 900)
    assert len(connection.get_buffer(-1)) == run._LEAST


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").quantize(4).convert("P" if kind == "GIF" else "RGB").save(file, kind)
    return file.getvalue()


PNG, JPEG, GIF = saved("PNG"), saved("JPEG"), saved("GIF")
MANY = MAX_PARTS + 1


@pytest.mark.parametrize(
    ("start", "part", "rest"),
    [
        (PNG[:33], chunk(b"abCd"), PNG[33:]),
        (PNG[:33], chunk(b"IDAT"), PNG[33:]),
        (PNG[:-12], chunk(b"tEXt", b"a\0b"), PNG[-12:]),
        (JPEG[:2], b"\xff\xed\0\2", JPEG[2:]),
        (JPEG[:2], b"\xff", JPEG[2:]),
        (GIF[: GIF.index(b"\x2c")], b"\x21\xfe\1a\0", GIF[GIF.index(b"\x2c") :]),
        (GIF[: GIF.index(b"\x2c")], b"\0", GIF[GIF.index(b"\x2c") :]),
        (GIF[: GIF.index(b"\x2c")] + b"\x21\xfe", b"\1a", b"\0" + GIF[GIF.index(b"\x2c") :]),
    ],
)
def test_files_of_very_many_parts(start: bytes, part: bytes, rest: bytes) -> None:
    check_size(start + part * 1000 + rest, 100)
    with pytest.raises(TooManyParts, match="parts"):
        check_size(start + part * MANY + rest, 100)


def test_cut_off_files_are_left_to_decode() -> None:
    for whole in (PNG, JPEG, GIF):
        for length in range(len(whole)):
            structure.check_structure(whole[:length])


def test_packed_bitmaps() -> None:
    head = b"BM" + bytes(28) + b"\1\0\0\0"
    structure.check_structure(head + bytes(1000))
    with pytest.raises(TooManyParts, match="BMP"):
        structure.check_structure(head + bytes(2 << 20))
    structure.check_structure(head[:30] + bytes(2 << 20))
