"""Pictures made to be slow: of so many parts, each next to nothing, that going over them takes a core for minutes.

Pillow goes over the parts of a JPEG, PNG or GIF file in Python, a microsecond or several each, whatever they hold; so
does its decoder of packed BMP. Counted here before Pillow sees them.
"""

from __future__ import annotations

import re

from mobilenets.pictures.decode import PictureTooLarge

MAX_SCANS = 64
"""Scans of a JPEG; encoders write about ten. Each goes over all pixels, so thousands would keep a core for hours."""
MAX_PARTS = 16_384
"""Segments, chunks or blocks of a file: a PNG of 100 megabytes in the usual 8 KiB has 13,000."""
MAX_PACKED_BMP = 1 << 20
"""Bytes of a BMP in run-length encoding, which hardly anything writes."""

_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # JPEG (ITU T.81, B.1.1.2) without stuffing and restarts
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_EXTENSION, _IMAGE = 0x21, 0x2C
_PACKED = (1, 2)


class TooManyScans(PictureTooLarge):
    """A JPEG of more than ``MAX_SCANS`` scans."""


class TooManyParts(PictureTooLarge):
    """A file of more than ``MAX_PARTS`` parts."""


def check_structure(data: bytes) -> None:
    """Refuse a file that is slow to go over; raises ``TooManyScans`` or ``TooManyParts``.

    What is wrong with it otherwise is left for ``decode`` to say.
    """
    if data.startswith(_JPEG):
        _check_jpeg(data)
    elif data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_GIF):
        _check_gif(data)
    elif data.startswith(_BMP) and len(data) > MAX_PACKED_BMP and int.from_bytes(data[30:34], "little") in _PACKED:
        raise TooManyParts("a packed BMP of more than a megabyte is not read here: save it as PNG")


def _count(parts: int) -> None:
    if parts > MAX_PARTS:
        raise TooManyParts(f"a file of more than {MAX_PARTS} parts: save it anew as PNG or JPEG")


def _check_jpeg(data: bytes) -> None:
    scans, parts, place = 0, 0, 2
    while (found := _MARKER.search(data, place)) is not None:
        marker = data[found.start() + 1]
        # Before the first scan Pillow looks at each byte between two segments.
        parts += 1 if scans else 1 + found.start() - place
        place = found.end()
        if marker == _END_OF_IMAGE:
            return
        # A segment says how long it is; behind a scan's come its coefficients, up to the next marker.
        place += int.from_bytes(data[place : place + 2])
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise TooManyScans(f"a JPEG with more than {MAX_SCANS} scans")
        _count(parts)


def _check_png(data: bytes) -> None:
    parts, place = 0, len(_PNG)
    while place < len(data) and data[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(data[place : place + 4])
        parts += 1
        _count(parts)


def _check_gif(data: bytes) -> None:
    """Count what lies before the first picture, the only one that is read."""
    parts, place = 0, 13
    if len(data) > 10 and data[10] & 128:
        place += 3 << (data[10] & 7) + 1
    while place < len(data) and data[place] != _IMAGE:
        if data[place] == _EXTENSION:
            place += 2
            while place < len(data) and data[place]:
                place += 1 + data[place]
                parts += 1
                _count(parts)
        place += 1
        parts += 1
        _count(parts)
