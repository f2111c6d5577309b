from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import mobilenets

Run = Callable[..., Any]


def test_the_last_answers_are_given(running: Run, tools: Any) -> None:
    """With the engine busy, the server is told to end: what waits in the queue, and what is still sent, is answered."""
    picture = tools.png()
    with running(drain=0.3) as server, ThreadPoolExecutor(20) as pool:
        server.engine.gate.clear()
        asked = [pool.submit(server.post, "/predict", picture) for _ in range(20)]
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 20)
        with server.connect() as half:
            half.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture[:10]
            )
            time.sleep(0.1)
            server.server.handle_exit(signal.SIGTERM, None)
            late = server.get("/ready")
            assert late.status == 503 and late.json == {"error": "shutting down", "code": "closing"}
            assert late.headers["connection"] == "close"
            time.sleep(1)
            half.sendall(picture[10:])
            server.engine.gate.set()
            assert half.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert [one.result().status for one in asked] == [200] * 20


def test_a_head_that_has_begun_is_heard_to_its_end(running: Run, tools: Any) -> None:
    """Also when it ends only after the door and the connections that say nothing have been closed."""
    with running() as server, server.connect() as begun, server.connect() as idle:
        begun.sendall(b"GET /health HTTP/1.1\r\nHost:")
        tools.wait_until(lambda: len(server.server.server_state.connections) == 2)
        server.server.handle_exit(signal.SIGTERM, None)
        assert idle.recv(1) == b""
        begun.sendall(b" x\r\n\r\n")
        answer = begun.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer.lower()


def test_who_has_connected_is_let_in(running: Run, tools: Any) -> None:
    """Also when the server, busy with others, has not yet looked at the door."""
    picture = tools.png()
    with running() as server, ThreadPoolExecutor(8) as pool:
        [door] = server.server.servers
        listener = door.sockets[0].fileno()
        door.get_loop().call_soon_threadsafe(door.get_loop().remove_reader, listener)
        asked = [pool.submit(server.post, "/predict", picture) for _ in range(8)]
        time.sleep(0.5)
        server.server.handle_exit(signal.SIGTERM, None)
        assert [one.result().status for one in asked] == [200] * 8


def test_what_has_come_to_the_socket_is_heard(running: Run, tools: Any) -> None:
    """A connection is to be closed, idle for long or at the end, when a request has come that was not yet read."""
    for end in ("timeout_keep_alive_handler", "hang_up"):
        sent = threading.Event()
        with running() as server, server.connect() as connection:
            connections = server.server.server_state.connections
            tools.wait_until(lambda open=connections: len(open) == 1)
            [ours] = connections

            def close(ours: Any = ours, end: str = end, sent: threading.Event = sent) -> None:
                assert sent.wait(120)
                getattr(ours, end)()

            server.server.servers[0].get_loop().call_soon_threadsafe(close)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
            sent.set()
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_is_too_late_hears_so(running: Run, tools: Any) -> None:
    with running(shutdown=1.0, answer=60.0) as server, ThreadPoolExecutor(1) as pool:
        server.engine.gate.clear()
        asked = pool.submit(server.post, "/predict", tools.png())
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 1)
        server.server.should_exit = True
        answer = asked.result()
        assert answer.status == 503 and answer.headers["retry-after"] == "5"
        server.engine.gate.set()


class Client(threading.Thread):
    """Asks again and again on one connection; a request counts as lost when it was sent and not answered."""

    def __init__(self, port: int, picture: bytes) -> None:
        super().__init__()
        self.port, self.picture = port, picture
        self.statuses: list[int] = []
        self.lost: list[str] = []

    def run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        while True:
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError:  # the door is closed: nothing was let in
                return
            try:
                connection.request("POST", "/predict", self.picture)
                answer = connection.getresponse()
                json.loads(answer.read())
                self.statuses.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return


def test_sigterm_under_load_loses_nothing(trained: Any, tools: Any, tmp_path: Path) -> None:
    picture = (trained.data / "cat" / "000.png").read_bytes()
    with tools.serving(trained.run, tmp_path / "errors") as server:
        clients = [Client(server.port, picture) for _ in range(16)]
        for client in clients:
            client.start()
        tools.wait_until(lambda: sum(len(client.statuses) for client in clients) > 200)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(120)
        assert server.process.wait(120) == 0
        assert [lost for client in clients for lost in client.lost] == []
        assert {status for client in clients for status in client.statuses} == {200}
        assert "Traceback" not in server.errors.read_text()


def test_ctrl_c(trained: Any, tools: Any, tmp_path: Path) -> None:
    with tools.serving(trained.run, tmp_path / "errors") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(120) == 130
        assert server.errors.read_text().splitlines()[-1] == "mobilenets: interrupted"


def test_wrong_addresses_and_tokens(trained: Any, tools: Any) -> None:
    def run(*arguments: str, **environment: str) -> str:
        command = [sys.executable, "-m", "mobilenets", "serve", str(trained.run), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=tools.os.environ | environment)
        assert done.returncode == 2 and done.stdout == ""
        return done.stderr

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run("--port", port).startswith(f"mobilenets: cannot listen at 127.0.0.1 port {port}: ")
    assert run("--port", "70000") == "mobilenets: port 70000: give a number from 0 to 65535\n"
    assert "cannot listen at no.such.host.invalid" in run("--host", "no.such.host.invalid", "--port", "0")
    assert "MOBILENETS_TOKEN: use printable ASCII" in run("--port", "0", MOBILENETS_TOKEN="a b")


def test_the_answers_are_those_of_predict(labelled: Path, trained: Any, tools: Any, tmp_path: Path) -> None:
    files = [trained.data / kind / "003.png" for kind in ("cat", "dog", "owl")]
    with tools.serving(labelled, tmp_path / "errors", MOBILENETS_TOKEN="secret") as server:
        port, token = server.port, {"Authorization": "Bearer secret"}
        body, headers = tools.form(*((str(file.name), file.read_bytes()) for file in files))
        assert tools.ask(port, "POST", "/predict", body, headers).status == 401
        found = tools.ask(port, "POST", "/predict?top=3&language=zh", body, headers | token).json
        drawn = tools.ask(port, "POST", "/explain", files[0].read_bytes(), token)
        log = server.errors.read_text()
    expected = list(mobilenets.predict(labelled, files, top=3, language="zh"))
    for one, other in zip(found, expected, strict=True):
        assert _rounded(one) == _rounded(other | {"image": "003.png"})
    assert drawn.status == 200 and drawn.body.startswith(b"\x89PNG")
    assert "secret" not in log and "003.png" not in log


def _rounded(answer: Any) -> Any:
    """Round what a batch of another size may change in the last digits."""
    return json.loads(json.dumps(answer), parse_float=lambda text: round(float(text), 5))


def test_who_comes_while_it_drains_is_still_answered(running: Run, tools: Any) -> None:
    """A balancer goes on sending for a moment: until ``drain`` is over the door is open, and the answer says to go."""
    with running(drain=2.0) as server:
        server.server.handle_exit(signal.SIGTERM, None)
        # Past all that closing the door takes by itself.
        time.sleep(0.6)
        late = server.post("/predict", tools.png())
        assert late.status == 200 and late.headers["connection"] == "close"
        assert server.get("/ready").status == 503
