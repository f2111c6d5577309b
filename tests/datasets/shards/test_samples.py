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
