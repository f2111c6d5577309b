"""The pictures of a part, one after another, as a worker reads them: files, members of a shard, addresses."""

from __future__ import annotations

import http.client
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mobilenets.base.files import MOST_GIVEN
from mobilenets.bulk.parts import FILES, SHARD
from mobilenets.datasets.shards.remote import Remote, address_of
from mobilenets.datasets.shards.samples import read_shard
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.inputs import Source
from mobilenets.pictures.stream import stream

# Addresses that are asked for at once, and how often one is.
AT_ONCE, TRIES = 8, 3
PAUSE = 0.5
CHUNK = 1 << 18

Named = tuple[str, Source | UnreadablePicture]


def from_elsewhere(part: Mapping[str, Any]) -> bool:
    """Say whether pictures of a part lie at addresses."""
    return address_of(part["where"]) is not None or any("://" in name for name in part["names"])


def read_part(part: Mapping[str, Any], limit: float) -> Iterator[Named]:
    """Give the pictures of a part, as ``Part.to_json`` tells of it, each with its name; ``limit`` seconds an address.

    Raises ``InputError`` where the place itself is not there: the pictures are not to blame.
    """
    where = Path(part["where"])
    if address_of(part["where"]) is not None:
        yield from _fetched_members(part["where"], *part["names"])
        return
    if not where.exists():
        raise InputError(f"{where}: not there on this machine: give a place that every machine sees")
    if part["kind"] == SHARD:
        yield from members(where / part["names"][0], part["names"][0])
    elif part["kind"] == FILES:
        yield from ((name, where / name) for name in part["names"])
    else:

        def source(name: str) -> Source:
            return fetched(name, limit) if "://" in name else where / name

        # Without an address nothing is waited for: a path is read where it is decoded.
        workers = AT_ONCE if from_elsewhere(part) else 1
        with closing(stream(source, part["names"], workers=workers)) as found:
            yield from found


def members(shard: Path, file: str) -> Iterator[Named]:
    """Give the pictures of a shard: by the name that ``mobilenets pack`` gave them, else by their key.

    What is lost has neither: it is named by ``file``, which is what the shard is called, and its place there.
    """
    for one in read_shard(shard):
        content = UnreadablePicture(one.reason or "it has no picture") if one.content is None else one.content
        lost = one.content is None and not one.suffix and one.label is None
        yield one.name or (f"{file}, {one.key}" if lost else one.key), content


def _fetched_members(address: str, file: str, size: str) -> Iterator[Named]:
    """Give the pictures of a shard at an address, which is brought here whole and not kept."""
    with tempfile.TemporaryDirectory(prefix="mobilenets-") as folder:
        shard = Path(folder) / "shard.tar"
        Remote(address).append(file, int(size), shard)
        yield from members(shard, file)


def fetched(address: str, limit: float) -> bytes:
    """Read what lies at an address, within ``limit`` seconds; raises ``UnreadablePicture`` where that fails.

    A server that is busy, or that cuts the connection, is asked again.
    """
    begun = time.monotonic()
    for attempt in range(TRIES):
        try:
            return _body(address, begun + limit)
        except urllib.error.HTTPError as error:
            error.close()
            reason, passing = f"HTTP {error.code} {error.reason}", error.code in (408, 429) or error.code >= 500
        except (OSError, http.client.HTTPException, ValueError, ImportError) as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
            lasting = (http.client.InvalidURL, ValueError, ImportError, FileNotFoundError, PermissionError)
            passing = not isinstance(error, lasting)
        if not passing or attempt + 1 == TRIES or time.monotonic() - begun > limit:
            break
        time.sleep(PAUSE * 2**attempt)
    raise UnreadablePicture(f"cannot be fetched: {reason}")


def _body(address: str, until: float) -> bytes:
    left = max(0.1, until - time.monotonic())
    if address.startswith(("http://", "https://")):
        request = urllib.request.Request(address, headers={"User-Agent": "mobilenets"})
        opened: Any = urllib.request.build_opener().open(request, timeout=left)
    else:
        import fsspec

        opened = fsspec.open(address, "rb").open()
    pieces, size = [], 0
    with opened as file:
        while block := (file.read1 if hasattr(file, "read1") else file.read)(CHUNK):
            size += len(block)
            if size > MOST_GIVEN:
                raise ValueError(f"over {MOST_GIVEN >> 20} MiB, too large for a picture")
            if time.monotonic() > until:
                raise TimeoutError("it took too long")
            pieces.append(block)
        if getattr(file, "length", None):  # what http.client still waits for
            raise ConnectionError(f"the connection was cut after {size:,} bytes")
    return b"".join(pieces)
