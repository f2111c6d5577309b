"""CRC-32C (Castagnoli), the checksum of TensorFlow's checkpoints, over megabytes with nothing but numpy.

A checksum is linear: the data is cut into rows, every row's sum is taken at once, column by column, and the sums are
then joined pairwise. Source of the polynomial and of ``mask``: LevelDB's ``util/crc32c.h``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Words = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_MAX_ROWS = 1 << 14
_SHORT = 2048  # shorter data are summed faster byte by byte


def _byte_sums() -> _Words:
    table: _Words = np.arange(256, dtype=np.uint32)
    one = np.uint32(1)
    for _ in range(8):
        table = (table >> one) ^ (np.uint32(_POLYNOMIAL) * (table & one))
    return table


_TABLE = _byte_sums()
_NUMBERS = _TABLE.tolist()


def crc32c(data: bytes | memoryview) -> int:
    """Give the checksum of the bytes."""
    if len(data) < _SHORT:
        checksum = 0xFFFFFFFF
        for byte in bytes(data):
            checksum = _NUMBERS[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
        return checksum ^ 0xFFFFFFFF
    raw = np.frombuffer(data, np.uint8)
    # A power of two of rows, about the square root; zeros in front of the data change nothing in a sum from zero.
    rows = min(1 << (len(raw).bit_length() // 2), _MAX_ROWS)
    length = -(-len(raw) // rows)
    table = np.zeros(rows * length, np.uint8)
    start = len(table) - len(raw)
    table[start:] = raw
    table[start : start + 4] ^= 0xFF  # the same as to begin with all ones
    state = np.zeros(rows, np.uint32)
    moved = np.uint32(1) << np.arange(32, dtype=np.uint32)  # by a row of zeros, for each bit of a sum
    for column in np.ascontiguousarray(table.reshape(rows, length).T):
        state = _step(state, column)
        moved = _step(moved, np.uint8(0))
    while len(state) > 1:
        state = _apply(moved, state[0::2]) ^ state[1::2]
        moved = _apply(moved, moved)
    return int(state[0]) ^ 0xFFFFFFFF


def mask(checksum: int) -> int:
    """Give the form in which files hold it: a checksum of data that holds its own checksum is a weak one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _step(state: _Words, byte: npt.NDArray[np.uint8] | np.uint8) -> _Words:
    moved: _Words = _TABLE[(state ^ byte) & np.uint32(0xFF)] ^ (state >> 8)
    return moved


def _apply(matrix: _Words, words: _Words) -> _Words:
    """Multiply a matrix with each of the words, over the field of two elements."""
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(-1, 4)
    bits = np.unpackbits(octets, axis=1, bitorder="little")
    product: _Words = np.bitwise_xor.reduce(bits * matrix, axis=1)
    return product
