"""What a source of pictures is cut into: parts, of each of which one file of answers is made."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mobilenets.base.cells import read_given_table
from mobilenets.base.files import read_text
from mobilenets.base.leftovers import UNFINISHED
from mobilenets.datasets.folder import relative
from mobilenets.datasets.listing import Problem, has_pictures, instead, pictures, say
from mobilenets.datasets.shards.index import INDEX, Shard, is_index, shards_of
from mobilenets.datasets.shards.open import refuse_missing
from mobilenets.datasets.shards.remote import Remote, address_of
from mobilenets.errors import InputError

FILES, LISTED, SHARD = "files", "listed", "shard"
PARQUET = (".parquet", ".pq")
TABLES = (*PARQUET, ".csv")
# How a column of paths or addresses is usually called.
COLUMNS = ("image", "path", "file", "filename", "file_name", "url", "uri", "address")


@dataclass(frozen=True)
class Part:
    """Some pictures of a source.

    ``where`` is the folder or address below which the names lie; of a shard they are its file and that one's bytes.
    ``inputs`` is a hash of what there is to answer for: another one means that the part changed. ``first`` is the first
    name that belongs to it; ``count`` is None where nobody knows it yet. The names are kept packed, because millions of
    them wait in the driver's memory.
    """

    name: str
    kind: str
    where: str
    inputs: str
    count: int | None
    first: str = ""
    packed: bytes = b""

    @property
    def names(self) -> list[str]:
        """The paths or addresses of its pictures."""
        found: list[str] = json.loads(zlib.decompress(self.packed))
        return found

    def to_json(self) -> dict[str, Any]:
        """Give it as a worker is told of it."""
        return {"name": self.name, "kind": self.kind, "where": self.where, "names": self.names}


def _part(name: str, kind: str, where: Path | str, names: Sequence[str], inputs: str, count: int | None = None) -> Part:
    packed = zlib.compress(json.dumps(names).encode(), 1)
    return Part(name, kind, str(where), inputs, count, names[0], packed)


def place_of(source: str | Path) -> str:
    """Give the address that a source is, or its whole path."""
    return address_of(str(source)) or str(Path(source).absolute())


def kind_of(place: str) -> str:
    """Say what a source is; raises ``InputError`` for one that is none."""
    source = Path(place)
    if address_of(place) is not None:
        return SHARD
    if not source.exists():
        raise InputError(f"{source}: there is no such folder or list; give a folder of pictures, shards or a list")
    if source.is_file():
        if source.suffix.lower() == ".tar":
            return SHARD
        if source.suffix.lower() in (*TABLES, ".txt", ".list"):
            return LISTED
        raise InputError(
            f"{source}: neither a folder nor a list: give a table (.parquet or .csv) or a text file (.txt) with a "
            "path or an address a line"
        )
    if (source / UNFINISHED).exists():
        raise InputError(f"{source}: packing was interrupted: run the same mobilenets pack again")
    if next(_tars(source), None) is None:
        return FILES
    if has_pictures(source, deep=True):
        raise InputError(f"{source} has both pictures and shards (.tar): give a folder of one kind")
    return SHARD


def parts_of(place: str, size: int, column: str | None = None, firsts: Mapping[str, str] | None = None) -> list[Part]:
    """Cut a source, as ``place_of`` gives it, into parts of about ``size`` pictures; of shards each is a part.

    ``firsts`` has the first name of each part that a folder was cut into before: it is cut there again, so that a
    picture that came or went changes one part, and not all after it. Raises ``InputError`` where nothing is found.
    """
    kind, source = kind_of(place), Path(place)
    if column is not None and (kind != LISTED or source.suffix.lower() not in TABLES):
        raise InputError(f"--column is for a list in Parquet or CSV, which {source} is not")
    if kind == FILES:
        return list(_cut(source, size, dict(firsts or {})))
    if kind == SHARD:
        return list(_shards(place))
    rows = iter(_rows(source, column))
    found = list[Part]()
    while names := list(islice(rows, size)):
        digest = hashlib.blake2b(json.dumps(names).encode(), digest_size=16).hexdigest()
        # Addresses and whole paths need no folder, which other machines may not have.
        free = all("://" in name or Path(name).is_absolute() for name in names)
        folder = Path() if free else source.absolute().parent
        found.append(_part(f"part-{len(found):05}", LISTED, folder, names, digest, len(names)))
    if not found:
        raise InputError(f"{source} lists no pictures")
    return found


def _shards(place: str) -> Iterator[Part]:
    """Give a part for each shard: one tar, those of a folder, or those that the index at an address names."""
    folder, source = place, Path(place)
    files: dict[str, tuple[int, str, int | None]] = {}
    if address_of(place) is not None:
        head = Remote(place).read(INDEX)
        if not is_index(head):
            raise InputError(f"{place}/{INDEX}: not an index of shards: pack the pictures with mobilenets pack")
        files.update((one.file, (one.bytes, one.blake2b, one.samples)) for one in shards_of(head, f"{place}/{INDEX}"))
    else:
        single, tars = source.is_file(), [source] if source.is_file() else sorted(_tars(source))
        folder, source = (str(source.parent), source.parent) if single else (place, source)
        known = _known(source / INDEX)
        refuse_missing(source, [one for one in known.values() if not single or one.file == tars[0].name])
        for path in tars:
            name, status = relative(path, source), path.stat()
            digest = hashlib.blake2b(f"{name} {status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
            files[name] = status.st_size, digest.hexdigest(), known[name].samples if name in known else None
    for name, (size, inputs, count) in sorted(files.items()):
        yield _part(name.removesuffix(".tar").replace("/", "--"), SHARD, folder, [name, str(size)], inputs, count)


def _tars(folder: Path) -> Iterator[Path]:
    """Give the shards right in a folder, and in the folders in it, such as train/ and validation/."""
    return chain(folder.glob("[!.]*.tar"), folder.glob("*/[!.]*.tar"))


def _known(index: Path) -> dict[str, Shard]:
    """Read what an index of ours says of the shards of a folder, where there is one."""
    try:
        head = index.read_bytes()
        return {one.file: one for one in shards_of(head, str(index))} if is_index(head) else {}
    except (OSError, InputError):
        return {}


def _cut(root: Path, size: int, firsts: dict[str, str]) -> Iterator[Part]:
    """Cut the pictures below a folder, in the order of ``pictures``, which needs no list of them all."""
    problems: list[Problem] = []
    ahead = sorted(((_place(first), name) for name, first in firsts.items()), reverse=True)
    taken, names, found = set(firsts), list[str](), 0
    current, digest = ahead.pop()[1] if ahead else "part-00000", hashlib.blake2b(digest_size=16)
    for path in pictures(root, problems):
        name = relative(path, root)
        begins = bool(ahead) and _place(name) >= ahead[-1][0]
        if begins or len(names) >= (2 * size if ahead else size):
            if names:
                yield _part(current, FILES, root, names, digest.hexdigest(), len(names))
            while ahead and _place(name) >= ahead[-1][0]:
                current = ahead.pop()[1]
            if not begins:
                numbered = (f"part-{number:05}" for number in range(len(taken), 10**9))
                current = next(name for name in numbered if name not in taken)
            names, digest = [], hashlib.blake2b(digest_size=16)
        taken.add(current)
        names.append(name)
        found += 1
        digest.update(_state(path, name))
    if not found:
        raise InputError(f"{root} has no pictures{instead(problems)}")
    yield _part(current, FILES, root, names, digest.hexdigest(), len(names))
    say(problems)


def _place(name: str) -> tuple[tuple[int, str], ...]:
    """Say where ``pictures`` names a file: the files of a folder come before those of the folders in it."""
    *above, last = name.split("/")
    return (*((1, folder) for folder in above), (0, last))


def _state(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        told = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
    except OSError:  # it went while the folder was listed: a row will say so
        told = f"{name}\0\n"
    return told.encode("utf-8", "surrogateescape")


def _rows(source: Path, column: str | None) -> Iterable[str]:
    """Give the paths or addresses of a list."""
    suffix = source.suffix.lower()
    if suffix in PARQUET:
        return _column(source, column)
    if suffix == ".csv":
        return _cells(source, column)
    lines = (line.strip() for line in read_text(source).splitlines())
    return (line for line in lines if line)


def _chosen(source: Path, columns: Sequence[str], asked: str | None) -> str:
    """Choose the column that has the paths: the one asked for, called as such a column usually is, or there alone."""
    usual = [name for name in columns if name.lower() in COLUMNS]
    chosen = asked or (usual or columns or [""])[0]
    if chosen not in columns or (asked is None and len(usual or columns) > 1):
        has = ", ".join(columns) or "none"
        raise InputError(f"{source}: which column has the paths? give --column; its columns of text: {has}")
    return chosen


def _cells(source: Path, column: str | None) -> list[str]:
    """Give the column of a table, whose heading may be missing where it is the only one."""
    rows = [row for _, row in read_given_table(source)]
    heads = [cell.strip() for cell in rows[0]] if rows else []
    if len(heads) == 1 and column is None and heads[0].lower() not in COLUMNS:
        heads = ["image"]
        rows.insert(0, heads)
    place = heads.index(_chosen(source, heads, column)) if rows else 0
    names = [row[place].strip() if place < len(row) else "" for row in rows[1:]]
    if not all(names):
        raise InputError(f"{source}: {heads[place]} is empty in some rows: remove them")
    return names


def _column(source: Path, column: str | None) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
        kinds = (pa.string(), pa.large_string())
        chosen = _chosen(source, [field.name for field in file.schema_arrow if field.type in kinds], column)
        for batch in file.iter_batches(columns=[chosen]):
            for name in batch.column(0).to_pylist():
                if not name:
                    raise InputError(f"{source}: {chosen} is empty in some rows: remove them")
                yield name
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source}: not a Parquet file that can be read: {' '.join(str(error).split())}") from error
