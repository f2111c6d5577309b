"""A published file of weights, from the cache or the network, checked before it counts."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.base.cache import cache_folder
from mobilenets.base.download import CHUNK, download
from mobilenets.base.extras import how_to_install
from mobilenets.base.files import DiskFull, no_room
from mobilenets.base.notes import log
from mobilenets.base.progress import Progress
from mobilenets.base.progress import progress as progress_bar
from mobilenets.errors import InputError
from mobilenets.runtime.exported import file_hash
from mobilenets.weights.published import KERAS, Published

Report = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all, or None where nobody knows."""

# Another place with Keras's folders mobilenet/, mobilenet_v2/ and mobilenet_v3/, as HF_ENDPOINT is for the hub.
KERAS_MIRROR = "MOBILENETS_KERAS_WEIGHTS"
RESETS = 3  # attempts when the connection is reset


@dataclass(frozen=True)
class Fetched:
    """A file that passed the checks; ``revision`` is the hub's commit, None where the source keeps no versions."""

    path: Path
    revision: str | None
    bytes: int
    sha256: str


class _WrongFileError(Exception):
    """Not the published file; the message says why."""


def fetch(published: Published, progress: Report | None = None) -> Fetched:
    """Get a published file: from the cache without asking the network, or else downloaded.

    timm's files are kept in the hub's own cache (``HF_HUB_CACHE``, ``HF_HOME``), shared with every other program that
    uses it; Keras's in ``$MOBILENETS_CACHE/keras``. ``HF_ENDPOINT`` names a mirror of the hub and
    ``MOBILENETS_KERAS_WEIGHTS`` one of Keras's files; with ``HF_HUB_OFFLINE`` only the caches are used.

    Size, header and, where it is published, SHA-256 are checked each time; a file that fails is removed from the cache.
    Without ``progress`` a bar goes to standard error, unless ``HF_HUB_DISABLE_PROGRESS_BARS`` is set.

    Raises ``InputError`` in one line, "reason; ways round it", when there is no network, when the server refuses, and
    when what comes is not the published file.
    """
    kept = cached(published)
    if kept is not None:
        return kept
    source = _hub if published.source == "timm" else _keras
    with _shown(published) as shown:
        return source(published, progress or shown)


def cached(published: Published) -> Fetched | None:
    """Find a published file in the cache, without asking the network.

    One that fails the checks is removed, with a warning. Raises ``InputError`` where huggingface_hub is not installed.
    """
    if published.source == "timm":
        return _cached_of_hub(published)
    path = _keras_file(published)
    return _kept(path, published) if path.is_file() else None


def address(published: Published) -> str:
    """Give the address that a published file is fetched from: its own, or a mirror's."""
    if published.source == "timm":
        try:
            from huggingface_hub import hf_hub_url
        except ImportError:
            return published.url
        return str(hf_hub_url(published.repository, published.file, revision=published.revision))
    return published.url.replace(KERAS, os.environ.get(KERAS_MIRROR, KERAS).rstrip("/"), 1)


def _cached_of_hub(published: Published) -> Fetched | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        raise InputError(
            f"ImageNet weights are downloaded with huggingface_hub, which is not installed: {how_to_install('train')}"
        ) from error
    cached = try_to_load_from_cache(published.repository, published.file, revision=published.revision)
    kept = _kept(Path(cached), published) if isinstance(cached, str) else None
    if kept is None and published.sha256 is not None:
        # The same file under another commit: what timm itself or `hf download` left.
        cached = try_to_load_from_cache(published.repository, published.file, revision="main")
        with suppress(_WrongFileError):
            kept = _checked(Path(cached), published) if isinstance(cached, str) else None
    return kept


def _hub(published: Published, report: Report) -> Fetched:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _absent(published, Path(constants.HF_HUB_CACHE))
    return _new(_download_from_hub(published, report), published)


def _keras(published: Published, report: Report) -> Fetched:
    path = _keras_file(published)
    if offline():
        raise _absent(published, path.parent)
    download(address(published), path, size=published.bytes, progress=report, way_round=_ways(published))
    return _new(path, published)


def _keras_file(published: Published) -> Path:
    return cache_folder() / "keras" / published.file


def _download_from_hub(published: Published, report: Report) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    place: dict[str, Any] = {
        "repo_id": published.repository,
        "filename": published.file,
        "revision": published.revision,
    }
    url = hf_hub_url(**place)
    try:
        # Asked first, because it fails at once where hf_hub_download would try for half a minute.
        stated = get_hf_file_metadata(url)
        if stated.commit_hash is None:
            raise _WrongFileError(
                "what answers there is not a Hugging Face hub; a proxy or a login page may be in between"
            )
        if None not in (stated.size, published.bytes) and stated.size != published.bytes:
            raise _WrongFileError(f"the server has {stated.size:,} bytes, but {published.bytes:,} are expected")
        for attempt in range(1, RESETS + 1):
            try:
                with _small_chunks(constants):
                    return Path(hf_hub_download(**place, library_name="mobilenets", tqdm_class=_bar(report)))
            except Exception as error:
                # The library resumes after every kind of cut but this one.
                if type(error).__name__ != "ReadError" or attempt == RESETS:
                    raise
                log.info("%s: %s; trying again", url, words(error))
        raise AssertionError("the last attempt returns or raises")
    except Exception as error:  # of whichever HTTP library this version of huggingface_hub is built on
        if (full := no_room(error)) is not None:
            way = "free some space there, or set HF_HUB_CACHE to a folder with more"
            raise DiskFull(Path(constants.HF_HUB_CACHE), full, way) from error
        raise InputError(f"cannot download {url}: {words(error)}; {_ways(published)}") from error


def _kept(path: Path, published: Published) -> Fetched | None:
    """Check a file of the cache; a wrong one is removed, so that it is downloaded again."""
    try:
        return _checked(path, published)
    except _WrongFileError as error:
        _drop(path)
        log.warning("%s: %s; removed from the cache", path, error)
        return None


def _new(path: Path, published: Published) -> Fetched:
    try:
        return _checked(path, published)
    except _WrongFileError as error:
        _drop(path)
        raise InputError(
            f"{published.url} is not the expected file: {error}; it was removed from the cache: {_ways(published)}"
        ) from error


def _checked(path: Path, published: Published) -> Fetched:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
        digest = file_hash(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if head.lstrip()[:1] == b"<":
        raise _WrongFileError("it is a web page; a login page or a blocked network may be in between")
    if head.startswith(b"version https://git-lfs"):
        raise _WrongFileError("it is a Git LFS pointer, not the file itself")
    if published.bytes is not None and size != published.bytes:
        raise _WrongFileError(f"it has {size:,} bytes, but {published.bytes:,} are expected")
    if published.file.endswith(".safetensors"):
        _check_safetensors(path)
    else:
        _check_hdf5(head, size)
    if published.sha256 is not None and digest != published.sha256:
        raise _WrongFileError(f"its SHA-256 is {digest[:12]}… where {published.sha256[:12]}… is expected")
    # In the hub's cache a file lies in a folder that has the commit's name.
    return Fetched(path, path.parent.name if published.source == "timm" else None, size, digest)


def _check_safetensors(path: Path) -> None:
    """The header is JSON, and its arrays follow one another and fill the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            if not file.keys():
                raise _WrongFileError("its header names no arrays")
    except SafetensorError as error:
        raise _WrongFileError(f"its safetensors header is damaged, or does not fit the file ({error})") from error


def _check_hdf5(head: bytes, size: int) -> None:
    """The superblock is there, and the file reaches as far as it says (HDF5 File Format Specification, II.A)."""
    if not head.startswith(b"\x89HDF\r\n\x1a\n"):
        raise _WrongFileError("it has no HDF5 header")
    # Where the address of the end stands, after the base address and one more, each of 8 bytes.
    start = {0: 24, 1: 28, 2: 12, 3: 12}.get(head[8] if len(head) > 8 else -1)
    if start is None or len(head) < start + 24:
        raise _WrongFileError("its HDF5 header is damaged")
    (end,) = struct.unpack_from("<Q", head, start + 16)
    if size < end:
        raise _WrongFileError(f"its header states {end:,} bytes, but it has {size:,}")


def _drop(path: Path) -> None:
    """Remove a file and, in the hub's cache, the blob that its link leads to; what other links lead to is not ours."""
    try:
        target = path.parent / path.readlink() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is not None and target.parent.name == "blobs":
            target.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: not the published file, and it cannot be removed: {error.strerror}") from error


def _absent(published: Published, cache: Path) -> InputError:
    return InputError(
        f"HF_HUB_OFFLINE is set and {published.file} of {published.repository} is not in {cache}; unset it, "
        f"{_ways(published)}"
    )


def _ways(published: Published) -> str:
    mirror = "HF_ENDPOINT" if published.source == "timm" else KERAS_MIRROR
    return (
        f"set {mirror} to a mirror, or HF_HUB_OFFLINE=1 with a filled cache, or download {published.url} elsewhere "
        "and give it as --weights FILE, or train with --weights none"
    )


@contextmanager
def _small_chunks(constants: Any) -> Iterator[None]:
    """Count and resume by 256 KiB; the library's own step of 10 MiB is most of a MobileNet."""
    before = constants.DOWNLOAD_CHUNK_SIZE
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = before


def _bar(report: Report) -> Any:
    """Make the class that huggingface_hub is to count with."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.done, self.whole = kwargs.get("initial") or 0, kwargs.get("total")
            report(self.done, self.whole)

        def update(self, n: float | None = 1) -> None:
            self.done += int(n or 0)
            report(self.done, self.whole)

        # With these two the library counts what is written and what is received by one bar, not by two.
        def update_transfer(self, n: float | None = 1) -> None: ...

        def set_transfer_postfix_str(self, *args: Any, **kwargs: Any) -> None: ...

    return Bar


@contextmanager
def _shown(published: Published) -> Iterator[Report]:
    """Progress on standard error, from the first byte on."""
    with ExitStack() as stack:
        bars: list[Progress] = []

        def report(done: int, total: int | None) -> None:
            if _is_set("HF_HUB_DISABLE_PROGRESS_BARS"):
                return
            if not bars:
                name = f"{published.network} {published.width:g}"
                bars.append(stack.enter_context(progress_bar(name, total, "B", already=done)))
            bars[0].advance(done - bars[0].done)

        yield report


def offline() -> bool:
    """Say whether ``HF_HUB_OFFLINE`` is set: only the caches are used then."""
    return _is_set("HF_HUB_OFFLINE")


def _is_set(variable: str) -> bool:
    """Whether a variable of the environment is true, as huggingface_hub reads it."""
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def words(error: BaseException) -> str:
    """The reason in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"HTTP {status}"
    return " ".join(str(error).split())[:200] or type(error).__name__
