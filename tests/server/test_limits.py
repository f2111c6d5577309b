from __future__ import annotations

import io
import socket
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from mobilenets.pictures.decode import PictureTooLarge, decode
from mobilenets.server.limits import check_size
from mobilenets.server.structure import MAX_SCANS

Run = Callable[..., Any]


def bomb(side: int) -> bytes:
    """Return a PNG that says it is so large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def scans(count: int) -> bytes:
    """Return a progressive JPEG with its last scan repeated."""
    file = io.BytesIO()
    Image.effect_noise((32, 32), 50).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + b"\xff\xd9"


def read_all(connection: socket.socket) -> bytes:
    whole = b""
    while part := connection.recv(65536):
        whole += part
    return whole


def test_body_too_long_by_its_own_word(running: Run, tools: Any) -> None:
    with running(body_bytes=10_000) as server:
        answer = server.post("/predict", bytes(10_001))
        assert answer.status == 413 and answer.json["error"].startswith("the request is too long")
        assert answer.json["code"] == "body_too_large"
        assert server.post("/predict", bytes(10_000)).status == 422


def test_body_too_long_without_a_word(running: Run) -> None:
    with running(body_bytes=100_000) as server, server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
        sent = 0
        # It never ends: the answer must come while it is sent.
        connection.settimeout(0.2)
        seen = b""
        while not seen and sent < 5_000_000:
            connection.sendall(chunk)
            sent += 10_000
            try:
                seen = connection.recv(65536)
            except TimeoutError:
                connection.settimeout(0.001)
        assert seen.startswith(b"HTTP/1.1 413 "), seen


def test_a_refused_body_is_read_on_so_that_the_answer_arrives(running: Run) -> None:
    with running(body_bytes=1000) as server:
        # Far more than the buffers of the sockets hold.
        assert server.post("/predict", bytes(30_000_000)).status == 413


def test_pixels(running: Run, tools: Any) -> None:
    with running(pixels=10_000) as server:
        assert server.post("/predict", tools.png(side=100)).status == 200
        answer = server.post("/predict", tools.png(side=101))
        assert answer.status == 413 and answer.json["error"] == "101 x 101 pixels; the limit is 0.01 million"
        assert answer.json["code"] == "too_many_pixels"
        assert server.post("/predict", scans(MAX_SCANS + 1)).json["code"] == "too_many_scans"
        for side in (8_000, 12_000, 60_000):
            assert server.post("/predict", bomb(side)).status == 413
        # Beside one that is fine, it is one answer of two.
        both = server.send(("a.png", tools.png()), ("b.png", bomb(60_000)))
        assert both.status == 200 and "error" in both.json[1]


def test_scans() -> None:
    check_size(scans(20), 10**6)
    decode(scans(20))
    with pytest.raises(PictureTooLarge, match="scans"):
        check_size(scans(MAX_SCANS + 1), 10**6)
    # Behind the end of the picture there may be a film, whose bytes mean something else.
    check_size(scans(1) + b"\xff\xda\x00\x02" * 1000, 10**6)


def test_cut_off_jpeg_is_left_to_decode() -> None:
    whole = scans(1)
    for length in range(2, len(whole), 7):
        check_size(whole[:length], 10**6)


def test_pictures_a_request(running: Run, tools: Any) -> None:
    with running(pictures=3) as server:
        assert len(server.send(*[("a.png", tools.png())] * 3).json) == 3
        answer = server.send(*[("a.png", tools.png())] * 4)
        assert answer.status == 413 and answer.json["error"] == "too many pictures; the limit is 3 per request"
        assert answer.json["code"] == "too_many_pictures"


def test_fields_of_a_form(running: Run, tools: Any) -> None:
    field = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    body, headers = tools.form(("a.png", tools.png()))
    with running() as server:
        assert server.post("/predict", field * 16 + body, headers).status == 200
        assert server.post("/predict", field * 17 + body, headers).status == 413


def test_broken_forms(running: Run, tools: Any) -> None:
    body, headers = tools.form(("a.png", tools.png()))
    with running() as server:
        for wrong in (
            (b"words", headers),
            (body[:-20], headers),
            (body, {"Content-Type": "multipart/form-data"}),
            (body, {"Content-Type": "multipart/form-data; boundary=other"}),
            (b"--xyz\r\n" + b"A" * 1_000_000, headers),
        ):
            answer = server.post("/predict", *wrong)
            assert answer.status == 400 and "form" in answer.json["error"], wrong
            assert answer.json["code"] == "broken_form"
        empty = server.post("/predict", b"--xyz--\r\n", headers)
        assert empty.status in (400, 422)


def test_no_picture(running: Run) -> None:
    with running() as server:
        for body, reason, code in (
            (b"", "the file is empty", "empty"),
            (b"words", "not a picture but text", "not_a_picture"),
            (scans(1)[:200], "the picture is damaged", "damaged"),
        ):
            answer = server.post("/predict", body)
            assert answer.status == 422
            assert answer.json["error"].startswith(reason) and answer.json["code"] == code
            assert answer.json["pictures"][0]["code"] == code
            assert answer.json["pictures"][0]["image"] == "picture 1"


def test_queue(running: Run, tools: Any) -> None:
    with running(queue=4) as server, ThreadPoolExecutor(8) as pool:
        server.engine.gate.clear()
        asked = [pool.submit(server.post, "/predict", tools.png()) for _ in range(3)]
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 3)
        # Two more do not fit.
        refused = server.send(("a.png", tools.png()), ("b.png", tools.png()))
        assert refused.status == 503 and refused.headers["retry-after"] == "1"
        assert refused.json["code"] == "busy"
        asked.append(pool.submit(server.post, "/predict", tools.png()))
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 4)
        assert server.post("/predict", bytes(5_000_000)).status == 503  # without reading the picture
        server.engine.gate.set()
        assert [one.result().status for one in asked] == [200] * 4
        assert server.post("/predict", tools.png()).status == 200


def test_time(running: Run, tools: Any) -> None:
    with running(answer=0.3) as server:
        server.engine.gate.clear()
        answer = server.post("/predict", tools.png())
        assert answer.status == 503 and answer.json["error"].startswith("no answer within 0.3 seconds")
        assert answer.json["code"] == "late"
        assert answer.headers["retry-after"] == "1"
        server.engine.gate.set()
        assert server.post("/predict", tools.png()).status == 200


def test_all_bodies_together(running: Run, tools: Any) -> None:
    with running(bodies_bytes=100_000) as server, server.connect() as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + bytes(80_000))
        tools.wait_until(lambda: server.post("/predict", bytes(50_000)).status == 503)
        slow.close()
        # What its sender gave up is free again.
        tools.wait_until(lambda: server.post("/predict", bytes(50_000)).status == 422)


def test_a_head_that_does_not_end(running: Run) -> None:
    with running(header=0.5) as server, server.connect() as connection:
        begun = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        connection.settimeout(0.1)
        seen = b""
        while time.monotonic() < begun + 120 and not seen:
            connection.sendall(b"X-A: b\r\n")  # a byte now and then does not gain time
            try:
                seen = connection.recv(1000)
            except TimeoutError:
                continue
        assert seen.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun > 0.4


def test_a_connection_between_two_requests(running: Run) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with running(keep_alive=3) as server, server.connect() as connection:
        for pause in (1.6, 1.6, 0):  # counted anew from each answer
            connection.sendall(request)
            seen = b""
            while not seen.endswith(b'{"status":"ok"}'):
                seen += connection.recv(65536)
                assert seen.startswith(b"HTTP/1.1 200 ")
            time.sleep(pause)
        begun = time.monotonic()
        assert connection.recv(1) == b"" and time.monotonic() - begun < 120
    # Proxies keep theirs for a minute: they should be the first to close.
    with running() as server:
        assert server.server.config.timeout_keep_alive > 60


def test_a_connection_that_says_nothing(running: Run) -> None:
    with running(header=0.3) as server, server.connect() as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_stops(running: Run, tools: Any) -> None:
    with running(idle=0.3, linger=0.2) as server, server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_drips(running: Run) -> None:
    with running(idle=5.0, upload=0.6, linger=0.2) as server, server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        connection.settimeout(0.1)
        seen, end = b"", time.monotonic() + 120
        while not seen and time.monotonic() < end:
            connection.sendall(b"a")
            try:
                seen = connection.recv(1000)
            except TimeoutError:
                continue
        assert seen.startswith(b"HTTP/1.1 408 ")


def test_a_reader_that_does_not_read(running: Run, tools: Any) -> None:
    with running(idle=0.3, explain=lambda picture: bytes(50_000_000)) as server, server.connect() as connection:
        picture = tools.png()
        connection.sendall(b"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture)
        name = 'mobilenets_requests_total{path="/explain",status="200"}'

        def counted() -> bool:
            return name in server.get("/metrics").body.decode()

        time.sleep(1)
        tools.wait_until(counted)
        tools.wait_until(lambda: len(server.server.server_state.connections) <= 1)


def test_connections(running: Run) -> None:
    with running(connections=5) as server:
        held = [server.connect() for _ in range(5)]
        try:
            with server.connect() as late:
                assert read_all(late).startswith(b"HTTP/1.1 503 ")
        finally:
            for one in held:
                one.close()


def test_not_http(running: Run) -> None:
    with running() as server:
        for words in (
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/9\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ):
            with server.connect() as connection:
                connection.sendall(words)
                assert read_all(connection).startswith(b"HTTP/1.1 400 ")
        assert server.get("/health").status == 200


def test_token(running: Run, tools: Any) -> None:
    right = {"Authorization": "Bearer open-sesame"}
    with running(token="open-sesame") as server:
        for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/page/page.js"):
            assert server.get(path).status == 200
        for path in ("/model", "/metrics"):
            assert server.get(path).status == 401
            assert server.get(path, **right).status == 200
        assert server.get("/model").json["code"] == "no_token"
        for wrong in (
            {},
            {"Authorization": "Bearer open-sesam"},
            {"Authorization": "Basic open-sesame"},
            {"Authorization": "Bearer \xe9"},
        ):
            answer = server.post("/predict", tools.png(), wrong)
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["code"] == ("wrong_token" if wrong else "no_token")
        assert server.post("/predict", tools.png(), right).status == 200


def test_pages_of_other_sites_may_not_use_it(running: Run, tools: Any) -> None:
    with running() as server:
        for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
            assert server.post("/predict", tools.png(), {"Sec-Fetch-Site": site}).status == status


def test_one_connection_many_requests(running: Run, tools: Any) -> None:
    picture = tools.png()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture
    with running() as server, server.connect() as connection:
        connection.sendall(request * 5 + request.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        assert read_all(connection).count(b"HTTP/1.1 200 ") == 6
