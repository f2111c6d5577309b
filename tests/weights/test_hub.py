from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import runpy
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from mobilenets.base.extras import how_to_install
from mobilenets.errors import InputError
from mobilenets.weights import hub
from mobilenets.weights.hub import Fetched, fetch
from mobilenets.weights.published import Published, choose

SERVING: Any = runpy.run_path(str(Path(__file__).with_name("hub_server.py")))
COMMIT, point_at = SERVING["COMMIT"], SERVING["point_at"]
Server: TypeAlias = Any  # of the file above
NUMBERS = np.random.default_rng(0).normal(size=(100, 2000)).astype(np.float32)
BODY = save({"conv.weight": NUMBERS, "conv.bias": NUMBERS[0]})
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:55ea\nsize 14184144\n"


def hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written["kernel"] = NUMBERS
    return file.getvalue()


KERAS_BODY = hdf5()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with SERVING["hosting"](SERVING["Handler"], SERVING["Server"](BODY), tmp_path, monkeypatch) as state:
        yield state


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


TIMM = replace(
    choose("mobilenet_v2", 1.0, 224),
    revision=COMMIT,
    bytes=len(BODY),
    sha256=hashlib.sha256(BODY).hexdigest(),
)
BRANCH = replace(TIMM, revision="main", bytes=None, sha256=None)
KERAS = choose("mobilenet_v2", 0.35, 96)


@pytest.fixture(params=["timm", "branch", "keras"])
def published(request: pytest.FixtureRequest, server: Server) -> Published:
    """Give a pinned file of the hub, one of a branch, and one of Keras's, served."""
    if request.param == "keras":
        server.body, server.commit = KERAS_BODY, None
    return {"timm": TIMM, "branch": BRANCH, "keras": KERAS}[request.param]


def failure(published: Published) -> str:
    with pytest.raises(InputError) as caught:
        fetch(published)
    message = str(caught.value)
    assert "\n" not in message
    for way in ("to a mirror", "HF_HUB_OFFLINE", published.url, "--weights FILE", "--weights none"):
        assert way in message, way
    return message


def files(folder: Path) -> list[Path]:
    """The whole and half files under a folder, without the hub's locks and notes."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != "CACHEDIR.TAG" and path.parent.name != "refs"
    ]


def test_download_then_cache(server: Server, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None]] = []
    chunk = constants.DOWNLOAD_CHUNK_SIZE
    fetched = fetch(published, lambda done, total: seen.append((done, total)))
    assert chunk == constants.DOWNLOAD_CHUNK_SIZE  # given back
    assert fetched.path.read_bytes() == server.body
    assert fetched.bytes == len(server.body)
    assert fetched.sha256 == hashlib.sha256(server.body).hexdigest()
    assert fetched.revision == (COMMIT if published.source == "timm" else None)
    assert seen[0] == (0, len(server.body))
    assert seen[-1] == (len(server.body), len(server.body))
    assert len(seen) > 3
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    before = list(server.asked)
    assert fetch(published, lambda done, total: pytest.fail("nothing to count")) == fetched
    go_offline(monkeypatch)
    assert fetch(published) == fetched
    assert server.asked == before


def test_what_is_asked_for(server: Server, published: Published) -> None:
    fetch(published)
    paths = {path for _, path, _ in server.asked}
    if published.source == "timm":
        assert paths == {f"/{published.repository}/resolve/{published.revision}/model.safetensors"}
    else:
        assert paths == {"/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"}


def test_store_behind_a_redirect(server: Server) -> None:
    server.moved = True
    assert fetch(TIMM).path.read_bytes() == BODY
    assert ("GET", "/store/file", None) in server.asked


def test_cut_connection_is_resumed(server: Server, published: Published) -> None:
    server.cut_after = [400_000]
    assert fetch(published).path.read_bytes() == server.body
    first, second = server.gets()
    assert first is None
    # The hub's library resumes after the last whole chunk, ours after the last byte.
    assert second == f"bytes={400_000 if published is KERAS else 262_144}-"


def test_reset_connection_is_tried_again(server: Server, published: Published) -> None:
    server.cut_after, server.reset = [400_000], True
    assert fetch(published).path.read_bytes() == server.body
    assert len(server.gets()) == 2


def test_part_of_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    server.body = KERAS_BODY
    part = tmp_path / "ours" / "keras" / (KERAS.file + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(KERAS_BODY[:5000])
    assert fetch(KERAS).path.read_bytes() == KERAS_BODY
    assert server.gets() == ["bytes=5000-"]


def test_wrong_size_is_refused_before_the_body(server: Server, tmp_path: Path) -> None:
    server.stated_size = 999
    assert f"999 bytes, but {len(BODY):,} are expected" in failure(TIMM)
    assert server.gets() == []
    sized = replace(KERAS, bytes=999)
    server.body = KERAS_BODY
    assert f"{len(KERAS_BODY):,} bytes, but 999 are expected" in failure(sized)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (PAGE, "web page"),
        (b"\n " + PAGE, "web page"),
        (POINTER, "Git LFS pointer"),
        (b"", "header"),
        (b"\0" * 5000, "header"),
        (b"\x89HDF\r\n\x1a\n", "header"),
        (b"\x89HDF\r\n\x1a\n" + b"\x07" * 99, "header"),
        (BODY[:-1], "header"),
        (BODY + b"more", "header"),
        (struct.pack("<Q", 2**60) + BODY[8:], "header"),
        (struct.pack("<Q", 8) + b"[[[[[[[[", "header"),
        (struct.pack("<Q", 2) + b"{}", "header"),
        (struct.pack("<Q", 12) + b'{"a": "bcd"}', "header"),
        (struct.pack("<Q", 29) + b'{"a": {"data_offsets": [0,""]}', "header"),
        (struct.pack("<Q", 31) + b'{"a": {"data_offsets": [0,1e9]}}', "header"),
        (KERAS_BODY[:-1], "header"),
    ],
)
def test_wrong_header(server: Server, published: Published, tmp_path: Path, wrong: bytes, words: str) -> None:
    server.body = wrong
    message = failure(replace(published, bytes=None, sha256=None))
    assert words in message
    assert "removed from the cache" in message
    assert files(tmp_path) == []


def test_wrong_content_of_the_right_size(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-4] + b"abcd"
    assert "SHA-256" in failure(TIMM)
    assert files(tmp_path) == []


@pytest.mark.parametrize("code", ["EntryNotFound", "RepoNotFound", "RevisionNotFound", ""])
def test_not_found(server: Server, published: Published, tmp_path: Path, code: str) -> None:
    server.status, server.error_code = 404, code
    assert "HTTP 404" in failure(published)
    assert len(server.asked) == 1
    assert [path for path in files(tmp_path) if ".no_exist" not in path.parts] == []


def test_server_error(server: Server, published: Published) -> None:
    server.status = 500
    assert "HTTP 500" in failure(published)


def test_answer_of_something_that_is_no_hub(server: Server) -> None:
    server.commit = None
    assert "not a Hugging Face hub" in failure(TIMM)
    assert server.gets() == []


def test_no_network(server: Server, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        point_at(f"http://127.0.0.1:{free.getsockname()[1]}", monkeypatch)
        assert re.search("refused", failure(published), re.IGNORECASE)


def test_address_that_is_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("no address", monkeypatch)
    for published in (TIMM, KERAS):
        assert "cannot download no address/" in failure(published)


def test_offline_with_an_empty_cache(
    server: Server, published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch)
    message = failure(published)
    assert message.startswith("HF_HUB_OFFLINE is set")
    assert str(tmp_path) in message
    assert server.asked == []


def test_the_same_file_under_another_commit(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(BRANCH).path
    go_offline(monkeypatch)
    fetched = fetch(replace(TIMM, revision="b" * 40))
    assert (fetched.path, fetched.revision) == (path, COMMIT)
    # Another file there may be a newer one, and stays.
    failure(replace(TIMM, revision="b" * 40, sha256="0" * 64))
    assert path.is_file()


def test_damaged_file_of_the_cache_is_replaced(
    server: Server, published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    path = fetch(published).path
    path.write_bytes(server.body[:1000])
    with caplog.at_level(logging.WARNING, logger="mobilenets"):
        assert fetch(published).path.read_bytes() == server.body
    assert str(path) in caplog.text
    assert len(server.gets()) == 2
    path.write_bytes(PAGE)
    go_offline(monkeypatch)
    failure(published)
    assert files(tmp_path) == []


def test_interrupted_by_the_user(server: Server, published: Published, tmp_path: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(published, stop)
    assert fetch(published).path.read_bytes() == server.body


def test_without_the_library(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=re.escape(how_to_install("train"))):
        fetch(TIMM)
    server.body = KERAS_BODY
    assert isinstance(fetch(KERAS), Fetched)


def test_unwritable_cache(server: Server, published: Published, tmp_path: Path) -> None:
    (tmp_path / "hub").touch()
    (tmp_path / "ours").touch()
    with pytest.raises(InputError) as caught:
        fetch(published)
    assert "\n" not in str(caught.value)


def test_progress_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Bar(hub.Progress):
        def close(self) -> None:
            shown.append(self.line())

    monkeypatch.setattr("mobilenets.base.progress.Progress", Bar)
    fetch(TIMM)
    assert len(shown) == 1
    assert shown[0].startswith(f"mobilenet_v2 1: {len(BODY)}/{len(BODY)} B")
    fetch(TIMM)
    server.body = KERAS_BODY
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    fetch(KERAS)
    assert len(shown) == 1


SCRIPT = """
import json, sys
from dataclasses import replace
from mobilenets.errors import InputError
from mobilenets.weights import hub
from mobilenets.weights.published import choose
assert not {"huggingface_hub", "torch", "tqdm"} & sys.modules.keys()
published = replace(choose("mobilenet_v2", 0.5, 224), revision="main", bytes=None, sha256=None)
try:
    fetched = hub.fetch(published)
    print(json.dumps([str(fetched.path), fetched.revision]))
except InputError as error:
    print(json.dumps(str(error)))
"""


def test_variables_of_the_environment(server: Server, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}

    def run(**more: str) -> object:
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment | more, capture_output=True, text=True, check=True
        )
        assert ended.stderr == ""
        return json.loads(ended.stdout)

    assert str(run(HF_HUB_OFFLINE="1")).startswith("HF_HUB_OFFLINE is set")
    assert server.asked == []
    kept = run()
    assert kept == [
        str(tmp_path / "home/hub/models--timm--mobilenetv2_050.lamb_in1k/snapshots" / COMMIT / "model.safetensors"),
        COMMIT,
    ]
    assert len(server.gets()) == 1
    assert run(HF_HUB_OFFLINE="1") == kept
    assert "refused" in str(run(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=str(tmp_path / "other"))).lower()
