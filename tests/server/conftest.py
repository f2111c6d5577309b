from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.labels import Group, Label, Labels
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.server.app import create_app
from mobilenets.server.limits import Limits
from mobilenets.server.run import Server

LABELS = Labels(
    {
        "can": Label({"en": "can", "zh": "易拉罐"}, "recyclable"),
        "bottle": Label({"en": "bottle", "zh": "塑料瓶"}, "recyclable"),
        "peel": Label({"en": "peel", "zh": "果皮"}, "kitchen"),
    },
    {
        "recyclable": Group({"en": "recyclable", "zh": "可回收物"}, "#1b6fb5"),
        "kitchen": Group({"en": "kitchen waste", "zh": "湿垃圾"}, "#3f7d20"),
    },
)


def png(color: str | tuple[int, int, int] = "red", side: int = 20) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), color).save(file, "PNG")
    return file.getvalue()


@dataclass
class Engine:
    """Tells red, green and blue pictures; waits at its gate, and notes how many came at once."""

    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    fault: Exception | None = None

    def __call__(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        assert self.gate.wait(120)
        if self.fault is not None:
            raise self.fault
        return images.mean((1, 2)) * np.float32(3)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()


def form(*files: tuple[str, bytes], boundary: str = "xyz") -> tuple[bytes, dict[str, str]]:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    whole = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return whole, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@dataclass
class Running:
    """A server in a thread of this process."""

    port: int
    engine: Engine
    server: Server
    predictor: EnginePredictor

    def get(self, path: str, **headers: str) -> Reply:
        return ask(self.port, "GET", path, headers=headers)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
        return ask(self.port, "POST", path, body, headers)

    def send(self, *files: tuple[str, bytes], path: str = "/predict") -> Reply:
        return self.post(path, *form(*files))

    def metric(self, name: str) -> float:
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no {name}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 120)


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextmanager
def _running(
    *,
    closed: bool = False,
    labels: Labels | None = None,
    threshold: float | None = None,
    explain: Callable[[bytes], bytes] | None = None,
    token: str | None = None,
    **limits: Any,
) -> Iterator[Running]:
    engine = Engine()
    if not closed:
        engine.gate.set()
    bounds = Limits(**({"drain": 0.0, "linger": 1.0, "answer": 120.0} | limits))
    predictor = EnginePredictor(
        Bundle({"name": "paint"}, ("can", "peel", "bottle"), Preprocessing(8), labels=labels, threshold=threshold),
        engine,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    app = create_app(predictor, explain=explain, limits=bounds, token=token, allow_hosts=("x",), name="bins")
    running = Running(listener.getsockname()[1], engine, Server(app, bounds), predictor)
    thread = threading.Thread(target=running.server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: ask(running.port, "GET", "/ready").status == 200 or closed)
        yield running
    finally:
        running.server.should_exit = True
        engine.gate.set()
        thread.join(120)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def running() -> Callable[..., Any]:
    """Give ``running(**limits)``, a context in which a server with a little engine of ours runs."""
    return _running


@pytest.fixture(scope="session")
def tools() -> Any:
    """Give the helpers of this file."""
    return sys.modules[__name__]


@pytest.fixture(scope="module")
def labelled(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the trained run whose pets have names, groups and a threshold."""
    run = tmp_path_factory.mktemp("labelled") / "pets"
    run.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, run / name)
    labels = Labels(
        {
            "cat": Label({"en": "cat", "zh": "猫"}, "fur"),
            "dog": Label({"en": "dog", "zh": "狗"}, "fur"),
            "owl": Label({"en": "owl", "zh": "猫头鹰"}, "feather"),
        },
        {
            "fur": Group({"en": "has fur", "zh": "有毛"}, "#8a4b08"),
            "feather": Group({"en": "has feathers", "zh": "有羽毛"}, "#1b6fb5"),
        },
    )
    value = json.loads((run / "model.json").read_text("utf-8"))
    (run / "model.json").write_text(json.dumps(value | {"labels": labels.to_json(), "threshold": 0.6}), "utf-8")
    return run


class Process(NamedTuple):
    """``mobilenets serve`` in a process of its own."""

    port: int
    process: subprocess.Popen[str]
    errors: Path


@contextmanager
def serving(model: Path, errors: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-m", "mobilenets", "serve", str(model), "--port", "0", "--device", "cpu", "--json"]
    command += arguments
    with (
        errors.open("w") as log,
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, errors.read_text()
            port = int(json.loads(line)["url"].rsplit(":", 1)[1])
            wait_until(lambda: _status(port, "/ready") == 200)
            yield Process(port, process, errors)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def _status(port: int, path: str) -> int | None:
    try:
        return ask(port, "GET", path).status
    except OSError:
        return None
