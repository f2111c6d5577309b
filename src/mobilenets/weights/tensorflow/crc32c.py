"""CRC-32C (Castagnoli), the checksum of TensorFlow's checkpoints.

Source of the polynomial and of ``mask``: LevelDB's ``util/crc32c.h``.
"""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78


def _of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL * (byte & 1))
    return byte


_TABLE = [_of_byte(byte) for byte in range(256)]


def crc32c(data: bytes | memoryview) -> int:
    """Give the checksum of the bytes, which takes a second for 14 megabytes."""
    table, checksum = _TABLE, 0xFFFFFFFF
    for byte in bytes(data):
        checksum = table[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    return checksum ^ 0xFFFFFFFF


def mask(checksum: int) -> int:
    """Give the form in which files hold it: a checksum of data that holds its own checksum is a weak one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
