from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8))


@pytest.fixture
def content() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "mine")
    stream = io.BytesIO()
    PHOTO.save(stream, "PNG", pnginfo=text, dpi=(72, 72))
    return stream.getvalue()


def checksum(content: bytes, kind: bytes) -> int:
    """Give the place of a chunk's checksum."""
    place = content.index(kind)
    return place + 4 + int.from_bytes(content[place - 4 : place])


def broken(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("kind", [b"tEXt", b"pHYs", b"IEND"])
def test_a_wrong_checksum_beside_the_pixels(content: bytes, kind: bytes) -> None:
    assert decode(broken(content, checksum(content, kind))).tobytes() == PHOTO.tobytes()


def test_no_end(content: bytes) -> None:
    assert decode(content[:-12]).tobytes() == PHOTO.tobytes()


def test_pixels_are_proved_by_one_of_two_checksums(content: bytes) -> None:
    assert decode(broken(content, checksum(content, b"IDAT"))).tobytes() == PHOTO.tobytes()


def test_damaged_pixels_are_refused(content: bytes) -> None:
    start, end = content.index(b"IDAT") + 4, checksum(content, b"IDAT")
    for place in range(start, end, 7):
        with pytest.raises(UnreadablePicture, match="damaged"):
            decode(broken(content, place))
    # zlib without packing: a flipped pixel is nothing that the decoder stumbles over
    stored = zlib.compress(zlib.decompress(content[start:end]), 0)
    body = b"IDAT" + broken(stored, len(stored) // 2)
    made = content[: start - 8] + len(stored).to_bytes(4, "big") + body + bytes(4) + content[end + 4 :]
    with pytest.raises(UnreadablePicture, match="damaged"):
        decode(made)


def test_a_wrong_checksum_of_the_head(content: bytes) -> None:
    with pytest.raises(UnreadablePicture, match="damaged"):
        decode(broken(content, checksum(content, b"IHDR")))


@pytest.mark.parametrize("packed", [True, False])
def test_long_packed_text_is_passed_over(packed: bool) -> None:
    """As programs write that keep how a picture was made; viewers show it."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("workflow", "y" * 3_000_000, zip=packed)
    text.add_text("note", "z" * 3_000_000, zip=True)
    text.add_itxt("XML:com.adobe.xmp", '<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>')
    stream = io.BytesIO()
    PHOTO.save(stream, "PNG", pnginfo=text)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(stream.getvalue())).load()
    assert decode(stream.getvalue()).tobytes() == PHOTO.transpose(Image.Transpose.ROTATE_180).tobytes()
