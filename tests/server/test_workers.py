"""Several processes at one port, as a person starts and restarts them."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.server import workers as module
from mobilenets.server.limits import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes of a server are found in /proc")


class Client(threading.Thread):
    """Asks again and again, on one connection while it lasts; whatever is not answered with 200 is lost."""

    def __init__(self, port: int, picture: bytes) -> None:
        super().__init__()
        self.port, self.picture = port, picture
        self.answered = 0
        self.lost: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            while not self.enough.wait(0.03):
                try:
                    connection.request("POST", "/predict", self.picture)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.lost.append(repr(error))
                    return
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.lost.append(str(answer.status))


def workers(parent: int) -> set[int]:
    """Find the processes that accept; beside them is one of Python's own, which looks after what they share."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if ours and b"spawn_main" in (path / "cmdline").read_bytes():
                found.add(int(path.name))
        except OSError:  # it has ended meanwhile
            pass
    return found


def test_not_one_request_is_lost_while_workers_die_and_are_replaced(trained: Any, tools: Any, tmp_path: Path) -> None:
    picture = (trained.data / "cat" / "000.png").read_bytes()
    with tools.serving(trained.run, tmp_path / "errors", "--workers", "2", "--drain", "0.3") as server:
        # Both are waited for before the address is said.
        first = workers(server.process.pid)
        assert len(first) == 2
        dead = min(first)
        os.kill(dead, signal.SIGKILL)
        tools.wait_until(lambda: len(workers(server.process.pid) - first) == 1)
        assert f"worker {dead} is gone (it ended with status -9); another is started" in server.errors.read_text()
        clients = [Client(server.port, picture) for _ in range(4)]
        for client in clients:
            client.start()
        tools.wait_until(lambda: sum(client.answered for client in clients) > 40)
        before = workers(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        tools.wait_until(lambda: "2 workers ready" in server.errors.read_text())
        after = workers(server.process.pid)
        assert len(after) == 2 and not after & before
        answered = sum(client.answered for client in clients)
        tools.wait_until(lambda: sum(client.answered for client in clients) > answered + 20)
        for client in clients:
            client.enough.set()
            client.join(120)
        assert [lost for client in clients for lost in client.lost] == []
        # Told by any of them, the sums of all, also of those that have gone.
        figures = tools.ask(server.port, "GET", "/metrics").body.decode()
        count = sum(client.answered for client in clients)
        assert f'mobilenets_requests_total{{path="/predict",status="200"}} {count}.0\n' in figures
        assert "mobilenets_pictures_waiting 0.0\n" in figures
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        assert not any(Path(f"/proc/{worker}").exists() for worker in after)
        assert "Traceback" not in server.errors.read_text()


HURRIED = """
import sys
from mobilenets.cli import main
from mobilenets.server import workers
if __name__ == "__main__":
    workers._LOOK = 2.0
    sys.exit(main(sys.argv[1:]))
"""


def test_asked_too_early_to_replace_and_one_that_hangs(trained: Any, tools: Any, tmp_path: Path) -> None:
    words = ["serve", str(trained.run), "--port", "0", "--workers", "1", "--drain", "0"]
    errors = tmp_path / "errors"
    with errors.open("w") as log, subprocess.Popen([sys.executable, "-c", HURRIED, *words], stderr=log) as process:
        try:
            tools.wait_until(lambda: workers(process.pid))
            [first] = workers(process.pid)
            process.send_signal(signal.SIGHUP)  # before anything is served
            tools.wait_until(lambda: "1 worker ready" in errors.read_text())
            assert errors.read_text().index("is served at") < errors.read_text().index("replaced one by one")
            [second] = workers(process.pid) - {first}
            os.kill(second, signal.SIGSTOP)
            tools.wait_until(lambda: "is gone (it did not answer for 6 seconds, and was ended)" in errors.read_text())
            tools.wait_until(lambda: workers(process.pid) and second not in workers(process.pid))
        finally:
            process.terminate()
            assert process.wait(120) == 0


def test_one_that_hangs_while_it_leaves_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.0)
    bell, other = socket.socketpair()
    ours, worker_end = multiprocessing.Pipe()
    with bell, other, ours, worker_end:
        leaving = module._Worker(Mock(sentinel=other), ours, ready=True)
        parent = module.Workers(Mock(), bell, Limits(), 1)
        parent._leaving = [leaving]
        for asked in range(3):
            parent._turn(bell)
            assert leaving.unanswered == asked + 1 and worker_end.recv_bytes() == b"alive"
        leaving.process.kill.assert_not_called()
        parent._turn(bell)
        leaving.process.kill.assert_called_once_with()


def test_workers_end_with_the_process_that_started_them(trained: Any, tools: Any, tmp_path: Path) -> None:
    with tools.serving(trained.run, tmp_path / "errors", "--workers", "1", "--drain", "0") as server:
        [worker] = workers(server.process.pid)
        server.process.kill()
        tools.wait_until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_worker_that_cannot_start_ends_all_with_its_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mobilenets", "serve", str(tmp_path / "none"), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and str(tmp_path / "none") in done.stderr


def test_what_workers_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="workers 0: give a number from 1"):
        mobilenets.serve("run", port=0, workers=0)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="behind a proxy"):
        mobilenets.serve("run", port=0, workers=2)
