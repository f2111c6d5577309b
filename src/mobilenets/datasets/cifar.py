"""CIFAR-10 and CIFAR-100 from their Python archives.

Source of the sets and their layout: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
2009. The archives hold pickles, which are read without running them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.base.pickled import Machine, NotPlainError, Object
from mobilenets.datasets.known import Content, Part
from mobilenets.errors import InputError

LARGEST_MEMBER = 200 << 20  # bytes; CIFAR-100's training file has 155 million
MOST_OPCODES = 1_000_000  # in one pickle; CIFAR-100's training file has about 200,000
LARGEST_ARCHIVE = 400 << 20  # bytes unpacked; both real ones have 186 million

SIDE = 32  # pixels
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))


def read_cifar10(archive: Path) -> Content:
    """Read ``cifar-10-python.tar.gz``, in RGB; its test batch becomes the validation part.

    Raises InputError when the file cannot be read, is damaged, or is not that archive.
    """
    parts = _members(archive, "cifar-10-batches-py", (*_TRAIN, "test_batch", "batches.meta"))
    try:
        classes = _names(parts["batches.meta"], "label_names")
        *batches, test = [_part(parts[name], "labels", classes) for name in (*_TRAIN, "test_batch")]
        pixels, labels = zip(*((one.pixels, one.labels) for one in batches), strict=True)
        return Content(Part(np.concatenate(pixels), np.concatenate(labels)), test, classes)
    except _MalformedError as error:
        raise InputError(f"{archive}: not the CIFAR-10 Python archive: {error}") from error


def read_cifar100(archive: Path) -> Content:
    """Read ``cifar-100-python.tar.gz`` with its fine labels as classes and its coarse labels as groups.

    Raises InputError when the file cannot be read, is damaged, or is not that archive.
    """
    parts = _members(archive, "cifar-100-python", ("train", "test", "meta"))
    try:
        classes = _names(parts["meta"], "fine_label_names")
        coarse = _names(parts["meta"], "coarse_label_names")
        train, test = (_part(parts[name], "fine_labels", classes) for name in ("train", "test"))
        groups = _groups(classes, train.labels, coarse, _labels(parts["train"], "coarse_labels", coarse))
        return Content(train, test, classes, groups)
    except _MalformedError as error:
        raise InputError(f"{archive}: not the CIFAR-100 Python archive: {error}") from error


class _MalformedError(Exception):
    """What is wrong with the content, as the end of a sentence."""


def _members(archive: Path, folder: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The plain data of the named files of the archive, read in one pass; nothing is written to the disk."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with archive.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"  # some browsers unpack the gzip layer on the way
            raw.seek(0)
            limited = _Limited(gzip.GzipFile(fileobj=raw) if packed else raw)
            with tarfile.open(fileobj=limited, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    name = member.name.removeprefix("./").removeprefix(folder + "/")
                    if name not in names or name in found:
                        continue
                    if not member.isreg() or member.issparse() or member.size > LARGEST_MEMBER:
                        raise _MalformedError(f"{member.name} is a file of an implausible size")
                    file = tar.extractfile(member)
                    assert file is not None  # a regular file has content
                    found[name] = _dict(file, member.name)
            while limited.read(1 << 20):  # to the end, where gzip checks its CRC
                pass
    except _MalformedError as error:
        raise InputError(f"{archive}: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, MemoryError) as error:
        raise InputError(f"{archive}: not a .tar.gz archive, or damaged or cut short; get it again") from error
    except OSError as error:
        raise InputError(f"cannot read {archive}: {error.strerror or error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{archive}: no {folder}/{missing[0]} in it; give the Python version of the archive")
    return found


def _dict(file: IO[bytes], name: str) -> dict[str, Any]:
    try:
        data = Machine(MOST_OPCODES).run(file)
    except NotPlainError as error:
        raise _MalformedError(f"{name} {error}") from error
    if type(data) is not dict:
        raise _MalformedError(f"{name} does not hold a dict")
    return data


class _Limited:
    """A stream that ends in an error rather than unpack without end."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self.stream = stream
        self.left = LARGEST_ARCHIVE

    def read(self, length: int) -> bytes:
        block = self.stream.read(length)
        self.left -= len(block)
        if self.left < 0:
            raise _MalformedError(f"it unpacks to more than {LARGEST_ARCHIVE:,} bytes, more than any CIFAR archive")
        return block


def _part(part: dict[str, Any], key: str, classes: tuple[str, ...]) -> Part:
    return Part(_pixels(part), _labels(part, key, classes))


def _pixels(part: dict[str, Any]) -> NDArray[np.uint8]:
    values = _array(part.get("data"))
    if values is None or not len(values) or values.shape[1] != 3 * SIDE * SIDE:
        raise _MalformedError(f"'data' is not an array of N x {3 * SIDE * SIDE} bytes")
    return values.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _array(value: object) -> NDArray[np.uint8] | None:
    """Make an array of bytes, (rows, columns), of what a pickle says of it; None where it is none.

    Its content may be text, Python 2's bytes, or what Python 3 writes for bytes in protocol 2: a call of ``encode``.
    """
    match value:
        case Object(state=(_, (int(rows), int(columns)), Object(arguments=("u1", *_)), fortran, content)):
            if isinstance(content, Object) and content.name == "_codecs encode" and len(content.arguments) == 2:
                content = content.arguments[0]
            raw = content.encode("latin-1", "replace") if isinstance(content, str) else content
            if isinstance(raw, bytes) and min(rows, columns) > 0 and rows * columns == len(raw):
                array: NDArray[np.uint8] = np.frombuffer(raw, np.uint8)
                return array.reshape((rows, columns), order="F" if fortran else "C")
    return None


def _labels(part: dict[str, Any], key: str, names: tuple[str, ...]) -> NDArray[np.int64]:
    labels = part.get(key)
    if type(labels) is not list or len(labels) != len(_pixels(part)):
        raise _MalformedError(f"{key!r} is not a list of one label per picture")
    if not all(type(label) is int and 0 <= label < len(names) for label in labels):
        raise _MalformedError(f"{key!r} has values that are not whole numbers from 0 to {len(names) - 1}")
    return np.array(labels, np.int64)


def _names(meta: dict[str, Any], key: str) -> tuple[str, ...]:
    names = meta.get(key)
    if type(names) is not list or not names or not all(type(name) is str and name for name in names):
        raise _MalformedError(f"{key!r} is not a list of names")
    if len(set(names)) < len(names):
        raise _MalformedError(f"{key!r} names a class twice")
    return tuple(names)


def _groups(
    classes: tuple[str, ...], fine: NDArray[np.integer], names: tuple[str, ...], coarse: NDArray[np.int64]
) -> tuple[str, ...]:
    """The coarse class of each fine class, as the labels pair them."""
    group = dict(zip(fine.tolist(), coarse.tolist(), strict=True))
    if len(group) < len(classes) or any(group[f] != c for f, c in zip(fine.tolist(), coarse.tolist(), strict=True)):
        raise _MalformedError("the fine and coarse labels do not give each class one group")
    return tuple(names[group[index]] for index in range(len(classes)))
