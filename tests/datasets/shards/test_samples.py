from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mobilenets.datasets.shards.samples import read_shard
from mobilenets.errors import InputError


def write(path: Path, files: dict[str, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


def found(path: Path) -> list[tuple[str, bytes | None, str | None, bool]]:
    return [(one.key, one.content, one.label, one.reason is not None) for one in read_shard(path)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes(tmp_path: Path, format: int) -> None:
    deep = "a" * 90 + "/" + "b" * 90
    files = {
        "1.jpg": b"one",
        "1.cls": b"7\n",
        "2.json": b'{"label": "dog"}',
        "2.png": b"two" * 400,
        f"{deep}/owl/3.JPG": b"three",
        "notes.txt": b"no picture",
        "4.seg.png": b"mask",
    }
    write(tmp_path / "a.tar", files, format)
    assert found(tmp_path / "a.tar") == [
        ("1", b"one", "7", False),
        ("2", b"two" * 400, "dog", False),
        (f"{deep}/owl/3", b"three", "owl", False),
        ("4", b"mask", None, False),
    ]
    whole = (tmp_path / "a.tar").read_bytes()
    for one in read_shard(tmp_path / "a.tar"):
        assert whole[one.offset : one.offset + one.length] == one.content


def test_damage_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    files = {f"cat/{number}.jpg": bytes([number]) * 700 for number in range(1, 5)}
    whole = write(tmp_path / "a.tar", files)
    second = 512 + 1024  # its header
    (tmp_path / "a.tar").write_bytes(whole[: second + 10] + b"x" + whole[second + 11 :])
    assert [key for key, _, _, bad in found(tmp_path / "a.tar") if not bad] == ["cat/1", "cat/3", "cat/4"]
    [lost] = [one for one in read_shard(tmp_path / "a.tar") if one.reason]
    assert lost.reason == f"damaged at byte {second}: 1536 bytes are lost"
    (tmp_path / "a.tar").write_bytes(whole[: 4 * 1536 - 900])
    key, content, label, bad = found(tmp_path / "a.tar")[-1]
    assert (key, content, label, bad) == ("cat/4", None, "cat", True)
    (tmp_path / "a.tar").write_bytes(whole[: 3 * 1536])  # between two members
    [*kept, cut] = read_shard(tmp_path / "a.tar")
    assert [one.key for one in kept] == ["cat/1", "cat/2", "cat/3"] and not any(one.reason for one in kept)
    assert cut.key == f"byte {3 * 1536}" and "no end mark" in (cut.reason or "")


def test_what_is_no_sample(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"cat/1.jpg": b"", "2.cls": b"3"})
    assert [(one.key, one.label, one.reason) for one in read_shard(tmp_path / "a.tar")] == [
        ("cat/1", "cat", "the file is empty"),
        ("2", "3", "it has a label and no picture"),
    ]
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b\x08 and more")
    with pytest.raises(InputError, match=r"b\.tar is compressed.*gunzip"):
        list(read_shard(tmp_path / "b.tar"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_shard(tmp_path / "c.tar"))


def test_no_picture_is_lost_silently(tmp_path: Path) -> None:
    # The key of cat.0.jpg ends at its first dot, so both are one sample, of which one picture is read.
    names = ["cat/cat.0.jpg", "cat/cat.1.jpg", "cat/x.depth.png", "cat/x.jpg", "cat/y.jpg", "cat/y.1.jpg"]
    write(tmp_path / "a.tar", {name: name.encode() for name in names})
    samples = list(read_shard(tmp_path / "a.tar"))
    assert [one.content.decode() for one in samples if one.content] == ["cat/cat.0.jpg", "cat/x.jpg", "cat/y.jpg"]
    lost = {one.key: one.reason or "" for one in samples if not one.content}
    assert list(lost) == ["cat/cat.1.jpg", "cat/y.1.jpg"]
    assert "one sample with cat/cat.0.jpg" in lost["cat/cat.1.jpg"]


def test_the_first_of_a_name_that_is_there_twice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in [("a.jpg", b"one"), ("a.cls", b"1"), ("a.jpg", b"two"), ("a.cls", b"2")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert found(tmp_path / "a.tar") == [("a", b"one", "1", False), ("a.jpg", None, None, True)]


def test_hidden_files_of_macos_are_no_pictures(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"photos/cat/._1.jpg": b"xattr", "photos/cat/1.jpg": b"one", "photos/.DS_Store": b""})
    assert found(tmp_path / "a.tar") == [("photos/cat/1", b"one", "cat", False)]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_named(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("cat/1.jpg")
        info.type, info.linkname = kind, "dog/1.jpg"
        tar.addfile(info)
    [one] = read_shard(tmp_path / "a.tar")
    assert (one.key, one.label) == ("cat/1", "cat")
    assert "--dereference" in (one.reason or "")
