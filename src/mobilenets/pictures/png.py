"""PNG files that viewers read and Pillow refuses: read where their pixels are sure all the same (ISO/IEC 15948)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

START = b"\x89PNG\r\n\x1a\n"
_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_TEXTS = {b"zTXt", b"iTXt"}
_XMP = b"XML:com.adobe.xmp"  # may turn the picture


def mended(data: bytes) -> bytes | None:
    """Return the file without what viewers pass over, None where there is none of that.

    These are ancillary chunks whose checksum is wrong, and packed text, of which Pillow reads a megabyte at most.
    """
    bad = [
        (start, end)
        for kind, start, end, good in _chunks(data)
        if (not good and kind not in _NEEDED) or (kind in _TEXTS and not data.startswith(_XMP, start + 8))
    ]
    if not bad:
        return None
    kept, place = [], 0
    for start, end in bad:
        kept.append(data[place:start])
        place = end
    return b"".join([*kept, data[place:]])


def is_damaged(data: bytes) -> bool:
    """Say whether the pixels are not those that were written: both the chunk's and zlib's own checksum are wrong."""
    chunks = list(_chunks(data))
    if all(good for kind, _, _, good in chunks if kind == b"IDAT"):
        return False
    packed = zlib.decompressobj()
    try:
        for kind, start, end, _ in chunks:
            rest = data[start + 8 : end - 4] if kind == b"IDAT" else b""
            while rest:
                packed.decompress(rest, 1 << 20)
                rest = packed.unconsumed_tail
    except zlib.error:
        return True
    return not packed.eof


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Give each chunk's kind, start, end, and whether its checksum is right; one that is cut off is none."""
    place = len(START)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            return
        kind = data[place + 4 : place + 8]
        yield kind, place, end, zlib.crc32(data[place + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        if kind == b"IEND":
            return
        place = end
