"""Tar files, read forward and written: the headers of 512 bytes, and what lies between them (POSIX.1-1988, ustar).

Python's ``tarfile`` parses a header; it stops at a damaged one, where this goes on to the next that is whole.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
PIECE = 8 << 20
"""Bytes that are read at a time."""

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
_LINK = "a link, whose picture is not in the shard: make it anew (tar --dereference --hard-dereference)"
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)
_MOST_EXTENDED = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in a tar: where its bytes begin and how many there are; ``content`` is None where ``reason`` says why."""

    name: str
    offset: int
    length: int
    content: bytes | None
    reason: str | None = None


def members(stream: IO[bytes]) -> Iterator[Member]:
    """Read a tar from its start to its end, holding one member at a time.

    Folders and devices are passed over. Where a header is damaged, a member without a name, with the reason and its
    place, stands for what is lost up to the next whole one; one that the file ends within has a reason too, and a link,
    and the end of a file that is not the end of a tar.
    """
    at, name, ended = 0, None, False
    while True:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            if block:
                yield Member("", at, len(block), None, "the shard ends within a header: copy it again")
            elif at and not ended:
                yield Member("", at, 0, None, "the shard has no end mark, so it may be cut off here: copy it again")
            return
        ended = not block.strip(b"\0")
        if ended:
            at += BLOCK
            continue
        info = _header(block)
        if info is None:
            lost, found = _next_header(stream)
            yield Member("", at, lost, None, f"damaged at byte {at}: {lost} bytes are lost")
            at += lost
            if found is None:
                return
            info, name = found, None
        at += BLOCK
        padded = -(-info.size // BLOCK) * BLOCK
        if info.type in _EXTENDED and info.size <= _MOST_EXTENDED:
            name = _long_name(info, stream.read(padded)[: info.size]) or name
            at += padded
            continue
        content = stream.read(info.size)
        if info.type in _FILES:
            if len(content) < info.size:
                short = f"the shard ends {info.size - len(content)} bytes before it does: copy the shard again"
                yield Member(name or info.name, at, len(content), None, short)
                return
            yield Member(name or info.name, at, info.size, content)
        elif info.type in _LINKS:
            yield Member(name or info.name, at, 0, None, _LINK)
        stream.read(padded - info.size)
        at, name = at + padded, None


def name_at(block: bytes) -> str | None:
    """Give the name in a header; None where it is damaged."""
    info = _header(block)
    return None if info is None else info.name


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return info if info.size >= 0 else None


def _next_header(stream: IO[bytes]) -> tuple[int, tarfile.TarInfo | None]:
    """Look for the next whole header; gives the bytes up to it, with the damaged one."""
    lost = BLOCK
    while len(block := stream.read(BLOCK)) == BLOCK:
        # A block of a picture passes for a header about never: its checksum and its mark would have to be right.
        if block[257:262] == b"ustar" and (info := _header(block)) is not None:
            return lost, info
        lost += BLOCK
    return lost + len(block), None


def _long_name(info: tarfile.TarInfo, content: bytes) -> str | None:
    """Read the name that a header of its own gives the next member: GNU's, or pax's (POSIX.1-2001)."""
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    while content:
        length, _, rest = content.partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            return None
        key, _, value = rest[: int(length) - len(length) - 1].rstrip(b"\n").partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    return None


def header(name: str, length: int) -> bytes:
    """Give the header of a member; the same for the same name and length, whoever writes when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def padding(length: int) -> bytes:
    """Give what fills the last block of a member."""
    return bytes(-length % BLOCK)


def end(length: int) -> bytes:
    """Give what ends a tar of so many bytes: two empty blocks, and what fills the last record of 20."""
    return bytes(2 * BLOCK + -(length + 2 * BLOCK) % (20 * BLOCK))
