"""JPEG (ITU-T T.81): files that viewers open and Pillow refuses, and those that it reads though pixels are missing.

And scaled decoding: a large picture at a fraction of its sides, where that hardly shows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from PIL import Image, JpegImagePlugin

from mobilenets.pictures.colour import transform_to_srgb
from mobilenets.pictures.kinds import CONVERT

SOI, EOI, SOS, DHT, DAC, DRI, LS = 0xD8, 0xD9, 0xDA, 0xC4, 0xCC, 0xDD, 0xF7
START = b"\xff\xd8"
FRAMES = {*range(0xC0, 0xD0)} - {DHT, 0xC8, DAC}
PROGRESSIVE = {0xC2, 0xCA}

_TAIL = 1 << 12
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_BEHIND_A_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_TABLES = {DHT, DAC, DRI, 0xDB}
# Table B.1: before the frame only these segments are passed over, by their length.
_PASSED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}
_FRAMES_OF_DCT = {0xC0, 0xC1, 0xC2}
# What is put behind the last bytes of a scan to see whether the decoder still wants any.
_PADDINGS = (
    b"",
    b"\0" * 64,
    b"\xff\0" * 48,
    b"\x55" * 64,
    b"\xaa" * 64,
    b"\x2b\xd4\x69\x1e" * 16,
    b"\xb5\x0c\xe3\x72" * 16,
)


@dataclass
class _Scan:
    """A scan: its header (B.2.3), its coefficients' place, and the restart interval that holds for it."""

    components: list[int]
    first: int
    last: int
    low: int
    start: int
    end: int
    restart: int


@dataclass
class _Parts:
    """What a decoder uses of a file: the frame, the segments in order, the scans."""

    frame: bytes = b""
    kind: int = 0
    segments: list[tuple[int, int]] = field(default_factory=list)
    scans: list[_Scan] = field(default_factory=list)
    ended: bool = False


def mended(data: bytes) -> bytes | None:
    """Return the file as Pillow reads it, without segments that say nothing of its pixels, and with its end mark.

    A segment of the wrong length is passed over as libjpeg does: whatever stands before the next marker is skipped.
    Returns None where pixels are missing.
    """
    parts = _parts(data)
    return None if _missing(parts, data) else _joined(parts, data)


def lacks_pixels(stream: IO[bytes], picture: Image.Image) -> bool:
    """Say whether a decoder made up some of the pixels of a picture, which ``stream`` is the file of.

    Looked for only where it may be so: the file has no end mark, or the last pixel is of the middle grey that libjpeg
    puts for what is missing, or the file is progressive and shows without its last scans.
    """
    last: Any = picture.getpixel((picture.width - 1, picture.height - 1))
    grey = all(value in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))
    progressive = bool(picture.info.get("progressive"))
    stream.seek(max(0, stream.seek(0, io.SEEK_END) - _TAIL))
    if b"\xff\xd9" in stream.read() and not grey and not progressive:
        return False
    stream.seek(0)
    data = stream.read()
    parts = _parts(data)
    return not _covered(parts) or ((grey or not parts.ended) and _missing(parts, data))


def unread_kind(data: bytes) -> str | None:
    """Name a JPEG of a kind that is not read; None for all others."""
    if not data.startswith(START):
        return None
    frame = next((data[start : start + 3] for marker, start, _ in _markers(data) if marker in FRAMES), b"")
    if any(marker == LS for marker, _, _ in _markers(data)):
        return f"JPEG-LS is not read: {CONVERT}"
    if len(frame) == 3 and frame[2] != 8:
        return f"a JPEG of {frame[2]} bits per channel is not read: {CONVERT}"
    return None


def _markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Give each marker with the place behind it and the end of its segment; of a scan without its coefficients."""
    place = 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, start = data[found.end() - 1], found.end()
        alone = marker in (0x01, SOI, EOI) or 0xD0 <= marker <= 0xD7
        end = start if alone else start + max(2, int.from_bytes(data[start : start + 2]))
        yield marker, start, end
        if marker == SOS:
            behind = _BEHIND_A_SCAN.search(data, end)
            end = len(data) if behind is None else behind.start()
        place = end


def _parts(data: bytes) -> _Parts:
    parts, restart = _Parts(), 0
    for marker, start, end in _markers(data):
        segment = data[start + 2 : end]
        if marker == EOI:
            parts.ended = True
            break
        if end > len(data):
            break
        if marker == SOS and segment and len(segment) >= 4 + 2 * segment[0]:
            behind = _BEHIND_A_SCAN.search(data, end)
            stop = len(data) if behind is None else behind.start()
            components, (first, last, low) = list(segment[1 : 1 + 2 * segment[0] : 2]), segment[-3:]
            parts.scans.append(_Scan(components, first, last, low & 15, end, stop, restart))
        elif marker in FRAMES and not parts.frame:
            parts.frame, parts.kind = segment, marker
        elif marker == DRI:
            restart = int.from_bytes(segment[:2])
        elif not _counts(marker, segment):
            continue
        parts.segments.append((start - 2, end))
    return parts


def _counts(marker: int, segment: bytes) -> bool:
    """Say whether a segment says anything of the pixels, their colours or which way is up."""
    if marker == 0xE0:
        return segment.startswith(b"JFIF\0") and len(segment) >= 14
    if marker == 0xEE:
        return segment.startswith(b"Adobe") and len(segment) >= 12
    return (
        marker in _TABLES
        or (marker == 0xE1 and segment.startswith((b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")))
        or (marker == 0xE2 and segment.startswith(b"ICC_PROFILE\0"))
    )


def _joined(parts: _Parts, data: bytes, padding: bytes = b"") -> bytes:
    """Put the used segments and scans together again, with ``padding`` behind the last scan."""
    ends = {scan.start: scan.end for scan in parts.scans}
    made = [b"\xff\xd8", *(data[start : ends.get(end, end)] for start, end in parts.segments)]
    if parts.scans and not parts.ended:
        made[-1] = _stripped(made[-1])
    return b"".join([*made, padding, b"\xff\xd9"])


def _stripped(scan: bytes) -> bytes:
    """Take away what is no coefficients: half of a marker, and what fills a file of which the rest is lost."""
    bare = scan.rstrip(b"\0\xff")
    fill = scan[len(bare) :]
    if fill in (b"\0", b"\0\xff"):
        return bare + b"\0"
    return bare + b"\xff\0" if fill.startswith(b"\xff\0") else bare


def _missing(parts: _Parts, data: bytes) -> bool:
    """Say whether coefficients are missing: pixels then depend on what is put behind the last of them."""
    if not _covered(parts) or any(_restarts(parts, scan) > _found(data, scan) for scan in parts.scans):
        return True
    seen = None
    for padding in _PADDINGS:
        with Image.open(io.BytesIO(_joined(parts, data, padding)), formats=("JPEG",)) as picture:
            pixels = picture.tobytes()
        if seen is not None and pixels != seen:
            return True
        seen = pixels
    return False


def _components(frame: bytes) -> dict[int, tuple[int, int]]:
    """Give each component's sampling factors, across and down (B.2.2)."""
    named = (frame[6 + 3 * place : 9 + 3 * place] for place in range(frame[5]))
    return {one[0]: (one[1] >> 4 or 1, one[1] & 15 or 1) for one in named if len(one) == 3}


def _covered(parts: _Parts) -> bool:
    """Say whether the scans hold every coefficient of every component, to the last bit."""
    if len(parts.frame) < 9 or not parts.scans:
        return False
    wanted = {(component, place) for component in _components(parts.frame) for place in range(64)}
    for scan in parts.scans:
        places = range(scan.first, scan.last + 1) if parts.kind in PROGRESSIVE else range(64)
        if parts.kind not in PROGRESSIVE or scan.low == 0:
            wanted -= {(component, place) for component in scan.components for place in places}
    return not wanted


def _restarts(parts: _Parts, scan: _Scan) -> int:
    """Count the restart markers that a scan needs (A.2, E.1.4)."""
    if not scan.restart:
        return 0
    height, width = (int.from_bytes(parts.frame[at : at + 2]) for at in (1, 3))
    components = _components(parts.frame)
    across, down = (max(factors[axis] for factors in components.values()) for axis in (0, 1))
    h, v = (1, 1) if len(scan.components) > 1 else components.get(scan.components[0], (1, 1))
    units = -(-width * h // (8 * across)) * -(-height * v // (8 * down))
    return max(0, -(-units // scan.restart) - 1)


def _found(data: bytes, scan: _Scan) -> int:
    return len(_RESTART.findall(data, scan.start, scan.end))


def scale(picture: JpegImagePlugin.JpegImageFile, surplus: float) -> int:
    """Have libjpeg decode at the smallest scale that leaves enough, where the pixels stay nearly what they were.

    Returns by how much the sides are divided: 1, 2, 4 or 8, at most ``surplus``.
    """
    width, height = picture.size
    shares = (share for share in (8, 4, 2) if share <= surplus and not width % share and not height % share)
    share = next(shares, 1)
    if share == 1 or not _scales_well(picture) or not _of_dct(cast(IO[bytes], picture.fp)):
        return 1
    picture.draft(None, (width // share, height // share))
    return share


def _scales_well(picture: JpegImagePlugin.JpegImageFile) -> bool:
    # libjpeg keeps colour as fine as it can only where it is sampled alike both ways: 4:4:4 and 4:2:0, but not 4:2:2.
    if any(across != down for _, across, down, _ in picture.layer):
        return False
    # Conversion clips what sRGB does not hold, and a mean of clipped pixels is not the clipped mean.
    profile = picture.info.get("icc_profile")
    return not isinstance(profile, bytes) or transform_to_srgb(profile, picture.mode) is None


def _of_dct(stream: IO[bytes]) -> bool:
    """Say whether a JPEG's frame is coded by DCT: libjpeg does not scale lossless ones, and Pillow would not notice."""
    place = stream.tell()
    try:
        stream.seek(2)
        while True:
            mark, kind, *size = stream.read(4).ljust(4, b"\0")
            if mark != 0xFF or kind not in _PASSED:
                return mark == 0xFF and kind in _FRAMES_OF_DCT
            stream.seek(int.from_bytes(size) - 2, io.SEEK_CUR)
    finally:
        stream.seek(place)
