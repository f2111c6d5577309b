"""DATA as a person gives it: a folder of pictures, a folder of shards, or the address of shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from mobilenets.base.cache import cache_folder
from mobilenets.base.leftovers import UNFINISHED
from mobilenets.base.mounts import mount, unmount
from mobilenets.base.notes import log
from mobilenets.base.shell import quote
from mobilenets.base.text import counted
from mobilenets.datasets.listing import has_pictures
from mobilenets.datasets.parts import half_of
from mobilenets.datasets.shards.index import HASH, INDEX, Index, Shard, is_index, read_index, table_of
from mobilenets.datasets.shards.make import index_shards
from mobilenets.datasets.shards.remote import address_of, open_remote
from mobilenets.datasets.shards.source import Disk, Source
from mobilenets.datasets.shards.tree import ShardTree
from mobilenets.errors import InputError

_SHOWN = 3


def open_data(data: str | os.PathLike[str]) -> Path:
    """Give the folder that DATA is; one of shards, or the address of one, then is as if its pictures lay in it.

    Shards without an index of ours are read once for one, which is kept in the cache folder. Raises ``InputError`` for
    shards that cannot be used, and for an address that cannot be read.
    """
    text = os.fspath(data)
    address = address_of(text) if isinstance(text, str) else None
    given = Path(text) if address is None else Path(address)
    path = given.parent if given.name == INDEX else given
    # What lies in "." is called by names that do not begin so.
    path = path.resolve() if path == Path() else path
    opened = _at(path) if address is None else open_remote(address)
    if opened is None:
        unmount(path)  # of shards that were there before
        return given
    index, source = opened
    for number, line in enumerate(index.left_out):
        if number < _SHOWN:
            log.warning("%s: %s (left out)", path, line)
    if len(index.left_out) > _SHOWN:
        log.warning("%s: and %d more (left out)", path, len(index.left_out) - _SHOWN)
    mount(path, ShardTree(index, source))
    return path


def _at(path: Path) -> tuple[Index, Source] | None:
    if not path.is_dir():
        return None
    head = _read(path / INDEX)
    if head is not None and is_index(head):
        table = _read(path / table_of(head, str(path / INDEX)))
        if table is None:
            raise InputError(f"{path / INDEX}: the file with its table is missing: copy it too, or pack again")
        index = read_index(head, table, str(path / INDEX))
        refuse_missing(path, index.shards)
        return index, Disk(path, index.shards)
    tars = _tars(path)
    if not tars:
        return None
    if (path / UNFINISHED).exists():
        raise InputError(f"{path}: packing was interrupted: run the same mobilenets pack DATA {quote(str(path))} again")
    index = _made(path, tars)
    return index, Disk(path, index.shards)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def refuse_missing(path: Path, shards: Iterable[Shard]) -> None:
    """Raise ``InputError`` where a shard that an index names is not in its folder, or has another length."""
    for shard in shards:
        file = path / shard.file
        try:
            size = file.stat().st_size
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}: the index names it; copy it too") from error
        if size != shard.bytes:
            raise InputError(f"{file} has {size:,} bytes, and {shard.bytes:,} in the index: copy it again")


def _tars(path: Path) -> list[str]:
    """Name the tars in a folder, or in its halves; none where there are pictures too."""
    try:
        folders = sorted(one for one in path.iterdir() if one.is_dir())
    except OSError:  # who lists it as a folder of pictures says so
        return []
    halves = [one for one in folders if half_of(one.name)[0] is not None]
    found = [one for place in (path, *halves) for one in sorted(place.glob("[!.]*.tar")) if one.is_file()]
    if not found or any(has_pictures(place, deep=True) for place in folders):
        return []
    return [one.relative_to(path).as_posix() for one in found]


def _made(path: Path, tars: list[str]) -> Index:
    """Index shards of others, or take the index that was made of the very same files."""
    marks = [(name, status.st_size, status.st_mtime_ns) for name in tars for status in [(path / name).stat()]]
    key = hashlib.blake2b(repr((str(path.resolve()), marks)).encode("utf-8", "surrogateescape"), digest_size=HASH)
    place = cache_folder() / "indexes" / key.hexdigest()
    head = _read(place / INDEX)
    if head is not None and (table := _read(place / table_of(head, str(place / INDEX)))) is not None:
        return read_index(head, table, str(place / INDEX))
    log.info("%s: %s without an index of mobilenets: read once for one", path, counted(len(tars), "shard"))
    index = index_shards(path, tars)
    index.write(place)
    return index
