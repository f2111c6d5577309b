"""The Dockerfile, as far as it can be held against the package without Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mobilenets.cli.verbs import build_parser

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """Give the instructions, each with its words on one line."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, words) for word, _, words in (line.partition(" ") for line in whole.splitlines() if line)]


def words_of(name: str) -> list[str]:
    """Give the words of the one instruction of that name, which has them as a list."""
    [found] = [words for word, words in instructions() if word == name]
    listed: list[str] = json.loads(found[found.index("[") :])
    return listed


def test_the_command_is_one_of_ours() -> None:
    program, *arguments = [*words_of("ENTRYPOINT"), *words_of("CMD")]
    assert program == "mobilenets"
    options = build_parser().parse_args(arguments)
    assert (options.verb, options.model, options.host, options.workers) == ("serve", "/model", "0.0.0.0", 1)
    assert ("EXPOSE", str(options.port)) in instructions()


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for word, words in instructions() if word == "COPY" and "--from" not in words]
    names = {name for line in copied for name in line}
    assert names == sent and all((ROOT / name).exists() for name in names)


def test_it_is_pinned_and_not_root_and_builds_nothing_in_the_end() -> None:
    [(first, base), *rest] = instructions()
    assert first == "ARG" and base.startswith("BASE=python:3.11-slim-")
    assert [words for word, words in rest if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    [locked] = [words for word, words in rest if word == "RUN" and "requirements-serve.lock" in words]
    assert "--require-hashes" in locked
    last = rest[rest.index(("FROM", "${BASE}")) :]
    assert ("USER", "10001") in last and not any(re.search("apt-get|pip install", words) for _, words in last)


class Answers(BaseHTTPRequestHandler):
    """Answers as a server that is, or is not, ready."""

    status = 200
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "found"), [(200, 0), (503, 1)])
def test_the_health_check_asks_whether_it_is_ready(status: int, found: int) -> None:
    python, option, program = words_of("HEALTHCHECK")
    handler = type("Here", (Answers,), {"status": status, "asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        asking = threading.Thread(target=server.handle_request, daemon=True)
        asking.start()
        here = program.replace("8000", str(server.server_port))
        assert subprocess.run([sys.executable, option, here], timeout=30).returncode == found
        asking.join(30)
    assert (python, option) == ("python", "-c") and handler.asked == ["/ready"]
