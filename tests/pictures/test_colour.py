"""From decoded pixels to sRGB on white: transparency, more than 8 bit, profiles, inks."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from mobilenets.pictures import colour
from mobilenets.pictures.decode import decode

Pixels = npt.NDArray[Any]

LOSSLESS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth, and different in every corner, so that lossy formats keep it and no turn goes unseen."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray(np.stack([x * 255, y * 255, (1 - x) * y * 200], -1).astype(np.uint8))


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def pixels(content: bytes) -> Pixels:
    picture = decode(content)
    assert picture.mode == "RGB"
    assert type(picture) is Image.Image
    return np.asarray(picture, np.int16)


def near(found: Pixels, expected: Any, within: int) -> None:
    assert found.shape[-1] == 3
    assert np.abs(found - np.asarray(expected, np.int16)).max() <= within


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: Pixels, depth: int, color: int, *extra: bytes) -> bytes:
    """A PNG from rows of samples, of the kinds that Pillow does not write."""
    height, width = rows.shape[:2]
    samples = rows.astype(">u2" if depth == 16 else np.uint8)
    data = b"".join(b"\0" + row.tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            *extra,
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


def exif(orientation: int) -> Image.Exif:
    value = Image.Exif()
    value[0x0112] = orientation
    return value


def test_transparency_is_on_white() -> None:
    picture = Image.new("RGBA", (3, 1))
    for x, color in enumerate([(255, 0, 0, 255), (255, 0, 0, 128), (255, 0, 0, 0)]):
        picture.putpixel((x, 0), color)
    expected = [[(255, 0, 0), (255, 127, 127), (255, 255, 255)]]
    near(pixels(saved(picture, "PNG")), expected, 1)
    near(pixels(saved(picture, "TIFF")), expected, 1)
    near(pixels(saved(picture, "WEBP", lossless=True, exact=True)), expected, 1)


def test_grey_with_alpha() -> None:
    picture = Image.new("LA", (2, 1), (0, 128))
    picture.putpixel((1, 0), (0, 0))
    near(pixels(saved(picture, "PNG")), [[(127, 127, 127), (255, 255, 255)]], 1)


@pytest.mark.parametrize("key", [1, bytes([255, 0, 128])])
def test_palette_with_transparency(key: int | bytes) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([0, 0, 0, 0, 0, 200, 0, 100, 0])
    for x in range(3):
        picture.putpixel((x, 0), x)
    third = (0, 100, 0) if isinstance(key, int) else (127, 177, 127)
    near(pixels(saved(picture, "PNG", transparency=key)), [[(0, 0, 0), (255, 255, 255), third]], 1)


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_transparent_colour(mode: str, key: Any) -> None:
    picture = Image.new(mode, (2, 1), 0)
    picture.putpixel((1, 0), 1 if mode == "1" else (90, 90, 90) if mode == "RGB" else 90)
    bright = 255 if mode == "1" else 90
    near(pixels(saved(picture, "PNG", transparency=key)), [[(255,) * 3, (bright,) * 3]], 0)


def test_transparent_gif() -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    near(pixels(saved(picture, "GIF", transparency=0)), [[(255, 255, 255), (200, 100, 50)]], 0)


def test_sixteen_bit_grey_is_scaled() -> None:
    levels = np.array([[0, 128, 257, 32768, 65278, 65535]])
    expected = np.array([[0, 0, 1, 128, 254, 255]])[..., None].repeat(3, -1)
    near(pixels(png(levels, 16, 0)), expected, 0)
    stored = Image.fromarray(levels.astype(np.uint16))
    near(pixels(saved(stored, "PNG")), expected, 0)
    near(pixels(saved(stored, "TIFF")), expected, 0)
    near(pixels(b"P5 6 1 65535\n" + levels.astype(">u2").tobytes()), expected, 0)


def test_big_endian_tiff_is_scaled() -> None:
    levels = np.array([[0, 257, 32768, 65535]], ">u2")
    tags = [(256, 4), (257, 1), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 8)]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    content = b"MM\0*" + struct.pack(">I", 16) + levels.tobytes() + struct.pack(">H", len(tags)) + entries
    found = pixels(content + bytes(4))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_grey_with_transparent_level() -> None:
    levels = np.array([[1000, 30000]])
    found = pixels(png(levels, 16, 0, chunk(b"tRNS", struct.pack(">H", 1000))))
    assert found[0, :, 0].tolist() == [255, 117]


def test_sixteen_bit_colour() -> None:
    levels = np.array([[[65535, 0, 32768], [257, 514, 40000]]])
    near(pixels(png(levels, 16, 2)), [[(255, 0, 128), (1, 2, 156)]], 1)
    near(
        pixels(png(levels, 16, 2, chunk(b"tRNS", struct.pack(">3H", 65535, 0, 32768)))),
        [[(255,) * 3, (1, 2, 156)]],
        1,
    )
    alpha = np.array([[[65535, 0, 0, 65535], [65535, 0, 0, 32768]]])
    near(pixels(png(alpha, 16, 6)), [[(255, 0, 0), (255, 127, 127)]], 1)
    grey_alpha = np.array([[[0, 65535], [0, 32768]]])
    near(pixels(png(grey_alpha, 16, 4)), [[(0, 0, 0), (127, 127, 127)]], 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-5.0, 0.0, 5.0], [0, 128, 255]),
        ([7e9, 7e9, 7e9], [0, 0, 0]),
        ([np.nan, 0.5, 1.0], [0, 128, 255]),
        ([np.inf, 0.5, 1.0], [0, 128, 255]),
    ],
)
def test_float_grey(values: list[float], expected: list[int]) -> None:
    content = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    near(pixels(content), np.array([expected])[..., None].repeat(3, -1), 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-(2**31), 0, 2**31 - 1], [0, 128, 255]),
    ],
)
def test_integer_grey(values: list[int], expected: list[int]) -> None:
    content = saved(Image.fromarray(np.array([values], np.int32)), "TIFF")
    near(pixels(content), np.array([expected])[..., None].repeat(3, -1), 1)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def display_p3() -> bytes:
    """The sRGB profile with the primaries of Display P3 (adapted to D50, as in Apple's profile)."""
    content = bytearray(srgb_profile())
    primaries = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
    }
    for place in range(struct.unpack_from(">I", content, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", content, 132 + 12 * place)
        if name in primaries:
            struct.pack_into(">3i", content, offset + 8, *(round(v * 65536) for v in primaries[name]))
    return bytes(content)


def p3_to_srgb(color: tuple[int, int, int]) -> Any:
    """Written out from the two primaries (SMPTE EG 432-1, IEC 61966-2-1), both with white D65."""
    matrix = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]])
    value = np.array(color) / 255
    linear = matrix @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255)


@pytest.mark.parametrize("color", [(200, 100, 50), (60, 180, 90), (255, 255, 255), (0, 0, 0), (255, 0, 0)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_wide_gamut_becomes_srgb(color: tuple[int, int, int], form: str) -> None:
    options = LOSSLESS.get(form, {})
    content = saved(Image.new("RGB", (8, 8), color), form, icc_profile=display_p3(), **options)
    near(pixels(content), np.broadcast_to(p3_to_srgb(color), (8, 8, 3)), 4 if form == "JPEG" else 2)
    near(pixels(saved(Image.new("RGB", (8, 8), color), "PNG")), np.broadcast_to(color, (8, 8, 3)), 0)


def test_srgb_profile_leaves_pixels_alone() -> None:
    near(pixels(saved(scene(), "PNG", icc_profile=srgb_profile())), scene(), 0)


def test_wide_gamut_with_alpha_and_palette() -> None:
    color = (200, 100, 50)
    content = saved(Image.new("RGBA", (4, 4), (*color, 255)), "PNG", icc_profile=display_p3())
    near(pixels(content), np.broadcast_to(p3_to_srgb(color), (4, 4, 3)), 2)
    palette = Image.new("RGB", (4, 4), color).quantize(4)
    content = saved(palette, "PNG", icc_profile=display_p3())
    near(pixels(content), np.broadcast_to(p3_to_srgb(color), (4, 4, 3)), 2)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
@pytest.mark.parametrize("what", ["text", "cut", "empty", "other space"])
def test_useless_profiles_are_ignored(mode: str, what: str) -> None:
    whole = display_p3()
    profile = {
        "text": b"no profile",
        "cut": whole[:200],
        "empty": b"\0" * 128,
        "other space": whole if mode in ("L", "CMYK") else whole[:16] + b"CMYK" + whole[20:],
    }[what]
    picture = scene().convert(mode)
    within = 8 if mode == "CMYK" else 0
    form, options = ("JPEG", {"quality": 98, "subsampling": 0}) if mode == "CMYK" else ("PNG", {})
    near(pixels(saved(picture, form, icc_profile=profile, **options)), picture.convert("RGB"), within)


def cmyk_profile() -> bytes:
    """A printer profile (ICC.1:2001, lut8Type) whose inks are nonsense: cyan prints red, all else white."""
    red, white = bytes([136, 208, 195]), bytes([255, 128, 128])  # Lab, 8 bit
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    table = b"".join(red if corner & 8 else white for corner in range(16))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + table + identity * 3
    point = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    head += bytes(128 - len(head))
    first = 128 + 4 + 24
    tags = struct.pack(">I4sII4sII", 2, b"A2B0", first + 20, len(lut), b"wtpt", first, 20)
    content = head + tags + point + lut
    return struct.pack(">I", len(content)) + content[4:]


def test_cmyk_profile_is_used() -> None:
    for form, options in (("JPEG", {"quality": 98}), ("TIFF", {})):
        picture = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        content = saved(picture, form, icc_profile=cmyk_profile(), **options)
        near(pixels(content), np.broadcast_to((255, 0, 0), (8, 8, 3)), 12)
        near(pixels(saved(picture, form, **options)), np.broadcast_to((0, 255, 255), (8, 8, 3)), 3)


INKS = [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))]
INKS += [((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 128), (127, 127, 127))]


@pytest.mark.parametrize(("ink", "color"), INKS)
def test_cmyk_jpeg(ink: tuple[int, int, int, int], color: tuple[int, int, int]) -> None:
    content = saved(Image.new("CMYK", (16, 16), ink), "JPEG", quality=98)
    assert b"Adobe" in content
    near(pixels(content), np.broadcast_to(color, (16, 16, 3)), 3)


def without_adobe(content: bytes) -> bytes:
    start = content.index(b"\xff\xee\0\x0eAdobe")
    return content[:start] + content[start + 16 :]


@pytest.mark.parametrize(("ink", "color"), INKS)
def test_cmyk_jpeg_that_is_not_adobes(ink: tuple[int, int, int, int], color: tuple[int, int, int]) -> None:
    # Pillow writes 255 - ink, as Adobe does; so the opposite ink stores this ink the plain way.
    opposite = tuple(255 - value for value in ink)
    content = without_adobe(saved(Image.new("CMYK", (16, 16), opposite), "JPEG", quality=98))
    near(pixels(content), np.broadcast_to(color, (16, 16, 3)), 3)


@pytest.mark.parametrize("color", [(255, 255, 255), (230, 40, 60), (20, 90, 200), (0, 0, 0)])
def test_ycck_jpeg(color: tuple[int, int, int]) -> None:
    # YCCK is RGB = 255 - CMY through the matrix of YCbCr, beside K; with Adobe's inversion, RGB is the ink.
    # YCbCr of the ink stored as it is in CMYK's first three channels, marked with Adobe's transform 2, is
    # therefore the YCCK file of the colour.
    ink = Image.new("RGB", (1, 1), tuple(255 - value for value in color)).convert("YCbCr")
    stored = Image.new("CMYK", (16, 16), (*(255 - value for value in ink.tobytes()), 0))
    content = saved(stored, "JPEG", quality=98)
    place = content.index(b"\xff\xee\0\x0eAdobe") + 15
    assert content[place] == 0
    near(pixels(content[:place] + b"\x02" + content[place + 1 :]), np.broadcast_to(color, (16, 16, 3)), 6)


def test_many_threads_agree() -> None:
    contents = [
        saved(scene(), "PNG", icc_profile=display_p3(), exif=exif(6)),
        saved(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        saved(scene().quantize(8), "PNG", transparency=bytes(range(8))),
        saved(scene(), "WEBP"),
        saved(scene().convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
    ]
    expected = [decode(content).tobytes() for content in contents]
    colour.transform_to_srgb.cache_clear()
    before = list(warnings.filters)
    together = threading.Barrier(8)

    def work(start: int) -> bool:
        together.wait()
        return all(decode(contents[(start + turn) % 5]).tobytes() == expected[(start + turn) % 5] for turn in range(40))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert list(warnings.filters) == before


def test_nothing_of_the_file_travels_on() -> None:
    content = saved(scene().quantize(8), "PNG", transparency=0, icc_profile=display_p3(), exif=exif(3))
    assert decode(content).info == {}
