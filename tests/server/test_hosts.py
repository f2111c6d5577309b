from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import Headers

from mobilenets.errors import InputError
from mobilenets.server.hosts import Hosts

Run = Callable[..., Any]


def refused(hosts: Hosts, method: str = "GET", **headers: str) -> str | None:
    refusal = hosts.refusal(Headers({name.replace("_", "-"): value for name, value in headers.items()}), method)
    return None if refusal is None else refusal.code


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.setattr(socket, "gethostname", lambda: "Studio")
    return Hosts(["photos.example.org", "fd00::5"])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8000", "192.168.1.5:8000", "[::1]:8000", "[fe80::1]", "localhost", "LOCALHOST:8000"),
        *("a.localhost", "studio", "studio:8000", "Studio.local", "studio.lan:80", "studio.local."),
        *("photos.example.org", "Photos.Example.org:443"),
    ],
)
def test_names_of_ours(hosts: Hosts, host: str) -> None:
    assert refused(hosts, host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "studio.evil.example",
        ),
        *(
            "example.org",
            "a.photos.example.org",
            "studio.com",
            "",
            " ",
            "[evil]",
            "127.0.0.1@evil.example",
            "evil/127.0.0.1",
        ),
        *("0x7f000001", "127.1", "x:y", "a" * 9000),
    ],
)
def test_other_names(hosts: Hosts, host: str) -> None:
    assert refused(hosts, host=host) == "unknown_host"
    assert refused(Hosts(["*"]), host=host) is None


def test_the_refusal_says_which_flag(hosts: Hosts) -> None:
    said = hosts.refusal(Headers({"host": "cam.home:8000"}), "GET")
    assert said is not None and said.reason.endswith("mobilenets serve MODEL --allow-host cam.home")
    odd = hosts.refusal(Headers({"host": "<b>"}), "GET")
    assert odd is not None and "<" not in odd.reason


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "192.168.1.5:8000", "origin": "http://192.168.1.5:8000"}, None),
        ({"host": "studio", "origin": "http://studio"}, None),
        ({"host": "photos.example.org", "origin": "https://photos.example.org"}, None),
        ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, None),
        # Behind a proxy that asks by another name.
        ({"host": "127.0.0.1:8000", "origin": "http://photos.example.org:8080"}, None),
        ({"host": "127.0.0.1:8000", "origin": "https://other.org", "sec_fetch_site": "same-origin"}, None),
        ({"host": "127.0.0.1:8000"}, None),
        ({"host": "127.0.0.1:8000", "origin": "http://evil.example"}, "other_site"),
        ({"host": "127.0.0.1:8000", "origin": "http://10.0.0.7"}, "other_site"),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:3000"}, "other_site"),
        ({"host": "127.0.0.1:8000", "origin": "null"}, "other_site"),
        ({"host": "127.0.0.1:8000", "origin": "file://127.0.0.1:8000"}, "other_site"),
        ({"host": "127.0.0.1:8000", "sec_fetch_site": "cross-site"}, "other_site"),
        ({"host": "evil.example", "origin": "http://evil.example"}, "unknown_host"),
    ],
)
def test_pages_that_ask(hosts: Hosts, headers: dict[str, str], code: str | None) -> None:
    assert refused(hosts, "POST", **headers) == code


def test_names_that_are_none() -> None:
    for wrong in ("http://a.b", "a.b:80", "a b", "", "*.a.b/"):
        with pytest.raises(InputError, match="--allow-host"):
            Hosts([wrong])
    Hosts(["0.0.0.0", "::", "fe80::1%eth0"])


def test_a_server_that_is_asked_by_another_name(running: Run, tools: Any) -> None:
    with running() as server:
        for method, path in (("GET", "/model"), ("GET", "/"), ("POST", "/predict")):
            answer = tools.ask(server.port, method, path, tools.png(), {"Host": "evil.example"})
            assert (
                answer.status == 403
                and answer.json["code"] == "unknown_host"
                and "--allow-host" in answer.json["error"]
            )
        other = server.post("/predict", tools.png(), {"Origin": "http://evil.example"})
        assert other.status == 403 and other.json["code"] == "other_site"
        own = server.post("/predict", tools.png(), {"Origin": f"http://127.0.0.1:{server.port}"})
        assert own.status == 200
