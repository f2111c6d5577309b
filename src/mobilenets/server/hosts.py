"""By which names the server may be asked for, and from whose pages.

A page of another site can give its own name the address of this machine once it is loaded (DNS rebinding); the browser
then takes the server for that site and lets the page read it. The name in ``Host`` tells. Numbers cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers

from mobilenets.errors import InputError
from mobilenets.server.limits import Refused

ANY = "*"
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]\\?#]+?)\.?(?::(\d{1,5}))?")
# What home routers and mDNS put behind a machine's name; none of these is sold to anybody.
_LOCAL = ("", ".local", ".lan", ".home.arpa", ".internal", ".localdomain")
_DEFAULT_PORTS = (None, "80", "443")


class Hosts:
    """Names that the server goes by: numbers, ``localhost``, the machine's own name, and those ``allowed``."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(_given(name) for name in allowed)
        machine = socket.gethostname().lower()
        short = machine.partition(".")[0]
        self._own = frozenset({"localhost", machine, *(short + end for end in _LOCAL if short)})

    def refusal(self, headers: Headers, method: str) -> Refused | None:
        """Say why a request with these headers is none for this server; None where it is."""
        host = headers.get("host")
        # Only what is no browser, and speaks HTTP/1.0, may leave it out.
        if host is not None and not self._knows(host):
            return Refused(403, "unknown_host", f"this server is not known by that name{_advice(host)}")
        if method in ("GET", "HEAD"):  # without side effects, and the browser lets no other site read the answer
            return None
        site = headers.get("sec-fetch-site")
        if site in ("same-origin", "none"):
            return None
        origin = headers.get("origin")
        # Over plain HTTP, but for localhost, browsers say only the origin.
        if origin is None:
            return None if site is None else _other_site()
        return None if self._is_ours(origin, host) else _other_site(origin)

    def _knows(self, authority: str) -> bool:
        name, _ = _parts(authority)
        if name is None:
            return ANY in self.allowed
        return bool({ANY, name} & self.allowed) or name in self._own or name.endswith(".localhost") or _is_address(name)

    def _is_ours(self, origin: str, host: str | None) -> bool:
        scheme, _, authority = origin.partition("://")
        name, port = _parts(authority)
        if scheme not in ("http", "https") or name is None:
            return False
        if {ANY, name} & self.allowed:
            return True
        ours, own_port = _parts(host or "")
        same_port = port == own_port or (port in _DEFAULT_PORTS and own_port in _DEFAULT_PORTS)
        return name == ours and same_port


def _given(name: str) -> str:
    if name == ANY or _is_address(name.partition("%")[0]):
        return name
    found, port = _parts(name)
    if found is None or port is not None:
        raise InputError(f"--allow-host {name!r}: give a name or an address alone, such as photos.example.org")
    return found


def _parts(authority: str) -> tuple[str | None, str | None]:
    """Take ``name:port`` apart; an address of IPv6 without its brackets."""
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None:
        return None, None
    return found[1].strip("[]"), found[2]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _other_site(origin: str = "") -> Refused:
    advice = _advice(origin.partition("://")[2]) if origin.startswith(("http://", "https://")) else ""
    return Refused(403, "other_site", f"requests from pages of other sites are refused{advice}")


def _advice(authority: str) -> str:
    name, _ = _parts(authority)
    if name is None or len(name) > 253 or not re.fullmatch(r"[\w.:-]+", name, re.ASCII):
        return ""
    return f"; if {name} is yours, start it with: mobilenets serve MODEL --allow-host {name}"
