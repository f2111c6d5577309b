from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from mobilenets.datasets import idx
from mobilenets.datasets.idx import read_idx
from mobilenets.errors import InputError


def header(*shape: int, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + b"".join(length.to_bytes(4, "big") for length in shape)


@pytest.mark.parametrize("packed", [False, True])
def test_reads_pictures_and_labels(tmp_path: Path, packed: bool) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for array in (pixels, pixels[0, 0]):
        content = header(*array.shape) + array.tobytes()
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(content) if packed else content)
        read = read_idx(path, array.ndim)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "nothing"),
        (b"\x89PNG", "89504e47"),
        (header(2, 2, kind=13) + bytes(16), "00000d02"),
        (header(4) + bytes(4), "00000801"),
        (header(2, 2)[:-1], "inside the header"),
        (header(2, 2) + bytes(3), "only 3 bytes"),
        (header(2, 2) + bytes(5), "more bytes"),
        (header(0, 2), "0 x 2"),
        (header(2**32 - 1, 2**32 - 1) + bytes(9), "4294967295 x 4294967295"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_as_expected_is_refused(tmp_path: Path, content: bytes, reason: str, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=reason) as caught:
        read_idx(path, 2)
    assert "\n" not in str(caught.value)


def test_gzip_that_unpacks_for_ever_stops_at_the_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(2, 2) + bytes(50_000_000)))
    with pytest.raises(InputError, match="more bytes"):
        read_idx(path, 2)


def test_header_alone_allocates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "LARGEST", 1 << 62)
    path = tmp_path / "file"
    path.write_bytes(header(2**31, 2**30) + bytes(3))
    with pytest.raises(InputError, match="only 3 bytes"):
        read_idx(path, 2)


@pytest.mark.parametrize("damage", ["cut", "flip", "head"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    content = bytearray(gzip.compress(header(50, 50) + noise.tobytes()))
    match damage:
        case "cut":
            del content[len(content) // 2 :]
        case "flip":
            content[len(content) // 2] ^= 1
        case "head":
            content[2] = 0
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read_idx(path, 2)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_idx(tmp_path / "none", 1)
