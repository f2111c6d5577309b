"""Every command of the README, in order, as printed, in an empty folder.

What trains and measures is told to be quick (``QUICK``): what each command does, and what the next one takes of it, is
the same. A bare machine runs the page as it stands before each release (CONTRIBUTING.md).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from mobilenets.cli import main

ROOT = Path(__file__).resolve().parents[2]
# These set a machine up; they run on a bare one before each release (CONTRIBUTING.md).
SET_UP = ("make demo", "make test", ". .venv/bin/activate")
SMALL = "--width 0.35 --size 96 --epochs 6"
QUICK = {"train": SMALL.split(), "benchmark": ["--seconds", "0.05"]}


def load_commands() -> ModuleType:
    spec = importlib.util.spec_from_file_location("commands", Path(__file__).with_name("commands.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


page = load_commands()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """Serve a MobileNetV2 of width 0.35 that Keras wrote, as Keras's own server does; its numbers are random."""
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras")
    folder = tmp_path / "published/mobilenet_v2"
    folder.mkdir(parents=True)
    model = keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None)
    with warnings.catch_warnings(action="ignore"):
        model.save(folder / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5")
    handler = partial(Quiet, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def environment(published: str, tmp_path: Path) -> dict[str, str]:
    """An environment in which ``mobilenets`` is the package under test and the hub is out of reach."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, words in (("mobilenets", "-m mobilenets"), ("python", "")):
        (bin / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (bin / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0",
        "MOBILENETS_KERAS_WEIGHTS": published,
    }


def serve(command: str, environment: dict[str, str], folder: Path) -> None:
    """Start the server, wait until it answers, and stop it by Ctrl-C."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen("http://127.0.0.1:8000/ready") as answer:
                        assert answer.status == 200
                        break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end, "the server does not answer"
                    time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()


def thin(photos: Path) -> None:
    """Leave 12 pictures of each class: what each command does is the same, in half of the time."""
    for place in photos.iterdir():
        for picture in sorted(place.iterdir())[12:]:
            picture.unlink()


def run(command: str, environment: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command, and give what it prints. What asks for weights is a process, for the hub that it is to find."""
    words = [*shlex.split(command), *QUICK.get(command.split()[1], [])]
    if words[:2] == ["mobilenets", "train"]:
        done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
        status, out, err = done.returncode, done.stdout, done.stderr
    else:
        assert words[0] == "mobilenets"
        status = main(words[1:])
        out, err = capsys.readouterr()
    assert status == 0, f"{command}\n{out}{err}"
    return out


def test_every_command_of_the_readme(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    passed_over, printed = [], ""
    for language, text in page.blocks(ROOT / "README.md"):
        if language == "python":
            done = subprocess.run(
                [sys.executable, "-c", text], env=environment, cwd=folder, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            continue
        for command in page.commands(text):
            if command in SET_UP:
                passed_over.append(command)
            elif "--format web" in command and shutil.which("npm") is None:
                continue  # the README says that it needs npm
            elif command.startswith("mobilenets serve"):
                serve(command, environment, folder)
            else:
                printed += run(command, environment, folder, capsys)
            if command.startswith("mobilenets fetch"):
                thin(folder / "photos")
    assert sorted(passed_over) == sorted(SET_UP)
    assert (folder / "run/report.html").is_file()
    assert (folder / "page/index.html").is_file() or shutil.which("npm") is None
    assert "photos/star/00001.png: " in printed


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_links_lead_somewhere(name: str) -> None:
    pages = [ROOT / name, *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "examples").rglob("*.md")]
    for one in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", one.read_text("utf-8")):
            if "://" not in target and not target.startswith("#"):
                assert (one.parent / target.partition("#")[0]).exists(), f"{one.name}: {target}"


def test_both_readmes_have_the_same_commands() -> None:
    english, chinese = (list(page.blocks(ROOT / name)) for name in ("README.md", "README.zh-CN.md"))
    for (_, ours), (_, theirs) in zip(english, chinese, strict=True):
        assert list(page.commands(ours)) == list(page.commands(theirs))
