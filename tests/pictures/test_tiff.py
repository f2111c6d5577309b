from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode

Pixels = npt.NDArray[Any]
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
RAW, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def packed(rows: Pixels, bits: int, order: str, kind: int) -> bytes:
    """Pack samples as TIFF 6.0 does: from the highest bit on, each row filled to whole bytes."""
    if bits >= 8 and bits % 8 == 0:
        return rows.astype(f"{order}{' uif'[kind]}{bits // 8}").tobytes()
    made = b""
    for row in rows.reshape(len(rows), -1):
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        text += "0" * (-len(text) % 8)
        made += int(text, 2).to_bytes(len(text) // 8, "big")
    return made


def squeezed(strip: bytes, compression: int) -> bytes:
    if compression == DEFLATE:
        return zlib.compress(strip)
    if compression == PACKBITS:
        parts = [strip[at : at + 128] for at in range(0, len(strip), 128)]
        return b"".join(bytes([len(part) - 1]) + part for part in parts)
    return strip


def tiff(
    rows: Pixels,
    bits: int = 8,
    photometric: int = GREY,
    *,
    order: str = "<",
    fill: int = 1,
    compression: int = RAW,
    kind: int = UNSIGNED,
    planes: bool = False,
    rows_a_strip: int = 0,
    extra: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF of one page, of samples H×W or H×W×N: the kinds that Pillow does not write."""
    height, width = rows.shape[:2]
    count, step = (1 if rows.ndim == 2 else rows.shape[2]), rows_a_strip or height
    strips = []
    for plane in [rows[..., place] for place in range(count)] if planes else [rows]:
        for top in range(0, height, step):
            strip = squeezed(packed(plane[top : top + step], bits, order, kind), compression)
            strips.append(strip.translate(REVERSED) if fill == 2 else strip)
    body, places = b"", []
    for strip in strips:
        places.append(8 + len(body))
        body += strip + bytes(len(strip) % 2)
    tags: dict[int, Sequence[int]] = {256: [width], 257: [height], 258: [bits] * count, 259: [compression]}
    tags |= {262: [photometric], 266: [fill], 273: places, 277: [count], 278: [step]}
    tags |= {279: [len(strip) for strip in strips], 284: [2 if planes else 1], 339: [kind] * count}
    entries = b""
    for tag, values in sorted((tags | dict(extra or {})).items()):
        letter, number = ("I", 4) if tag in (273, 279, 254) else ("H", 3)
        value = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(value) > 4:
            body, value = body + value + bytes(len(value) % 2), struct.pack(f"{order}I", 8 + len(body))
        entries += struct.pack(f"{order}HHI", tag, number, len(values)) + value.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(entries) // 12) + entries + bytes(4)


def right_or_refused(content: bytes, expected: Pixels, within: float = 1) -> bool:
    """Whether it is read; if it is, then rightly."""
    try:
        found = np.asarray(decode(content), np.float64)
    except UnreadablePicture as error:
        assert "\n" not in str(error)
        return False
    if expected.ndim == 2:
        expected = expected[..., None].repeat(3, -1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= within
    return True


def refusal(content: bytes) -> str:
    with pytest.raises(UnreadablePicture) as raised:
        decode(content)
    return str(raised.value)


WAYS = [
    {"order": order, "fill": fill, "compression": compression, "rows_a_strip": strip}
    for order, fill, compression, strip in itertools.product("<>", (1, 2), (RAW, DEFLATE, PACKBITS), (0, 3))
]


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, GREY])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
def test_grey(bits: int, photometric: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (7, 13))
    expected = values * 255 / (2**bits - 1)
    read = [
        right_or_refused(tiff(values, bits, photometric, **way), 255 - expected if photometric == 0 else expected)  # type: ignore[arg-type]
        for way in WAYS
    ]
    if bits <= 8:
        assert sum(read) > len(read) / 2
    assert any(read) or bits in (10, 14) or (bits == 12 and photometric == WHITE_IS_ZERO)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette(bits: int) -> None:
    rng = np.random.default_rng(bits)
    values, colours = rng.integers(0, 2**bits, (7, 13)), rng.integers(0, 65536, (3, 2**bits))
    for way in WAYS:
        content = tiff(values, bits, PALETTE, extra={320: colours.ravel().tolist()}, **way)  # type: ignore[arg-type]
        assert right_or_refused(content, (colours.T // 256)[values]) or way["fill"] == 2
    eight = {320: (colours // 256).ravel().tolist()}
    assert "palette has 8 bits" in refusal(tiff(values, bits, PALETTE, extra=eight))


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("photometric", "count"), [(RGB, 3), (RGB, 5), (CMYK, 4)])
def test_colour(photometric: int, count: int, bits: int, planes: bool) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (7, 13, count))
    seen = values * 255 / (2**bits - 1)
    expected = (255 - seen[..., :3]) * (255 - seen[..., 3:]) / 255 if photometric == CMYK else seen[..., :3]
    extra = {338: [0] * (count - 3)} if photometric == RGB and count > 3 else {}
    read = [
        right_or_refused(tiff(values, bits, photometric, planes=planes, extra=extra, **way), expected, 2)  # type: ignore[arg-type]
        for way in WAYS
    ]
    assert not (any(read) and planes and bits == 16)
    assert any(read) or planes or (bits == 16 and count == 5)


def test_sixteen_bit_colour_in_planes_is_refused() -> None:
    content = tiff(np.full((6, 5, 3), 999), 16, RGB, planes=True)
    assert refusal(content) == "a TIFF of 16-bit channels in separate planes is not read: convert it to PNG or JPEG"


@pytest.mark.parametrize("meaning", [0, 1, 2])
def test_a_fourth_channel(meaning: int) -> None:
    values = np.array([[[200, 100, 50, 255], [120, 60, 30, 128], [0, 0, 0, 0]]], np.uint8)
    on_white = {
        0: values[..., :3],
        1: [[[200, 100, 50], [247, 187, 157], [255, 255, 255]]],
        2: [[[200, 100, 50], [187, 157, 142], [255, 255, 255]]],
    }[meaning]
    assert right_or_refused(tiff(values, 8, RGB, extra={338: [meaning]}), np.asarray(on_white), 2)


def test_a_fourth_channel_without_a_meaning() -> None:
    values = np.full((5, 5, 4), 255, np.uint8)
    values[..., :3] = (10, 20, 30)
    assert right_or_refused(tiff(values, 8, RGB), values[..., :3], 0)
    values[0, 0, 3] = 7
    assert "fourth channel has no stated meaning" in refusal(tiff(values, 8, RGB))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("bits", "kind"), [(8, SIGNED), (16, SIGNED), (32, SIGNED), (32, UNSIGNED), (32, FLOAT)])
def test_signed_and_wide_values(bits: int, kind: int, way: dict[str, Any]) -> None:
    values = np.linspace(0 if kind == UNSIGNED else -100, 120 if bits == 8 else 3e4, 7 * 13).reshape(7, 13).round()
    if kind == UNSIGNED:
        values *= 1e5  # above what 31 bits hold
    expected = (values - values.min()) * 255 / (values.max() - values.min())
    read = right_or_refused(tiff(values, bits, kind=kind, **way), expected)
    # Pillow swaps the bytes of compressed ones once too often.
    assert not (read and way["order"] == ">" and way["compression"] != RAW and kind != UNSIGNED)
    assert read or bits == 8 or way["fill"] == 2 or way["order"] == ">"


def test_what_is_refused_by_its_tags() -> None:
    grey, colour = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8)
    lines = {
        "signed 8-bit": tiff(grey, 8, kind=SIGNED),
        "white is zero": tiff(grey, 32, WHITE_IS_ZERO, kind=FLOAT),
        "big-endian": tiff(grey, 32, order=">", compression=DEFLATE, kind=FLOAT),
        "uncompressed YCbCr": tiff(colour, 8, YCBCR),
        "old-style JPEG compression": tiff(colour, 8, RGB, compression=6),
        "8-bit channels in separate planes": tiff(np.zeros((8, 8, 2)), 8, GREY, planes=True, extra={338: [2]}),
        "this kind of TIFF": tiff(colour, 32, RGB, kind=FLOAT),
        "small preview": tiff(colour, 8, RGB, extra={254: [1]}),
        "camera raw (DNG)": tiff(colour, 8, RGB, extra={50706: [1, 4, 0, 0]}),
    }
    for line, content in lines.items():
        assert line in refusal(content), line


def test_an_open_image_is_checked_too() -> None:
    with (
        Image.open(io.BytesIO(tiff(np.zeros((8, 8)), 8, kind=SIGNED))) as picture,
        pytest.raises(UnreadablePicture, match="signed"),
    ):
        decode(picture)
