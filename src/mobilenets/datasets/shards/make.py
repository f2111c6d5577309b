"""An index of shards that have none: WebDataset tars of anybody's, read once."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import content_hash
from mobilenets.datasets.parts import half_of
from mobilenets.datasets.shards.index import HASH, Index, Row, Shard, hash_of, index_of
from mobilenets.datasets.shards.samples import Found, read_samples
from mobilenets.datasets.shards.tar import PIECE
from mobilenets.errors import InputError

_NONE = bytes(HASH)


def index_shards(folder: Path, files: Sequence[str]) -> Index:
    """Read shards once, forward, and index what is in them; ``files`` are their names below ``folder``.

    The class of a sample is that of ``.cls`` or ``.json``, else the folder in its key; numbers are filled up with zeros
    so that their order stays. A shard is of the half that its name or its folder tells, as in ``train-0001.tar``.
    Raises ``InputError`` where no sample has a class.
    """
    halves = _halves(files)
    shards: list[Shard] = []
    found: list[tuple[int, Found, bytes]] = []
    left_out: list[str] = []
    sizes = [(folder / file).stat().st_size for file in files]
    with progress("indexing shards", sum(sizes), "B") as shown:
        for number, file in enumerate(files):
            samples, mark = read_whole(folder / file)
            told = [(number, one, content) for one, content in samples if one.label is not None]
            left_out += [
                f"{file}, {one.key}: {one.reason or 'nothing tells its class'}"
                for one, _ in samples
                if one.label is None
            ]
            found += told
            shards.append(Shard(file, sizes[number], mark, len(told), halves.get(file)))
            shown.advance(sizes[number])
    if not found:
        raise InputError(
            f"{folder}: no sample in its shards has a picture and a class (.cls, .json or a folder in its key)"
            + (f"; {left_out[0]}" if left_out else "")
        )
    labels = _labels([one.label or "" for _, one, _ in found])
    rows = []
    for number, one, content in found:
        label = labels[one.label or ""]
        rows.append(Row(_name(one, shards[number], label), label, one.offset, one.length, content, one.reason))
    return index_of(shards, _apart(rows), sorted({*labels.values()}), left_out)


def read_whole(path: Path) -> tuple[list[tuple[Found, bytes]], str]:
    """Read a shard; gives its samples without their pictures but with the hashes of these, and its own hash."""
    try:
        with path.open("rb", buffering=PIECE) as stream:
            samples = [
                (replace(one, content=None), _NONE if one.content is None else hash_of(one.content))
                for one in read_samples(stream, path)
            ]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return samples, content_hash(path).hex()


def _halves(files: Sequence[str]) -> dict[str, str]:
    """Say which half each shard is of; nothing where none is of training."""
    told = {file: _half(file) for file in files}
    if "train" not in told.values():
        return {}
    silent = [file for file, half in told.items() if half is None]
    if silent:
        raise InputError(
            f"{silent[0]}: its name does not tell whether it is training or validation, as others' do: rename it"
        )
    return {file: half for file, half in told.items() if half is not None}


def _half(file: str) -> str | None:
    path = PurePosixPath(file)
    return half_of(re.sub(r"[\W\d_]+", " ", path.name.removesuffix(".tar")))[0] or half_of(path.parent.name)[0]


def _labels(said: Sequence[str]) -> Mapping[str, str]:
    """Give the class that each label stands for: numbers all of one length, and no class that is no folder's name."""
    known = sorted({*said})
    if all(label.isascii() and label.isdigit() for label in known):
        width = max(len(str(int(label))) for label in known)
        return {label: str(int(label)).zfill(width) for label in known}
    return {label: re.sub(r"[\x00-\x1f/\\]+", "-", label).strip(". ") or "unnamed" for label in known}


def _name(one: Found, shard: Shard, label: str) -> str:
    """Name a picture as if it lay in a folder: as it was packed, or by class, shard and key."""
    if one.name is not None and one.label in one.name.split("/")[:-1]:
        return one.name
    stem = re.sub(r"[/\\]", "-", shard.file.removesuffix(".tar"))
    key = re.sub(r"[\x00-\x1f/\\]", "-", one.key)
    return "/".join([*filter(None, [shard.split]), label, f"{stem}-{key}.{one.suffix or 'jpg'}"])


def _apart(rows: Sequence[Row]) -> list[Row]:
    """Tell apart what would bear one name, by numbers."""
    counts: defaultdict[str, int] = defaultdict(int)
    result = []
    for row in rows:
        counts[row.name] += 1
        stem, suffix = os.path.splitext(row.name)  # noqa: PTH122 - a name, not a file
        name = row.name if counts[row.name] == 1 else f"{stem}-{counts[row.name]}{suffix}"
        result.append(replace(row, name=name))
    return result
