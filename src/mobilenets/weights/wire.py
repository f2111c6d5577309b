"""Protobuf's wire format, read without its schema: what TensorFlow's and MindSpore's files are made of.

Source: https://protobuf.dev/programming-guides/encoding/. Groups, which neither framework writes, are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# A weights file has some ten thousand fields; more cost seconds in Python. A packed array costs 16 times its bytes.
MAX_FIELDS = 250_000
MAX_PACKED = 16 << 20
MAX_ROOM = 256 << 20


class WireError(ValueError):
    """The bytes are no protobuf message, or one too long for a weights file; the message is the reason alone."""


class Budget:
    """What may still be read and made of it: share one among all messages of a file.

    ``left`` counts fields, ``room`` the bytes that arrays take beyond those of the file itself.
    """

    def __init__(self, left: int = MAX_FIELDS, room: int = MAX_ROOM) -> None:
        self.left, self.room = left, room

    def spend(self) -> None:
        """Count one field; raises ``WireError`` when none was left."""
        self.left -= 1
        if self.left < 0:
            raise WireError("it has more fields than any weights file")

    def take(self, size: int) -> None:
        """Count bytes of an array before it is made; raises ``WireError`` when there is no room for them."""
        self.room -= size
        if self.room < 0:
            raise WireError("it makes larger arrays than any weights file")


def fields(data: memoryview | bytes, budget: Budget | None = None) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield each field of one message: (field number, wire type, value).

    The value is an int for ``VARINT`` (unsigned; ``signed`` gives an int32 or int64), a view of 8 or 4 bytes for
    ``FIXED64`` and ``FIXED32``, and a view of the bytes for ``BYTES``; nothing is copied. Raises WireError.
    """
    view = memoryview(data).cast("B")
    budget = budget or Budget()
    at, end = 0, len(view)
    while at < end:
        budget.spend()
        tag, at = varint(view, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"field number {number}")
        if kind == VARINT:
            value, at = varint(view, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, at = varint(view, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"wire type {kind}")
        if length > end - at:
            raise WireError(f"field {number} claims {length} bytes where {end - at} are left")
        yield number, kind, view[at : at + length]
        at += length


def grouped(data: memoryview | bytes, budget: Budget | None = None) -> Mapping[int, Sequence[int | memoryview]]:
    """Give the values of each field of one message by its number, in their order; none for a field that is not there.

    Values are as ``fields`` gives them. Raises WireError.
    """
    found: defaultdict[int, list[int | memoryview]] = defaultdict(list)
    for number, _, value in fields(data, budget):
        found[number].append(value)
    return found


def entry(value: int | memoryview, budget: Budget) -> tuple[str, memoryview]:
    """Take a field as the key and the value of a map. Raises WireError."""
    got = grouped(blob(value), budget)
    return name_of(got[1]), blob(got[2][-1]) if got[2] else memoryview(b"")


def varint(view: memoryview | bytes, at: int) -> tuple[int, int]:
    """Read the unsigned 64-bit number at ``at``; return it and where it ends. Raises WireError."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise WireError("it ends within a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise WireError("a number is longer than 64 bits")


def varints(data: memoryview | bytes) -> npt.NDArray[np.uint64]:
    """Read packed varints, the form of a repeated number. Raises WireError."""
    if len(data) > MAX_PACKED:
        raise WireError("a packed array is longer than any weights file has")
    raw = np.frombuffer(data, np.uint8)
    if not len(raw):
        return np.zeros(0, np.uint64)
    (ends,) = np.nonzero(raw < 0x80)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise WireError("it ends within a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends + 1 - starts
    if lengths.max() > 10 or (raw[ends[lengths == 10]] > 1).any():
        raise WireError("a number is longer than 64 bits")
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(lengths.max())):
        has = lengths > place
        values[has] |= (raw[starts[has] + place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    return values


def numbers(values: Sequence[int | memoryview], most: int | None = None) -> list[int]:
    """Take the values of a repeated number, packed or each by itself, unsigned; ``most`` bytes of what is packed."""
    found: list[int] = []
    for value in values:
        found += [value] if isinstance(value, int) else varints(value[:most]).tolist()
    return found


def signed(value: int) -> int:
    """Take a ``VARINT`` as the int32 or int64 that its schema means."""
    return value - (1 << 64) if value >> 63 else value


def text(value: int | memoryview) -> str:
    """Take a ``BYTES`` field as a name. Raises WireError where it is no UTF-8."""
    try:
        return str(blob(value), "utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a name is not UTF-8 text") from error


def blob(value: int | memoryview) -> memoryview:
    """Take a field that its schema makes a message, bytes or packed numbers. Raises WireError for a bare number."""
    if isinstance(value, int):
        raise WireError("a number stands where a message should")
    return value


def number(value: int | memoryview) -> int:
    """Take a field that its schema makes a number. Raises WireError for anything else."""
    if not isinstance(value, int):
        raise WireError("bytes stand where a number should")
    return value


def name_of(values: Sequence[int | memoryview]) -> str:
    """Take the last of a field's values as a name; empty where there is none. Raises WireError."""
    return text(values[-1]) if values else ""


def number_of(values: Sequence[int | memoryview], default: int = 0) -> int:
    """Take the last of a field's values as a number; ``default`` where there is none. Raises WireError."""
    return number(values[-1]) if values else default
