"""A sorted table of LevelDB: the index file of a TensorFlow checkpoint.

Source: LevelDB's ``doc/table_format.md``. TensorFlow writes it uncompressed. Names and values are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mobilenets.weights.layers import MAX_ARRAYS
from mobilenets.weights.tensorflow.crc32c import crc32c, mask
from mobilenets.weights.wire import WireError, varint

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # the kind of compression and the checksum
_MAX_KEY = 4096  # keys that share their beginnings would otherwise make gigabytes of a small file


class TableError(ValueError):
    """The bytes are no such table, or a damaged one; the message is the reason alone."""


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Give all entries in order; every block's checksum is verified. Raises TableError."""
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise TableError("it does not end as a checkpoint's index does")
    entries: dict[bytes, bytes] = {}
    last: bytes | None = None
    try:
        footer = memoryview(data)[-_FOOTER:]
        _, at = _handle(footer, 0)
        index, _ = _handle(footer, at)
        # Data blocks lie one behind the other and before the index block, so that none is read twice.
        free = 0
        for _, handle in _block(data, index):
            (offset, size), _ = _handle(memoryview(handle), 0)
            if offset < free:
                raise TableError("its blocks overlap")
            free = offset + size
            for key, value in _block(data, (offset, size)):
                if last is not None and key <= last:
                    raise TableError("its entries are not in order")
                entries[key] = value
                last = key
                if len(entries) > MAX_ARRAYS:
                    raise TableError(f"it lists more than {MAX_ARRAYS} entries, a MobileNet has hundreds")
    except WireError as error:
        raise TableError(str(error)) from error
    return entries


def _handle(view: memoryview, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(view, at)
    size, at = varint(view, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of one block: keys share their beginnings with the key before."""
    offset, size = handle
    if offset + size + _TRAILER > len(data) - _FOOTER or size < 4:
        raise TableError(f"a block of {size} bytes at {offset} is outside the file")
    whole = memoryview(data)[offset : offset + size + _TRAILER]
    if whole[size] == 1:
        raise TableError("its blocks are compressed with snappy, which TensorFlow's own checkpoints never are")
    if mask(crc32c(whole[: size + 1])) != int.from_bytes(whole[size + 1 :], "little"):
        raise TableError("a block does not match its checksum: the file is damaged")
    if whole[size]:
        raise TableError(f"a block has compression {whole[size]}, which is unknown")
    restarts = int(np.frombuffer(whole[size - 4 : size], "<u4")[0])
    end = size - 4 - 4 * restarts
    if end < 0:
        raise TableError("a block is shorter than its list of restarts")
    at, key, seen = 0, b"", 0
    while at < end:
        seen += 1
        if seen > MAX_ARRAYS:
            raise TableError(f"a block lists more than {MAX_ARRAYS} entries, a MobileNet has hundreds")
        shared, at = varint(whole, at)
        unshared, at = varint(whole, at)
        length, at = varint(whole, at)
        if shared > len(key) or unshared + length > end - at:
            raise TableError("an entry reaches beyond its block")
        if shared + unshared > _MAX_KEY:
            raise TableError(f"a name of {shared + unshared} bytes")
        key = key[:shared] + bytes(whole[at : at + unshared])
        at += unshared
        yield key, bytes(whole[at : at + length])
        at += length
