"""What both tests of published weights serve on 127.0.0.1: ``runpy.run_path`` gives its names."""

import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from mobilenets.base import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@contextmanager
def hosting(
    handler: type[BaseHTTPRequestHandler], state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Serve ``state``, and let both sources look there, with caches of their own under ``tmp_path``."""
    for name in (*PROXIES, *map(str.upper, PROXIES), "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "ours"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), {"state": state})) as http:
        http.daemon_threads = True
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        point_at(state.url, monkeypatch)
        yield state
        huggingface_hub.close_session()
        http.shutdown()
        thread.join()


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both sources look elsewhere."""
    # huggingface_hub reads its variables when it is imported; test_variables_of_the_environment sets the real ones.
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setenv("MOBILENETS_KERAS_WEIGHTS", url + "/")


@dataclass
class Server:
    """What the hub, or the bucket of Keras's files, answers; ``asked`` is (method, path, Range) of each request."""

    body: bytes
    url: str = ""
    commit: str | None = COMMIT
    status: int = 200
    error_code: str = ""
    stated_size: int | None = None  # X-Linked-Size, where it is not the body's
    cut_after: list[int] = field(default_factory=list)  # bytes of the first answers to GET
    reset: bool = False  # a cut by RST in place of FIN
    moved: bool = False  # as the hub sends to its store: a redirect that states ETag and size
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.etag = hashlib.sha256(self.body).hexdigest()

    def gets(self) -> list[str | None]:
        return [asked for method, _, asked in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        state, asked = self.state, self.headers.get("Range")
        if self.path.startswith("/api/"):  # a list of the library's own, which it can do without
            self.send_error(404)
            return
        state.asked.append((self.command, self.path, asked))
        if state.status != 200:
            self.send_response(state.status)
            if state.error_code:
                self.send_header("X-Error-Code", state.error_code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        moved = state.moved and "/resolve/" in self.path
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(302 if moved else 206 if asked else 200)
        if state.commit is not None:
            self.send_header("X-Repo-Commit", state.commit)
        if moved:
            self.send_header("Location", state.url + "/store/file")
            self.send_header("X-Linked-Etag", f'"{state.etag}"')
            self.send_header("X-Linked-Size", str(len(state.body)))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("ETag", f'"{state.etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if state.stated_size is not None:
            self.send_header("X-Linked-Size", str(state.stated_size))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
        self.send_header("Content-Length", str(len(state.body) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = start + state.cut_after.pop(0) if state.cut_after else len(state.body)
        self.wfile.write(state.body[start:end])
        if end < len(state.body):
            self.close_connection = True
            if state.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass
