from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.prepare import listed_of
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards import cache, remote
from mobilenets.datasets.shards.cache import ShardCache
from mobilenets.datasets.shards.index import Shard
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError


class Server:
    """Serves a folder. ``fails(request number, path)`` gives a status to answer, or how many bytes come of the body."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        self.fails: Callable[[int, str], int | None] = lambda number, path: None
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = len(server.asked)
                server.asked.append(self.path)
                fault = server.fails(number, self.path)
                file = folder / self.path.lstrip("/")
                if not file.is_file() or (fault is not None and fault >= 400):
                    self.send_error(404 if not file.is_file() else fault or 500)
                    return
                content, status, said = file.read_bytes(), 200, self.headers.get("Range")
                if said and ranges:
                    first, last = said.removeprefix("bytes=").split("-")
                    content, status = content[int(first) : int(last) + 1], 206
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if fault is None else content[:fault])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def served(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("aiohttp", reason="fsspec[http] is not installed")
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    monkeypatch.setattr(remote, "PIECE", 5000)
    mobilenets.pack(photos, tmp_path / "shards", shard_mb=0.02)
    server = Server(tmp_path / "shards")
    yield server
    server.http.shutdown()
    server.http.server_close()


def pictures(data: Path) -> int:
    return len(check_readable(listed_of(find_data(data)).parts["train"])[0])


def test_a_server_that_fails_now_and_then(served: Server, tmp_path: Path) -> None:
    # By file, because several are fetched at once: by all requests, one could fail seven times in a row.
    served.fails = lambda number, path: {0: 503, 1: 100}.get(served.asked[:number].count(path) % 3)
    data = open_data(served.address + "/")
    assert pictures(data) == 30
    tars = {path for path in served.asked if path.endswith(".tar")}
    before = len(served.asked)
    assert pictures(data) == 30 and len(served.asked) == before
    assert len(tars) == len(list((tmp_path / "shards").glob("*.tar")))


def test_a_server_that_knows_no_ranges(photos: Path, served: Server, tmp_path: Path) -> None:
    plain = Server(tmp_path / "shards", ranges=False)
    assert pictures(open_data(plain.address)) == 30
    assert max(map(plain.asked.count, plain.asked)) == 1
    plain.http.shutdown()
    plain.http.server_close()


def test_what_cannot_be_brought(served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nowhere/shards\.json: there is no such file"):
        open_data(f"{served.address}/nowhere")
    data = open_data(served.address)
    served.fails = lambda number, path: 503
    with pytest.raises(InputError, match=r"cannot be read, after 7 attempts: .*503.*--resume"):
        pictures(data)
    served.fails = lambda number, path: 403
    count = len(served.asked)
    with pytest.raises(InputError, match="403"):
        open_data(served.address)
    assert served.asked[count:].count("/shards.json") == 1  # those that read ahead may still ask for shards
    served.fails = lambda number, path: None
    for path in (tmp_path / "shards").glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(InputError, match="is not the shard that the index names"):
        pictures(data)
    monkeypatch.setenv(cache.VARIABLE, "0.00001")
    with pytest.raises(InputError, match=r"needs \d+ shards at once, .* set MOBILENETS_SHARD_GB higher"):
        open_data(served.address)
    for address in ("nothing://a/b", "ftp://example.org/photos"):
        with pytest.raises(InputError, match="not known to fsspec, or needs more than an address"):
            open_data(address)
    with pytest.raises(InputError, match=r"to read smb://, .*smbprotocol"):
        open_data("smb://a/b")


def test_a_shard_that_cannot_be_brought_is_asked_for_once(tmp_path: Path) -> None:
    """By all threads that wait for it, each of which would try for a long time."""
    threads, asked, waiting, all_wait = 4, list[str](), threading.Semaphore(0), threading.Event()

    class Gone(remote.Remote):
        def __init__(self) -> None:
            self.address = "https://example.org"

        def append(self, file: str, size: int, part: Path) -> None:
            asked.append(file)
            all_wait.wait(60)
            raise InputError("gone")

    class Kept(ShardCache):
        def get(self, name: str, size: int, blake2b: str, fetch: Callable[[Path], None]) -> Path:
            waiting.release()
            return super().get(name, size, blake2b, fetch)

    source = remote.Fetched(Gone(), [Shard("a.tar", 9, "", 1)], Kept(99, tmp_path))
    with ThreadPoolExecutor(threads) as pool:
        made = [pool.submit(source.bring, 0) for _ in range(threads)]
        for _ in range(threads):
            assert waiting.acquire(timeout=60)
        all_wait.set()
        for one in made:
            with pytest.raises(InputError, match="gone"):
                one.result(60)
    assert asked == ["a.tar"]


def test_a_part_is_continued(tmp_path: Path, served: Server) -> None:
    file = max((tmp_path / "shards").glob("*.tar"), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    part = tmp_path / "part"
    part.write_bytes(content[:10_001])
    remote.Remote(served.address).append(file.name, len(content), part)
    assert part.read_bytes() == content
    assert len(served.asked) == -(-(len(content) - 10_001) // 5000)


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pushed out meanwhile
        return 0


def test_the_cache_stays_in_its_limit_for_many_threads(tmp_path: Path) -> None:
    most, fetched = 3000, []
    kept = [ShardCache(most, tmp_path / "cache") for _ in range(3)]
    largest: list[int] = []

    def get(turn: int) -> bytes:
        name = str(turn % 5)
        content = name.encode() * 1000

        def fetch(part: Path) -> None:
            fetched.append(name)
            part.write_bytes(content)

        for _ in range(20):
            file = kept[turn % 3].get(name, 1000, hashlib.blake2b(content, digest_size=16).hexdigest(), fetch)
            largest.append(sum(map(size_of, (tmp_path / "cache").glob("*.tar"))))
            try:
                return file.read_bytes()
            except FileNotFoundError:  # pushed out by another meanwhile
                kept[turn % 3].forget(file)
        raise AssertionError

    with ThreadPoolExecutor(6) as pool:
        turns = [*range(5), *range(30)]
        for turn, content in zip(turns, pool.map(get, turns), strict=True):
            assert content == str(turn % 5).encode() * 1000
    assert max(largest) <= most and len(set(fetched)) == 5
    with pytest.raises(InputError, match=r"more than the 0\.00 that may be kept"):
        kept[0].get("large", 4000, "", lambda part: None)


def test_two_that_wait_do_not_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were begun by a killed process, and only one of them fits."""
    kept, both, room = ShardCache(1000, tmp_path), threading.Barrier(2), ShardCache._make_room
    mark = hashlib.blake2b(bytes(600), digest_size=16).hexdigest()

    def killed(part: Path) -> None:
        part.write_bytes(bytes(100))
        raise KeyboardInterrupt

    for name in "ab":
        with pytest.raises(KeyboardInterrupt):
            kept.get(name, 600, mark, killed)

    def together(*given: Any) -> None:
        both.wait(10)  # now both are at work
        room(*given)

    monkeypatch.setattr(ShardCache, "_make_room", together)
    threads = [
        threading.Thread(
            target=kept.get, args=(name, 600, mark, lambda part: part.write_bytes(bytes(600))), daemon=True
        )
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("said", ["", "x", "-1"])
def test_the_limit_is_said_by_the_environment(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, said)
    if said:
        with pytest.raises(InputError, match="a number above 0"):
            cache.most_kept()
    else:
        assert cache.most_kept() == int(cache.GIB * 2**30)


def test_the_limit_is_said_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cache.VARIABLE, "1")
    nowhere = str(tmp_path / "nowhere")
    assert main(["check", nowhere, "--cache-gb", "lots"]) == 2
    assert "--cache-gb" in capsys.readouterr().err and cache.most_kept() == 2**30
    assert main(["check", nowhere, "--cache-gb", "50"]) == 2
    assert cache.most_kept() == 50 * 2**30
