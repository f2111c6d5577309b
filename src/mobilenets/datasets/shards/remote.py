"""Shards at an address, by fsspec: an object store or a web server."""

from __future__ import annotations

import importlib
import inspect
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mobilenets.base.extras import how_to_install
from mobilenets.base.notes import log
from mobilenets.base.text import counted
from mobilenets.datasets.shards.cache import VARIABLE, ShardCache
from mobilenets.datasets.shards.index import INDEX, Index, Shard, is_index, read_index, table_of
from mobilenets.datasets.shards.plan import EpochPlan
from mobilenets.datasets.shards.source import AHEAD, Source
from mobilenets.errors import InputError

PIECE = 4 << 20
"""Bytes that are asked for at a time: what a cut connection loses at most."""

ATTEMPTS = 7  # in a row without one new byte
PAUSE = 0.25  # seconds before the second attempt; doubled after each further failure
STALLED = 30.0  # seconds without a byte before a connection counts as cut
_ADDRESS = re.compile(r"^([a-z][a-z0-9+]+):/+", re.IGNORECASE)
_EXTRAS = {"http": "shards", "https": "shards", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
# Asking again does not help: what is not there, or may not be read.
_FINAL = (FileNotFoundError, PermissionError, NotImplementedError)
_FINAL_STATUS = {400, 401, 403, 404, 405, 410}

Result = TypeVar("Result")


def address_of(data: str) -> str | None:
    """Give the address that DATA is, None where it is a path; ``https:/host`` is what a path makes of one."""
    found = _ADDRESS.match(data)
    if found is None or len(found[1]) < 2 or found[1].lower() == "file":
        return None
    return f"{found[1].lower()}://{data[found.end() :]}".rstrip("/").removesuffix(f"/{INDEX}")


class Remote:
    """Files below an address; every failure that may pass is tried again, with longer and longer pauses."""

    def __init__(self, address: str) -> None:
        self.address = address
        scheme = address.split(":", 1)[0]
        try:
            fsspec = importlib.import_module("fsspec")
            settings: dict[str, Any] = {}
            if scheme in ("http", "https"):
                stalled = importlib.import_module("aiohttp").ClientTimeout(
                    total=None, sock_connect=STALLED, sock_read=STALLED
                )
                settings = {"client_kwargs": {"timeout": stalled, "trust_env": True}, "use_listings_cache": False}
            kind = fsspec.get_filesystem_class(scheme)
            _, *asked = inspect.signature(kind.__init__).parameters.values()
            if any(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in asked):
                raise ValueError(scheme)  # as ftp, for its host
            self.files = kind(skip_instance_cache=True, **settings)
        except ImportError as error:
            extra = _EXTRAS.get(scheme, "shards" if error.name == "fsspec" else None)
            what = f"install {extra}: {how_to_install(extra)}" if extra else error  # fsspec names what it needs
            raise InputError(f"{address}: to read {scheme}://, {what}") from error
        except ValueError as error:
            raise InputError(
                f"{address}: {scheme}:// is not known to fsspec, or needs more than an address; give a folder, or "
                "https://, s3:// or gs://"
            ) from error

    def read(self, file: str) -> bytes:
        """Read a small file."""
        return self._asked(file, lambda url: bytes(self.files.cat_file(url)))

    def append(self, file: str, size: int, part: Path) -> None:
        """Add to ``part`` what it lacks of a file of ``size`` bytes."""
        with part.open("ab") as stream:
            if stream.tell() > size:
                stream.truncate(0)
                stream.seek(0)
            while (have := stream.tell()) < size:
                stop = min(have + PIECE, size)

                def piece(url: str, have: int = have, stop: int = stop) -> bytes:
                    got = bytes(self.files.cat_file(url, start=have, end=stop))
                    if len(got) == size and size > stop - have:  # a server that knows no ranges sends the whole
                        got = got[have:]
                    elif len(got) != stop - have:
                        raise OSError(f"{len(got)} bytes came instead of {stop - have}")
                    return got

                stream.write(self._asked(file, piece))
                stream.flush()

    def _asked(self, file: str, ask: Callable[[str], Result]) -> Result:
        url = f"{self.address}/{file}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask(url)
            except Exception as error:  # each store has its own
                why = " ".join(str(error).split())[:200] or type(error).__name__
                if isinstance(error, FileNotFoundError):
                    raise InputError(f"{url}: there is no such file") from error
                if isinstance(error, _FINAL) or getattr(error, "status", None) in _FINAL_STATUS:
                    raise InputError(f"{url} cannot be read: {why}") from error
                if attempt == ATTEMPTS:
                    raise InputError(
                        f"{url} cannot be read, after {ATTEMPTS} attempts: {why}; run the same command again later, "
                        "train with --resume"
                    ) from error
                if attempt == 1:
                    log.info("%s: %s; trying again", url, why)
                time.sleep(PAUSE * 2 ** (attempt - 1))
        raise AssertionError


class Fetched(Source):
    """Shards at an address, each brought whole into the cache and checked there."""

    def __init__(self, remote: Remote, shards: Sequence[Shard], cache: ShardCache) -> None:
        super().__init__(shards)
        self.remote, self.shards, self.cache = remote, shards, cache
        self._failed: dict[int, tuple[float, InputError]] = {}

    def bring(self, shard: int) -> Path:
        """Give the file of a shard in the cache, when it is there."""
        about, asked = self.shards[shard], time.monotonic()

        def fetch(part: Path) -> None:
            at, error = self._failed.get(shard, (-1.0, None))
            if error is not None and at >= asked:  # while this thread waited for another, which has tried long enough
                raise InputError(str(error)) from error
            try:
                self.remote.append(about.file, about.bytes, part)
            except InputError as failure:
                self._failed[shard] = time.monotonic(), failure
                raise

        return self.cache.get(f"{self.remote.address}/{about.file}", about.bytes, about.blake2b, fetch)

    def gone(self, file: Path, error: OSError) -> None:
        """Have a shard brought again that others pushed out of the cache."""
        self.cache.forget(file)


def open_remote(address: str) -> tuple[Index, Source]:
    """Read the index at an address; raises ``InputError`` where there is none, or the cache is too small for it."""
    remote = Remote(address)
    head = remote.read(INDEX)
    if not is_index(head):
        raise InputError(f"{address}/{INDEX}: not an index of shards: pack the pictures with mobilenets pack")
    index = read_index(head, remote.read(table_of(head, f"{address}/{INDEX}")), f"{address}/{INDEX}")
    cache = ShardCache()
    count, needed = needed_at_once(index)
    if cache.most < needed:
        raise InputError(
            f"{address}: reading in shuffled order needs {counted(count, 'shard')} at once, {needed / 2**30:.2f} GiB, "
            f"and {cache.most / 2**30:.2f} may be kept: give more with --cache-gb, set {VARIABLE} higher, or pack with "
            "a smaller --shard-mb"
        )
    return index, Fetched(remote, index.shards, cache)


def needed_at_once(index: Index) -> tuple[int, int]:
    """Say how many shards the plan of an epoch reads from at once, and how many bytes they have at most."""
    sizes = sorted((shard.bytes for shard in index.shards), reverse=True)
    # Those that a stretch of the plan lies in, with the one that it begins in, and those on their way.
    window = -(-EpochPlan.buffer * len(sizes) // max(1, len(index))) + 1 + AHEAD
    return min(window, len(sizes)), sum(sizes[:window])
