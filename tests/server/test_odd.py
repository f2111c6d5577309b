"""Requests and pictures that are odd, and well-formed all the same; and some that are not."""

from __future__ import annotations

import io
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    """Return a JPEG that lies on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    return saved(gradient, "JPEG", exif=exif)


def pictures() -> dict[str, bytes]:
    red = Image.new("RGB", (40, 30), "red")
    frames = [Image.new("RGB", (40, 30), color) for color in ("blue", "lime")]
    deep = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)
    return {
        "turned.jpg": turned(),
        "alpha.png": saved(Image.new("RGBA", (40, 30), (0, 0, 255, 90)), "PNG"),
        "palette.png": saved(red.convert("P"), "PNG", transparency=0),
        "animated.gif": saved(red, "GIF", save_all=True, append_images=frames, duration=50),
        "animated.webp": saved(red, "WEBP", save_all=True, append_images=frames),
        "deep.png": saved(Image.fromarray(deep), "PNG"),
        "ink.jpg": saved(Image.new("CMYK", (40, 30), (0, 200, 200, 20)), "JPEG"),
        "pages.tiff": saved(red, "TIFF", save_all=True, append_images=frames),
        "line.png": saved(Image.new("RGB", (3000, 1), "lime"), "PNG"),
        "dot.bmp": saved(Image.new("RGB", (1, 1), "blue"), "BMP"),
    }


def talk(server: Any, *parts: bytes) -> bytes:
    """Send bytes as they are; return all that comes back until the server closes."""
    with server.connect() as connection:
        for part in parts:
            connection.sendall(part)
        whole = b""
        while part := connection.recv(65536):
            whole += part
        return whole


def post(body: bytes, *headers: bytes) -> bytes:
    lines = (b"POST /predict HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *headers, b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_pictures_of_every_kind_are_answered_as_by_predict(running: Run, tools: Any) -> None:
    files = pictures()
    with running(labels=tools.LABELS) as server:
        alone = {name: server.post("/predict?language=zh", data) for name, data in files.items()}
        together = server.send(*files.items(), path="/predict?language=zh").json
        for (name, data), one in zip(files.items(), together, strict=True):
            prepared = [server.predictor.prepare(data)]
            assert one == {"image": name, **server.predictor.answers(prepared, 5, "zh")[0]}, name
            assert alone[name].json == [one | {"image": "picture 1"}], name


def test_the_type_that_is_said_does_not_matter(running: Run, tools: Any) -> None:
    with running() as server:
        for kind in ("", "image/jpeg", "text/plain; charset=utf-8", "application/json", "\xe9;;;=", "multipart/mixed"):
            answer = server.post("/predict", tools.png(), {"Content-Type": kind})
            assert answer.status == 200, kind
        body, _ = tools.form(("a.png", tools.png()))
        for kind in ('Multipart/Form-Data; Boundary="xyz"', "multipart/form-data;boundary=xyz;charset=utf-8"):
            assert server.post("/predict", body, {"Content-Type": kind}).status == 200, kind


def test_parts_of_a_form(running: Run, tools: Any) -> None:
    def part(disposition: bytes, data: bytes) -> bytes:
        return b"--xyz\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + data + b"\r\n"

    picture, end = tools.png("blue"), b"--xyz--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}

    def images(body: bytes) -> Any:
        answer = server.post("/predict", body, headers)
        assert answer.status == 200, answer
        return [one["image"] for one in answer.json]

    with running() as server:
        # Whatever the field is called; other fields and an epilogue are passed over.
        assert images(part(b'form-data; name="photo"; filename="a.png"', picture) + end) == ["a.png"]
        assert images(part(b'form-data; name="x"; filename="a.png"', picture) + end + b"bye") == ["a.png"]
        assert images(part(b'form-data; name="top"', b"3") + part(b'form-data; filename="b"', picture) + end) == ["b"]
        names = ["猫 🐈.png", 'a"b.png', "<img src=x onerror=alert(1)>", "\u202egnp.exe", "a;b=c.png"]
        sent = [part(f'form-data; name="f"; filename="{n}"'.replace('a"b', 'a\\"b').encode(), picture) for n in names]
        assert images(b"".join(sent) + end) == names
        assert images(part("form-data; name=f; filename=caf\xe9.png".encode("latin-1"), picture) + end) == [
            "caf\ufffd.png"
        ]
        # A file of no bytes beside a good one has its own reason.
        mixed = part(b'form-data; filename="a"', b"") + part(b'form-data; filename="b"', picture) + end
        answer = server.post("/predict", mixed, headers).json
        assert answer[0] == {"image": "a", "error": "the file is empty", "code": "empty"}
        assert answer[1]["predictions"][0]["label"] == "bottle"
        empty = server.post("/predict", part(b'form-data; filename=""', b"") + end, headers)
        assert empty.status == 422 and empty.json["code"] == "empty"
        none = server.post("/predict", part(b'form-data; name="file"', picture) + end, headers)
        assert none.status == 422 and none.json["code"] == "no_picture"
        for wrong in (
            b"",
            end,
            b"--xyz\r\n\r\n" + picture,
            part(b'form-data; filename="a"', picture),
            part(b'form-data; filename="a"', picture) + b"--xyz-",
            b"--xyz\r\n: x\r\n\r\n" + end,
            b"--xyz\r\nA\r\n\r\n" + end,
            b"--xyz\nContent-Disposition: form-data; filename=a\n\n" + picture + b"\n--xyz--",
        ):
            answer = server.post("/predict", wrong, headers)
            assert answer.status in (400, 422) and answer.json["code"] in ("broken_form", "no_picture"), wrong
        for boundary in ("", "x" * 300, '"', "\xe9", "=?utf-8?q?a?="):
            answer = server.post("/predict", end, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
            assert answer.status == 400 and answer.json["code"] == "broken_form", boundary


def test_thousands_of_empty_parts(running: Run) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
    with running() as server:
        for head in (b"A: b", b'Content-Disposition: form-data; filename="a"'):
            answer = server.post("/predict", (b"--xyz\r\n" + head + b"\r\n\r\n\r\n") * 20_000 + b"--xyz--", headers)
            assert answer.status == 413 and answer.json["code"] in ("too_many_fields", "too_many_pictures")


def test_parameters(running: Run, tools: Any) -> None:
    with running(labels=tools.LABELS) as server:
        for query in ("top=1", "top=10000", "top=3&top=1", "unknown=1", "language=zh", "", "&&=&", "top=%31"):
            assert server.post(f"/predict?{query}", tools.png()).status == 200, query
        for query in ("top=-1", "top=", "top=1.5", "top=" + "9" * 6000, "top=%FF", "language=", "language=%FF%00"):
            answer = server.post(f"/predict?{query}", tools.png())
            assert answer.status == 422 and answer.json["code"] in ("wrong_parameter", "unknown_language"), query
        for query in ("language=" + "z" * 36, "language=%E4%B8%AD", "language=zh-", "language=ZH"):
            assert server.post(f"/predict?{query}", tools.png()).status == 422, query


def test_head_is_get_without_its_body(running: Run, tools: Any) -> None:
    with running(token="sesame") as server:
        for path in ("/", "/health", "/ready", "/openapi.json", "/page/page.js"):
            answer, whole = tools.ask(server.port, "HEAD", path), tools.ask(server.port, "GET", path)
            assert answer.status == 200 and answer.body == b"", path
            assert answer.headers["content-length"] == str(len(whole.body)), path
        assert tools.ask(server.port, "HEAD", "/model").status == 401
        assert tools.ask(server.port, "HEAD", "/none").status == 401
        # The connection goes on behind it.
        request = (
            b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        seen = talk(server, request)
        assert seen.count(b"HTTP/1.1 200 ") == 2 and seen.endswith(b'{"status":"ok"}') and seen.count(b'"ok"') == 1


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods(running: Run, tools: Any, method: str) -> None:
    with running() as server:
        answer = tools.ask(server.port, method, "/predict")
        assert answer.status == 405 and answer.headers["allow"] == "POST"
        assert "access-control-allow-origin" not in answer.headers


def test_who_waits_to_be_told_to_go_on(running: Run, tools: Any) -> None:
    picture = tools.png()
    with running(token="sesame", body_bytes=10_000) as server:

        def expecting(length: int, token: bytes) -> socket.socket:
            connection: socket.socket = server.connect()
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nAuthorization: Bearer %s\r\n" % token
                + b"Content-Length: %d\r\n\r\n" % length
            )
            return connection

        with expecting(len(picture), b"sesame") as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(picture)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        # A no comes at once, instead of the word to go on.
        for length, token, status in ((len(picture), b"no", b"401"), (20_000, b"sesame", b"413")):
            with expecting(length, token) as connection:
                assert connection.recv(1000).startswith(b"HTTP/1.1 " + status)


def test_odd_heads(running: Run, tools: Any) -> None:
    picture = tools.png()
    with running() as server:
        assert talk(server, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert b" 200 " in talk(server, post(picture, b"Upgrade: websocket", b"Connection: upgrade"))[:20]
        assert b" 200 " in talk(server, post(picture, *[b"X-%d: y" % n for n in range(100)]))[:20]
        # A byte at a time.
        assert b" 200 " in talk(server, *(bytes([byte]) for byte in post(picture)))[:20]
        chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = b"".join(b"%x;a=b\r\n%s\r\n" % (1, picture[i : i + 1]) for i in range(len(picture)))
        assert b" 200 " in talk(server, chunked + pieces + b"0\r\nX-Trailer: y\r\n\r\n")[:20]
        for wrong in (
            chunked + b"zz\r\n",
            b"GET /health HTTP/1.1\r\n\r\n",  # without a host
            b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            assert talk(server, wrong).startswith(b"HTTP/1.1 400 "), wrong[:60]
        assert server.get("/health").status == 200


def test_answers_come_in_the_order_of_the_requests(running: Run, tools: Any) -> None:
    requests = [post(tools.png(color)).replace(b"Connection: close\r\n", b"") for color in ("red", "lime", "blue")]
    with running() as server:
        seen = talk(server, b"".join(requests) + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in seen.split(b"HTTP/1.1 200 OK")[1:]]
    assert len(bodies) == 4 and json.loads(bodies[3]) == {"status": "ok"}
    found = [json.loads(body)[0]["predictions"][0]["label"] for body in bodies[:3]]
    assert found == ["can", "peel", "bottle"]


def test_senders_who_are_cut_off_leave_nothing_behind(running: Run, tools: Any) -> None:
    whole = post(tools.png())
    with running() as server:
        server.engine.gate.clear()
        for length in (3, 40, len(whole) - 10, len(whole)):
            for _ in range(10):
                connection = server.connect()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(whole[:length])
                connection.close()  # with a reset
        server.engine.gate.set()
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 0)
        tools.wait_until(lambda: len(server.server.server_state.connections) <= 1)
        assert server.post("/predict", tools.png()).status == 200
        assert not any('status="500"' in line for line in server.get("/metrics").body.decode().splitlines())
