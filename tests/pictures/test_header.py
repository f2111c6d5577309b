"""A header tells size and orientation as decoding finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

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
