"""A folder of labelled pictures as WebDataset shards: ``key.jpg``, ``key.cls`` and ``key.json`` of every picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from mobilenets.base import mounts
from mobilenets.base.files import writing
from mobilenets.datasets.arranged import Listed
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.listing import Problem
from mobilenets.datasets.shards.index import HASH, Row, Shard, hash_of
from mobilenets.datasets.shards.make import read_whole
from mobilenets.datasets.shards.tar import BLOCK, end, header, padding
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.stream import stream

SHARD_MB = 256.0
"""About how large a shard is, where nobody says otherwise, in MB."""

_BESIDE = 6 * BLOCK
"""Bytes that a sample takes besides its picture, about."""


@dataclass(frozen=True)
class Planned:
    """A shard that is to be written: its file, the half that it is of, and its samples with the number of the first."""

    file: str
    split: str | None
    first: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Packed:
    """A shard that was written, its samples as rows of the index, and what could not be read."""

    shard: Shard
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()
    reused: bool = False


def plan_shards(listed: Listed, size: int, seed: int) -> list[Planned]:
    """Put the pictures of each half in an order drawn from ``seed``, and cut it into shards of about ``size`` bytes.

    Of a set that is not split there is one sequence of shards. The plan depends on names, sizes and the seed alone.
    Raises ``InputError`` for a file that cannot be inspected.
    """
    halves = {half: some for half, some in listed.parts.items() if some}
    planned: list[Planned] = []
    first = 0
    split = listed.layout.validation is not None
    for turn, (half, samples) in enumerate(halves.items()):
        order = np.random.default_rng((seed, 5, turn)).permutation(len(samples)).tolist()
        drawn = [samples[place] for place in order]
        try:
            sizes = [mounts.file_size(sample.path) + _BESIDE for sample in drawn]
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
        shards = max(1, round(sum(sizes) / size))
        bounds = np.searchsorted(np.cumsum(sizes), sum(sizes) / shards * np.arange(1, shards)).tolist()
        for number, (start, stop) in enumerate(zip([0, *bounds], [*bounds, len(drawn)], strict=True)):
            if start < stop:
                file = f"{half if split else 'shard'}-{number:05d}.tar"
                planned.append(Planned(file, half if split else None, first + start, tuple(drawn[start:stop])))
        first += len(drawn)
    return planned


def write_shard(
    planned: Planned,
    out: Path,
    root: Path,
    classes: Sequence[str],
    advance: Callable[[int], None],
    workers: int | None = None,
) -> Packed:
    """Write one shard, whole or not at all; what an earlier run finished, and still holds, is taken as it is.

    Pictures are read ahead by threads and go in byte for byte. One that cannot be read is left out, with its reason.
    """
    place = out / planned.file
    done = _finished(place, planned, root, classes)
    if done is not None:
        advance(len(planned.samples))
        return done
    rows: list[Row] = []
    problems: list[Problem] = []
    with writing(place) as aside, aside.open("wb") as file:
        tar = _Tar(file)
        with closing(stream(_content, planned.samples, workers=workers)) as contents:
            for number, (sample, content) in enumerate(contents, start=planned.first):
                advance(1)
                name, label = relative(sample.path, root), classes[sample.label]
                if isinstance(content, UnreadablePicture):
                    problems.append(Problem("unreadable", name, str(content)))
                    continue
                key = f"{number:09d}"
                about = {"name": name, "class": label, "label": sample.label, "split": planned.split}
                text = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogateescape")
                offset = tar.add(f"{key}{sample.path.suffix.lower()}", content)
                tar.add(f"{key}.cls", str(sample.label).encode())
                tar.add(f"{key}.json", text)
                rows.append(Row(name, label, offset, len(content), hash_of(content)))
        tar.close()
    shard = Shard(planned.file, tar.length, tar.digest.hexdigest(), len(rows), planned.split)
    return Packed(shard, tuple(rows), tuple(problems))


class _Tar:
    """Writes members, and hashes all that is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.length = file, 0
        self.digest = hashlib.blake2b(digest_size=HASH)

    def add(self, name: str, content: bytes) -> int:
        """Add a member; returns where its bytes begin."""
        self._write(header(name, len(content)))
        offset = self.length
        self._write(content)
        self._write(padding(len(content)))
        return offset

    def close(self) -> None:
        self._write(end(self.length))

    def _write(self, content: bytes) -> None:
        self.file.write(content)
        self.digest.update(content)
        self.length += len(content)


def _content(sample: Sample) -> bytes:
    try:
        return mounts.read_file(sample.path)
    except OSError as error:
        raise UnreadablePicture(f"the file cannot be read: {error.strerror or error}") from error


def _finished(place: Path, planned: Planned, root: Path, classes: Sequence[str]) -> Packed | None:
    """Take a shard that is there, if it holds what was planned and no picture was written since."""
    if not place.is_file():
        return None
    written = place.stat().st_mtime
    samples, mark = read_whole(place)
    if len(samples) != len(planned.samples):
        return None
    rows = []
    for sample, (found, content) in zip(planned.samples, samples, strict=True):
        name, label = relative(sample.path, root), classes[sample.label]
        same = found.name == name and found.label == label and found.reason is None
        if not same or not _unchanged(sample.path, found.length, content, written):
            return None
        rows.append(Row(name, label, found.offset, found.length, content))
    shard = Shard(planned.file, place.stat().st_size, mark, len(rows), planned.split)
    return Packed(shard, tuple(rows), reused=True)


def _unchanged(path: Path, length: int, content: bytes, since: float) -> bool:
    """Whether a file is what was packed: by length and time of writing, or the hash that is known of one in a shard."""
    known = mounts.known_content(path)
    if known is not None:
        return known == content
    status = path.stat()
    return status.st_size == length and status.st_mtime <= since
