"""One file from the network: resumed after a cut, checked, and only then under its final name."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mobilenets.base.files import sync
from mobilenets.base.notes import log
from mobilenets.errors import InputError

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte before the connection counts as stalled
ATTEMPTS = 5  # in a row without one new byte
PAUSE = 0.5  # seconds before the second attempt; doubled after each further failure
_WAY_ROUND = "get the file another way and pass it with --archive FILE"


class _BrokenError(Exception):
    """The connection failed in a way that another attempt may cure."""


class _RefusedError(Exception):
    """The server or the network said no; asking again would not help."""


class _UnsatisfiableError(Exception):
    """HTTP 416: the file has no bytes from there on; ``length`` is the file's, if the server says."""

    def __init__(self, length: int | None) -> None:
        super().__init__(length)
        self.length = length


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    way_round: str = _WAY_ROUND,
) -> Path:
    """Download ``url`` to ``path`` and return ``path``.

    The bytes go to ``path`` + ``.part`` first. A part left by an earlier run is continued with an HTTP Range
    request (RFC 9110, section 14); a server that ignores Range starts the part over. A stalled or cut
    connection is tried again, with the part kept. Size (bytes) and SHA-256 (hexadecimal) are checked before
    the file takes its final name; a part that fails them is removed. A file already at ``path`` that passes a
    given ``sha256`` is kept as it is. The proxy variables of the environment are honoured.

    ``progress`` is called with the bytes done and the bytes in all, or None where nobody knows. ``way_round`` is what
    a user can do instead, the end of every message about the network.

    Raises InputError when the network or the server fails, when the bytes are not the expected ones, and when
    the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    report = progress or (lambda done, total: None)
    try:
        if sha256 is not None and path.is_file() and _digest(path) == sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _fill(url, part, size, report, way_round)
        _check(url, part, sha256, size, way_round)
        sync(part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or part}: {error.strerror or error}") from error
    return path


def _fill(url: str, part: Path, size: int | None, progress: Callable[[int, int | None], None], way_round: str) -> None:
    """Attempt until the part is whole; an attempt that brought new bytes earns a full set of further ones."""
    failures, furthest = 0, _length(part)
    while True:
        try:
            _attempt(url, part, size, progress)
            return
        except _RefusedError as error:
            raise InputError(f"cannot download {url}: {error}; {way_round}") from error
        except _BrokenError as error:
            have = _length(part)
            failures = 0 if have > furthest else failures + 1
            furthest = max(furthest, have)
            if failures >= ATTEMPTS:
                again = f"run it again to continue from {have:,} bytes"
                raise InputError(f"cannot download {url}: {error}; {again}, or {way_round}") from error
            log.info("%s: %s; trying again", url, error)
            time.sleep(PAUSE * 2**failures)


def _attempt(url: str, part: Path, size: int | None, progress: Callable[[int, int | None], None]) -> None:
    """One request, from where the part ends."""
    have = _length(part)
    if size is not None and have == size:
        return
    if size is not None and have > size:  # not of this file
        part.unlink()
        have = 0
    headers = {"User-Agent": "mobilenets", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = _open(url, headers)
    except _UnsatisfiableError as error:
        # The part ends where the file ends, or is longer than the file and so not of it.
        if error.length == have:
            return
        part.unlink(missing_ok=True)
        raise _BrokenError("the server cannot continue the partial download, so it starts again") from error
    with answer:
        start, total = _extent(answer, have)
        if size is not None and total is not None and total != size:
            raise _RefusedError(f"the server has {total:,} bytes, but {size:,} are expected")
        _receive(answer, part, start, total if total is not None else size, progress)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    try:
        # An opener of our own, because urlopen's keeps the proxies of its first use.
        opener = urllib.request.build_opener()
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                raise _UnsatisfiableError(_number(r"bytes \*/(\d+)", error.headers.get("Content-Range"))) from error
            kind = _BrokenError if error.code in (408, 429) or error.code >= 500 else _RefusedError
            raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        passing = isinstance(error.reason, TimeoutError | ConnectionResetError)
        raise (_BrokenError if passing else _RefusedError)(_words(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_words(error)) from error
    except ValueError as error:  # urllib's word for an address it cannot parse
        raise _RefusedError(_words(error)) from error
    if not isinstance(answer, http.client.HTTPResponse):  # urllib also opens file: and ftp:
        answer.close()
        raise _RefusedError("not an http or https address")
    return answer


def _extent(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the body of an answer begins in the file, and how long the whole file is, if it says."""
    if answer.status == 206:
        stated = answer.headers.get("Content-Range")
        if _number(r"bytes (\d+)-", stated) != have:
            raise _RefusedError(f"the server continues at the wrong place ({stated})")
        return have, _number(r"bytes \d+-\d+/(\d+)", stated)
    return 0, _number(r"(\d+)", answer.headers.get("Content-Length"))


def _receive(
    answer: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    progress: Callable[[int, int | None], None],
) -> None:
    done = start
    with part.open("ab" if start else "wb") as file:
        progress(done, total)
        # read1 gives what has arrived, so that a cut loses nothing that was received.
        while block := _read(answer):
            file.write(block)
            done += len(block)
            progress(done, total)
            if total is not None and done > total:
                return  # too long: the check says so
    if total is not None and done < total:
        raise _BrokenError(f"the connection ended after {done:,} of {total:,} bytes")


def _read(answer: http.client.HTTPResponse) -> bytes:
    """A block of the body; what fails here is the network, never the disk."""
    try:
        return answer.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_words(error)) from error


def _check(url: str, part: Path, sha256: str | None, size: int | None, way_round: str) -> None:
    wrong = None
    if size is not None and _length(part) != size:
        wrong = f"it has {_length(part):,} bytes, but {size:,} are expected"
    elif sha256 is not None and (found := _digest(part)) != sha256:
        wrong = f"its SHA-256 is {found[:12]}…, but {sha256[:12]}… is expected"
    if wrong:
        part.unlink()
        raise InputError(f"{url} is not the expected file: {wrong}; it was removed: run it again, or {way_round}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _number(pattern: str, text: str | None) -> int | None:
    found = re.match(pattern, text or "")
    return int(found[1]) if found else None


def _words(error: object) -> str:
    """The reason in one line; some network errors have no text of their own."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
