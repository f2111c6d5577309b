from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mobilenets.base import download as module
from mobilenets.base.download import download
from mobilenets.errors import InputError

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """A server whose behaviour a test sets; ``ranges`` is what each request asked for."""

    url: str = ""
    supports_range: bool = True
    states_length: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes of the body, one for each of the first answers
    stall: bool = False  # keep the connection open after a cut
    status: list[int] = field(default_factory=list)  # of the first answers, then normal ones
    wrong_start: bool = False
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status:
                self.send_error(state.status.pop(0))
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if not state.supports_range:
                start = 0
            if start and start >= len(BODY):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(BODY)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                stated = start + 1 if state.wrong_start else start
                self.send_header("Content-Range", f"bytes {stated}-{len(BODY) - 1}/{len(BODY)}")
            if state.states_length:
                self.send_header("Content-Length", str(len(BODY) - start))
            self.end_headers()
            end = start + state.cut_after.pop(0) if state.cut_after else len(BODY)
            self.wfile.write(BODY[start:end])
            if state.stall and end < len(BODY):
                self.wfile.flush()
                self.connection.settimeout(2)
                self.connection.recv(1)  # until the client gives up

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/file.bin"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def failure(url: str, path: Path, **checks: object) -> str:
    """The message of the error, which is one line, names the address and the way round."""
    with pytest.raises(InputError) as caught:
        download(url, path, **checks)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert url in message
    assert "--archive FILE" in message
    assert not path.exists()
    return message


def test_whole_file_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "file.bin"
    result = download(
        server.url,
        path,
        sha256=SHA256,
        size=len(BODY),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result == path
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_good_file_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(BODY)
    download(server.url, path, sha256=SHA256)
    assert server.ranges == []
    path.write_bytes(b"damaged")
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == BODY


def test_length_unknown(server: Server, tmp_path: Path) -> None:
    server.states_length = False
    seen: list[int | None] = []
    path = download(server.url, tmp_path / "f", progress=lambda done, total: seen.append(total))
    assert path.read_bytes() == BODY
    assert set(seen) == {None}


def test_cut_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, 2000]
    path = download(server.url, tmp_path / "f", sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_part_of_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(BODY[:5000])
    path = download(server.url, tmp_path / "f", sha256=SHA256, size=len(BODY))
    assert path.read_bytes() == BODY
    assert server.ranges == ["bytes=5000-"]


def test_stalled_connection_is_resumed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.cut_after, server.stall = [1000], True
    path = download(server.url, tmp_path / "f", sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-"]


def test_server_without_range_starts_over(server: Server, tmp_path: Path) -> None:
    server.supports_range, server.cut_after = False, [1000]
    path = download(server.url, tmp_path / "f", sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-"]


def test_no_new_bytes_gives_up_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000] + [0] * 20
    assert "1,000 bytes" in failure(server.url, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f.part").read_bytes() == BODY[:1000]
    assert len(server.ranges) == 1 + module.ATTEMPTS


def test_server_errors_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.status = [503, 429]
    assert download(server.url, tmp_path / "f", sha256=SHA256).read_bytes() == BODY


def test_missing_file_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    server.status = [404]
    assert "HTTP 404" in failure(server.url, tmp_path / "f")
    assert len(server.ranges) == 1


def test_wrong_checksum_removes_the_part(server: Server, tmp_path: Path) -> None:
    assert "SHA-256" in failure(server.url, tmp_path / "f", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_wrong_size_is_refused_before_the_body(server: Server, tmp_path: Path) -> None:
    assert "10,240 bytes, but 999 are expected" in failure(server.url, tmp_path / "f", size=999)
    assert list(tmp_path.iterdir()) == []


def test_endless_body_is_stopped_at_the_size(server: Server, tmp_path: Path) -> None:
    server.states_length = False
    assert "but 999 are expected" in failure(server.url, tmp_path / "f", size=999)
    assert list(tmp_path.iterdir()) == []


def test_unsatisfiable_range_of_a_whole_part(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(BODY)
    assert download(server.url, tmp_path / "f", sha256=SHA256).read_bytes() == BODY
    assert server.ranges == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "f.part").write_bytes(BODY + b"more")
    assert download(server.url, tmp_path / "f", sha256=SHA256, size=size).read_bytes() == BODY
    assert server.ranges[-1] is None


def test_range_from_another_place_is_refused(server: Server, tmp_path: Path) -> None:
    server.wrong_start = True
    (tmp_path / "f.part").write_bytes(BODY[:10])
    assert "the wrong place" in failure(server.url, tmp_path / "f")


def test_refused_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert re.search("refused", failure(f"http://127.0.0.1:{port}/f", tmp_path / "f"), re.IGNORECASE)


def test_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/file.bin"))
    assert download("http://host.invalid/f", tmp_path / "f", sha256=SHA256).read_bytes() == BODY


@pytest.mark.parametrize("url", ["no-scheme", "file:///dev/null"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    failure(url, tmp_path / "f")


def test_unwritable_place(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        download(server.url, tmp_path / "file" / "f")
