"""A header tells size and orientation as decoding finds them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.header import header


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_upright_size_is_that_of_the_decoded_picture(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    found = header(path)
    assert (found.size, found.orientation) == ((40, 30), orientation)
    assert found.upright == decode(path).size


def test_an_orientation_that_there_is_not_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert header(tmp_path / "a.jpg").orientation == 1


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    content = path.read_bytes()
    start, pixels, end = (content.index(kind) - 4 for kind in (b"eXIf", b"IDAT", b"IEND"))
    assert start < pixels
    path.write_bytes(content[:start] + content[pixels:end] + content[start:pixels] + content[end:])
    assert header(path).upright == decode(path).size == (30, 40)


def test_a_plain_png_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("decoded"))
    assert header(tmp_path / "a.png") == ("PNG", "RGB", 1, (40, 30))


def test_a_picture_that_is_mended_in_decoding_has_the_size_of_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, dpi=(72, 72))
    content = bytearray(path.read_bytes())
    content[content.index(b"pHYs") + 13] ^= 1
    path.write_bytes(content)
    assert header(path).upright == (40, 30)
    path.write_bytes(content[:40])
    with pytest.raises(UnreadablePicture):
        header(path)


def test_of_a_large_picture_nothing_is_decoded_or_said(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (10_000).to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)
    assert header(path).size == (10_000, 10_000)
