"""What is in a set of shards: ``shards.json``, and for each sample a row in ``shards.npz``.

A sample takes 44 bytes and its name: of a million about 70 MB, in the file and in memory.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import write_bytes, write_json
from mobilenets.errors import InputError

INDEX, TABLE = "shards.json", "shards.npz"
FORMAT, VERSION = "mobilenets shards", 1
HASH = 16
"""Bytes of a hash, BLAKE2b: of a picture's file and of a shard."""

_COLUMNS = {"offsets": "<i8", "lengths": "<i8", "labels": "<i4", "contents": "|u1", "ends": "<i8", "names": "|u1"}


@dataclass(frozen=True)
class Shard:
    """A shard: its file below the folder of the index, its length in bytes and hash, and how many samples it has.

    ``split`` is ``train``, ``validation`` or ``test``, None where the set is not split.
    """

    file: str
    bytes: int
    blake2b: str
    samples: int
    split: str | None = None


@dataclass(frozen=True, eq=False)
class Index:
    """Shards, and arrays with an entry for each sample, shard by shard in the order in which they lie there.

    ``offsets`` and ``lengths`` (int64) say where the picture's file is in its shard, in bytes; ``labels`` (int32) are
    places in ``classes``, ``contents`` (uint8 N×16) the hashes of the pictures' files. The name of sample ``n``, its
    path in a folder that the set stands for, is ``names[ends[n - 1]:ends[n]]`` in UTF-8. ``damaged`` has the reason of
    each sample whose picture could not be read when the index was made; ``left_out`` says what has no sample.
    """

    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    contents: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint8]
    damaged: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.offsets)

    @property
    def firsts(self) -> npt.NDArray[np.int64]:
        """The number of each shard's first sample, and behind them how many samples there are, int64."""
        return np.cumsum([0, *(shard.samples for shard in self.shards)])

    def all_names(self) -> list[str]:
        """Give the names of all samples."""
        text, bounds = self.names.tobytes(), [0, *self.ends.tolist()]
        pairs = itertools.pairwise(bounds)
        return [text[start:stop].decode("utf-8", "surrogateescape") for start, stop in pairs]

    def write(self, folder: Path) -> None:
        """Write both files, the one that makes readers take the other last."""
        held = io.BytesIO()
        np.savez(held, **{name: getattr(self, name) for name in _COLUMNS})
        table = held.getvalue()
        write_bytes(folder / TABLE, table)
        about = {
            "format": FORMAT,
            "version": VERSION,
            "samples": len(self),
            "classes": list(self.classes),
            "shards": [asdict(shard) for shard in self.shards],
            "table": {"file": TABLE, "bytes": len(table), "blake2b": hash_of(table).hex()},
            "damaged": {str(number): reason for number, reason in self.damaged.items()},
            "left_out": list(self.left_out),
        }
        write_json(folder / INDEX, about)


@dataclass(frozen=True)
class Row:
    """A sample as it is put into an index."""

    name: str
    label: str
    offset: int
    length: int
    content: bytes
    reason: str | None = None


def index_of(
    shards: Sequence[Shard], rows: Iterable[Row], classes: Sequence[str], left_out: Sequence[str] = ()
) -> Index:
    """Make an index of shards and the samples in them, in order; raises ``InputError`` for two of one name."""
    places = {name: label for label, name in enumerate(classes)}
    offsets, lengths, labels, ends = [], [], [], []
    names, contents = bytearray(), bytearray()
    damaged: dict[int, str] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if row.name in seen:
            raise InputError(f"two pictures of the shards are called {row.name}: pack them again")
        seen.add(row.name)
        offsets.append(row.offset)
        lengths.append(row.length)
        labels.append(places[row.label])
        names += row.name.encode("utf-8", "surrogateescape")
        ends.append(len(names))
        contents += row.content
        if row.reason is not None:
            damaged[number] = row.reason
    return Index(
        tuple(classes),
        tuple(shards),
        np.array(offsets, np.int64),
        np.array(lengths, np.int64),
        np.array(labels, np.int32),
        np.frombuffer(bytes(contents), np.uint8).reshape(-1, HASH),
        np.array(ends, np.int64),
        np.frombuffer(bytes(names), np.uint8),
        damaged,
        tuple(left_out),
    )


def hash_of(content: bytes) -> bytes:
    """Give the hash of bytes."""
    return hashlib.blake2b(content, digest_size=HASH).digest()


def is_index(head: bytes) -> bool:
    """Whether the content of a ``shards.json`` is ours."""
    try:
        return bool(json.loads(head).get("format") == FORMAT)
    except (ValueError, AttributeError, RecursionError):
        return False


def table_of(head: bytes, where: str) -> str:
    """Name the file of the table that a ``shards.json`` belongs to; raises ``InputError`` for a damaged one."""
    try:
        return _plain(json.loads(head)["table"]["file"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(where) from error


def shards_of(head: bytes, where: str) -> tuple[Shard, ...]:
    """Read the shards that a ``shards.json`` names; raises ``InputError`` for a damaged one, or of another version."""
    try:
        about = json.loads(head)
        if about["version"] != VERSION:
            raise InputError(f"{where}: made by another version of mobilenets: pack the pictures again")
        return tuple(_shard(value) for value in about["shards"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _damaged(where) from error


def read_index(head: bytes, table: bytes, where: str) -> Index:
    """Read the contents of ``shards.json`` and of its table; raises ``InputError`` where they are damaged."""
    try:
        about, shards = json.loads(head), shards_of(head, where)
        if hash_of(table).hex() != about["table"]["blake2b"]:
            raise InputError(f"{where}: {about['table']['file']} is not the one that it names: copy both again")
        with np.load(io.BytesIO(table)) as held:
            columns = {name: held[name] for name in _COLUMNS}
        damaged = {int(number): str(reason) for number, reason in about["damaged"].items()}
        left_out = tuple(str(one) for one in about["left_out"])
        index = Index(tuple(map(str, about["classes"])), shards, **columns, damaged=damaged, left_out=left_out)
        _check(index)
    except InputError:
        raise
    except Exception as error:  # NumPy raises nearly every kind for a damaged file
        raise _damaged(where) from error
    return index


def _shard(value: Mapping[str, Any]) -> Shard:
    split = value["split"]
    if split not in (None, "train", "validation", "test"):
        raise ValueError(split)
    return Shard(_plain(value["file"]), int(value["bytes"]), str(value["blake2b"]), int(value["samples"]), split)


def _plain(file: Any) -> str:
    """Refuse a file that is not below the folder of its index."""
    parts = file.split("/")
    if set(parts) & {"", ".", ".."} or "\\" in file or ":" in file:
        raise ValueError(file)
    return str(file)


def _check(index: Index) -> None:
    """Refuse arrays that do not belong together, before anything is read by them."""
    count = int(index.firsts[-1])
    wrong = [name for name, kind in _COLUMNS.items() if getattr(index, name).dtype.str != kind]
    shapes = {index.offsets.shape, index.lengths.shape, index.labels.shape, index.ends.shape}
    if wrong or shapes != {(count,)} or index.contents.shape != (count, HASH) or index.names.ndim != 1:
        raise ValueError("columns")
    if not count:
        return
    sizes = np.repeat([shard.bytes for shard in index.shards], [shard.samples for shard in index.shards])
    inside = (index.offsets >= 0) & (index.lengths >= 0) & (index.offsets <= sizes - index.lengths)
    known = (index.labels >= 0) & (index.labels < len(index.classes))
    grows = index.ends[0] > 0 and bool((np.diff(index.ends) > 0).all()) and int(index.ends[-1]) == len(index.names)
    if not (inside.all() and known.all() and grows):
        raise ValueError("rows")


def _damaged(where: str) -> InputError:
    return InputError(f"{where}: damaged: copy it again, or pack the pictures again")
