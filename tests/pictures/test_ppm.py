from __future__ import annotations

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, PpmImagePlugin

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures import ppm
from mobilenets.pictures.decode import decode


def files() -> Iterator[bytes]:
    draw, dice = np.random.default_rng(0), random.Random(0)
    for greatest in (1, 99, 254, 256, 1000, 65534):
        for kind, bands in ((5, 1), (6, 3)):
            stored = np.dtype(">u2" if greatest > 255 else "u1")
            values = draw.integers(0, min(greatest * 2, np.iinfo(stored).max) + 1, 35 * bands)
            yield b"P%d 7 5 %d\n" % (kind, greatest) + values.astype(stored).tobytes()
    for greatest in (1, 255, 65535):
        for kind, bands in ((2, 1), (3, 3)):
            values = draw.integers(0, greatest + 1, 35 * bands)
            text = "".join(
                f"{value}{dice.choice((' ', '  ', chr(10), chr(9), '#c 1 2' + chr(10) + ' '))}" for value in values
            )
            yield b"P%d 7 5 %d\n" % (kind, greatest) + text.encode() + b"what is behind"
    yield b"P1 3 2 1 0 1 #x\n011"


@pytest.mark.parametrize("content", list(files()))
def test_the_values_are_those_of_pillow(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as slow, Image.open(io.BytesIO(content)) as quick:
        assert isinstance(quick, PpmImagePlugin.PpmImageFile)
        ppm.make_quick(quick)
        assert quick.tile[0][0] == "raw"
        quick.load()
        slow.load()
        assert quick.mode == slow.mode and np.array_equal(np.asarray(quick), np.asarray(slow))


def test_no_value_is_decoded_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("Pillow's decoder in Python")

    for decoder in (PpmImagePlugin.PpmDecoder, PpmImagePlugin.PpmPlainDecoder):
        monkeypatch.setattr(decoder, "decode", never)
    assert decode(b"P6 1 1 254\n\x00\x7f\xfe").getpixel((0, 0)) == (0, 128, 255)
    assert decode(b"P3 1 1 9\n0 3 9").getpixel((0, 0)) == (0, 85, 255)


def test_long_texts_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppm, "_BLOCK", 7)
    values = list(range(100, 250))
    found = np.asarray(decode(b"P2 10 15 255\n" + "\n".join(map(str, values)).encode()))
    assert found[..., 0].ravel().tolist() == values


@pytest.mark.parametrize(
    "content",
    [
        b"P6 2 2 254\n" + bytes(11),
        b"P5 2 2 999\n" + bytes(7),
        b"P3 1 1 254\n1 2",
        b"P3 1 1 254\n1 2 255",
        b"P3 1 1 254\n1 -2 3",
        b"P2 1 1 254\n" + b"0" * 50_000 + b"1",
        b"P1 2 1\n12",
        b"P2 1 1 9\n",
        b"P2 1 1 9\n#",
    ],
)
def test_damaged(content: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        decode(content)


@pytest.mark.parametrize("filler", [b" ", b"#\n", b"#" + b"x" * 100 + b"\n"])
def test_a_header_that_does_not_end(filler: bytes) -> None:
    rest = b"1 1 255\n" + bytes(3)
    assert decode(b"P6\n" + filler * 10 + rest).size == (1, 1)
    with pytest.raises(UnreadablePicture, match="longer than 4096"):
        decode(b"P6\n" + filler * 5000 + rest)


@pytest.mark.parametrize("content", [b"P3 2 1 100 1 2 3 4 5 100", b"P6 2 1 255 abcdef"])
def test_a_picture_that_pillow_has_read_is_taken_as_it_is(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert decode(picture).tobytes() == picture.tobytes() == decode(content).tobytes()
