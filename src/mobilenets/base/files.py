"""Files that are either whole or absent: written aside, synced, renamed."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mobilenets.base.leftovers import ASIDE, clear_once
from mobilenets.base.lock import try_lock
from mobilenets.base.notes import log
from mobilenets.errors import InputError, MobilenetsError

# A full disk, a used up quota, a file larger than the limit allows (ulimit -f); Windows's are mapped onto the first.
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
# Rust, SQLite and C++ write too, and raise classes of their own that say it in words.
_WORDS = ("no space left", "disk is full", "disk quota exceeded", "file too large")
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)
# More than the table of a million pictures.
MOST_GIVEN = 256 << 20


class DiskFull(InputError):
    """A file could not be written for want of room; what stood under its name before is untouched."""

    def __init__(self, path: Path, reason: str, way: str = "free some space, then run the same command again") -> None:
        super().__init__(f"{path}: cannot be written: {reason}; {way}")
        self.path, self.reason = path, reason


def no_room(error: BaseException) -> str | None:
    """Say in words that a disk was full, a quota used up or a file too large, if that is what an error came of."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in NO_ROOM:
            return os.strerror(seen.errno or errno.ENOSPC)
        # A failed write through PyTorch, safetensors or SQLite.
        found = next((word for word in _WORDS if word in str(seen).lower()), None)
        if found is not None and not isinstance(seen, InputError):
            return f"{found[0].upper()}{found[1:]}"
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Say in one line that ``path`` could not be written, and what to do, where that is why the block fails."""
    try:
        yield
    except MobilenetsError:
        raise
    except Exception as error:
        reason = no_room(error)
        if reason is not None:
            raise DiskFull(path, reason) from error
        if isinstance(error, OSError) and error.errno in REFUSED and _of_writing(error.filename, path):
            why = os.strerror(error.errno or 0)
            raise InputError(f"{path}: cannot be written there: {why}; choose another place") from error
        raise


def _of_writing(name: Any, path: Path) -> bool:
    """Say whether an error's file is ``path``, what was written aside, or a folder above: and not one being read."""
    if not isinstance(name, (str, os.PathLike)):
        return False
    given = Path(name)
    return any(part.startswith(ASIDE) for part in given.parts) or given == path or given in path.parents


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# A letter beside a pair of bytes whose second is ASCII: far rather Western letters than Chinese.
_WESTERN = re.compile(rb"[A-Za-z][\x81-\xfe][A-Za-z]|(?<![\x80-\xff])[\x81-\xfe][A-Za-z]{2}")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well it is synced and takes the final name.

    The folder is made if it is missing. When the block raises, nothing stands under the final name that did
    not stand there before. Raises ``DiskFull`` where there is no room, ``InputError`` where writing is not allowed.
    """
    with explaining(path):
        _refuse_lost(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_once(path.parent)
        # The suffix is kept, because savers such as matplotlib's choose the format by it.
        handle, name = tempfile.mkstemp(prefix=ASIDE, suffix=path.suffix, dir=path.parent)
        if os.name == "nt":  # which renames nothing that is open
            os.close(handle)
            handle = -1
        else:
            try_lock(handle)  # so that nobody takes it for what a killed process left
        aside = Path(name)
        try:
            yield aside
            # mkstemp makes the file private; a finished file gets what the user's umask grants.
            umask = os.umask(0)
            os.umask(umask)
            with suppress(PermissionError):  # sticks and network drives may know no permissions
                aside.chmod(0o666 & ~umask)
            sync(aside)
            aside.replace(path)
            if os.name == "posix":
                with suppress(OSError):  # nor do all of them sync folders; the file itself is on the disk
                    sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)
            if handle >= 0:
                os.close(handle)


_staying: ContextVar[tuple[tuple[Path, os.stat_result], ...]] = ContextVar("mobilenets_staying", default=())


@contextmanager
def staying(folder: Path) -> Iterator[None]:
    """Have nothing written into ``folder`` once it was removed or replaced, as long as the block runs.

    Else a folder that is removed under a training would come back with the few files that are written after that.
    """
    token = _staying.set((*_staying.get(), (folder, folder.stat())))
    try:
        yield
    finally:
        _staying.reset(token)


def _refuse_lost(path: Path) -> None:
    for folder, known in _staying.get():
        if path.is_relative_to(folder):
            try:
                there = os.path.samestat(known, folder.stat())
            except OSError:
                there = False
            if not there:
                raise InputError(
                    f"{path}: not written, because the folder {folder} was removed or replaced meanwhile; run the same "
                    "command again"
                )


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before going on."""
    # Windows syncs only what is open for writing, and no folders.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:  # which does not say of what
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what was there."""
    with writing(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file, or leave what was there."""
    write_bytes(path, content.encode("utf-8"))


def nfc(name: str) -> str:
    """Return a name in the one Unicode form (NFC) that names are compared, kept and shown in; macOS decomposes them."""
    return unicodedata.normalize("NFC", name)


def decode_text(content: bytes) -> tuple[str, str]:
    """Decode text as people's programs save it; returns it with the name of its encoding.

    UTF-8 with or without a mark, UTF-16 and UTF-32 with one, else GB18030 where that is plausible. Raises
    ``ValueError`` where the encoding cannot be told.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding), encoding
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        if b"\0" in content or _WESTERN.search(content):
            raise
        return content.decode("gb18030"), "gb18030"


def read_given(path: Path, most: int | None = None) -> bytes:
    """Read a file that the user gave, of at most ``most`` bytes, by default ``MOST_GIVEN``.

    Raises ``InputError`` in one line where it cannot be read, or is far too large.
    """
    most = MOST_GIVEN if most is None else most
    try:
        with path.open("rb") as stream:
            # Room is made for as much as is asked for; the size of a pipe is 0.
            content = stream.read(min(most, max(os.fstat(stream.fileno()).st_size, MOST_GIVEN)) + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise InputError(f"{path}: over {most >> 20} MiB, too large to be read: is it the right file?")
    return content


def read_text(path: Path, what: str = "text", most: int | None = None) -> str:
    """Read a file of text that the user gave, in whatever encoding ``decode_text`` knows; one that was guessed is said.

    Raises ``InputError`` as ``read_given`` does, and where its encoding cannot be told.
    """
    try:
        text, encoding = decode_text(read_given(path, most))
    except ValueError as error:
        raise InputError(f"{path}: not {what} in UTF-8 or another known encoding: save it as UTF-8") from error
    if encoding == "gb18030":
        log.warning("%s is not UTF-8: it was read as GB18030 (Chinese); if names look wrong, save it as UTF-8", path)
    return text


def read_json(
    path: Path, hint: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None, most: int | None = None
) -> Any:
    """Read a JSON file that the user gave; raises ``InputError``, with line and ``hint`` where it is not JSON.

    ``pairs`` makes the objects from their keys and values, as ``object_pairs_hook`` of ``json``; ``most`` as in
    ``read_given``.
    """
    text = read_text(path, "JSON", most)
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {_slip(text, error)}; {hint}") from error
    except InputError as error:  # of ``pairs``
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON; {hint}") from error


def _slip(text: str, error: json.JSONDecodeError) -> str:
    """Say what is wrong with JSON, and in which line."""
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    # Newer versions of Python point at the comma itself.
    if after.startswith(",") and after[1:].lstrip()[:1] in ("}", "]"):
        before, after = before + ",", after[1:].lstrip()
    if not text.strip():
        return "the file is empty"
    if before.endswith(",") and after[:1] in ("}", "]"):
        return f"line {before.count(chr(10)) + 1} has one comma too many, before {after[0]!r}"
    where = f"line {error.lineno}"
    if after.startswith("'"):
        return f"{where} has single quotes, but JSON needs double ones"
    if after.startswith(("#", "//", "/*")):
        return f"{where} has a comment, which JSON does not allow"
    if "',' delimiter" in error.msg:
        return (
            f"a comma is missing before {after[:20].splitlines()[0]!r} in {where}"
            if after
            else f"the text ends too early, in {where}"
        )
    return f"{where}: {error.msg[0].lower()}{error.msg[1:]}" if after else f"the text ends too early, in {where}"


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read and diff; refuses NaN and Infinity, which JSON does not have."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A file name that is no text holds lone surrogates; their backslash form is JSON's own escape.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
