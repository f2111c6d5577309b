"""The samples of a WebDataset shard, read forward: neighbours that share a key are one sample."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mobilenets.datasets.listing import SUFFIXES
from mobilenets.datasets.shards.tar import PIECE, Member, members
from mobilenets.errors import InputError

_LABELS = ("class", "label", "cls", "class_name", "category")
"""Where a ``.json`` may say the class."""

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(frozen=True)
class Found:
    """One sample of a shard.

    ``content`` is the bytes of its picture's file, None where ``reason`` says why there are none. ``label`` is its
    class: of ``.cls``, of ``.json``, or the folder in its key; None where nothing tells. ``name`` is what the picture
    was called when ``mobilenets pack`` packed it, such as ``train/cat/1.jpg``. ``offset`` and ``length`` say where in
    the shard the picture is, in bytes.
    """

    key: str
    suffix: str
    content: bytes | None
    label: str | None
    reason: str | None = None
    name: str | None = None
    offset: int = 0
    length: int = 0


def read_shard(path: Path) -> Iterator[Found]:
    """Read a shard from the disk, forward and in large pieces, holding one sample at a time.

    What is damaged is a sample with its reason, and what follows it is read all the same. Raises ``InputError`` for a
    file that cannot be read, or is compressed.
    """
    try:
        with path.open("rb", buffering=PIECE) as stream:
            yield from read_samples(stream, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def read_samples(stream: IO[bytes], path: Path) -> Iterator[Found]:
    """Read the samples of an open shard; ``path`` is what it is called. As ``read_shard``."""
    head = stream.read(6)
    for start, tool in _COMPRESSED.items():
        if head.startswith(start):
            raise InputError(f"{path} is compressed, and cannot be read from the middle: unpack it first ({tool})")
    if not head:
        yield Found("byte 0", "", None, None, "the shard is empty: copy it again")
    stream.seek(0)
    key: str | None = None
    group: list[Member] = []
    for member in members(stream):
        if member.name.rpartition("/")[2].startswith("."):
            continue  # hidden in a folder too: what macOS adds, such as ._1.jpg
        its = key_of(member.name)[0] if member.name else None
        if group and its != key:
            yield from _sample(key, group)
            group = []
        key = its
        group.append(member)
    if group:
        yield from _sample(key, group)


def key_of(name: str) -> tuple[str, str]:
    """Part a member's name into key and suffix, as WebDataset does: at the first dot behind the last slash.

    >>> key_of("a.b/c.seg.png")
    ('a.b/c', 'seg.png')
    """
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _sample(key: str | None, group: list[Member]) -> Iterator[Found]:
    """Make a sample of members with one key; those of no picture give none, unless something is damaged."""
    if key is None:
        for lost in group:
            yield Found(f"byte {lost.offset}", "", None, None, lost.reason, None, lost.offset, lost.length)
        return
    parts: dict[str, Member] = {}
    for member in group:
        parts.setdefault(key_of(member.name)[1], member)
    pictures = _pictures(group)
    picture = pictures[0] if pictures else None
    about = _about(parts)
    label = _label(parts, about, key)
    name = about.get("name")
    if picture is None:
        damaged = next((one for one in group if one.reason is not None), None)
        if damaged is not None:
            yield Found(key, "", None, label, damaged.reason, None, damaged.offset, damaged.length)
        elif "cls" in parts or "json" in parts:
            first = group[0]
            yield Found(key, "", None, label, "it has a label and no picture", None, first.offset, first.length)
        return
    suffix = key_of(picture.name)[1].rpartition(".")[2]
    reason = picture.reason
    if reason is None and not picture.length:
        reason = "the file is empty"
    content = None if reason else picture.content
    said = name if isinstance(name, str) and _is_plain(name) else None
    yield Found(key, suffix, content, label, reason, said, picture.offset, picture.length)
    for one in pictures[1:]:
        twin = f"its key ends at the first dot, so it is of one sample with {picture.name}, which is read: rename it"
        yield Found(one.name or key, "", None, None, twin, None, one.offset, one.length)


def _pictures(group: list[Member]) -> list[Member]:
    """Give the picture of a sample, 1.jpg before 1.seg.jpg, then those that are no mask or the like of it."""

    def inner(one: Member) -> str:
        return key_of(one.name)[1].rpartition(".")[0]

    found = [one for one in group if f".{key_of(one.name)[1].rpartition('.')[2]}" in SUFFIXES]
    found.sort(key=lambda one: bool(inner(one)))
    if found and not inner(found[0]):
        return [one for one in found if not inner(one) or inner(one).isdigit()]
    return found


def _about(parts: dict[str, Member]) -> dict[str, Any]:
    member = parts.get("json")
    if member is None or member.content is None:
        return {}
    try:
        value = json.loads(member.content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _label(parts: dict[str, Member], about: dict[str, Any], key: str) -> str | None:
    said = [about[name] for name in _LABELS if name in about]
    for value in said:
        if isinstance(value, str) and value.strip():
            return value.strip()
    member = parts.get("cls")
    if member is not None and member.content is not None:
        text = member.content[:200].decode("utf-8", "replace").strip()
        if text:
            return text
    for value in said:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return PurePosixPath(key).parent.name or None


def _is_plain(name: str) -> bool:
    """Whether a name that a shard says may stand for a file: a path downwards, without control characters."""
    parts = name.split("/")
    return not (set(parts) & {"", ".", ".."}) and not re.search(r"[\x00-\x1f\\:]", name) and len(parts) > 1
