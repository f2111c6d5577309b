from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, decode

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


def exif(orientation: int) -> Image.Exif:
    value = Image.Exif()
    value[0x0112] = orientation
    return value


@pytest.mark.parametrize(
    ("form", "options", "within"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 14),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 8),
        ("GIF", {}, 40),
    ],
)
def test_formats(form: str, options: dict[str, Any], within: int, tmp_path: Path) -> None:
    content = saved(scene(), form, **options)
    near(pixels(content), scene(), within)
    path = tmp_path / "wrong suffix.txt"
    path.write_bytes(content)
    assert decode(path).tobytes() == decode(content).tobytes()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (9, 7), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    near(pixels(content), np.broadcast_to((255, 0, 0), (7, 9, 3)), 0)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_one_bit(form: str) -> None:
    picture = Image.new("1", (9, 5))
    picture.putpixel((3, 2), 1)
    found = pixels(saved(picture, form))
    assert (found[2, 3] == 255).all()
    assert found.sum() == 3 * 255


def test_grey_and_palette() -> None:
    grey = scene().convert("L")
    near(pixels(saved(grey, "PNG")), grey.convert("RGB"), 0)
    palette = scene().quantize(32)
    near(pixels(saved(palette, "PNG")), palette.convert("RGB"), 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(form: str, orientation: int) -> None:
    upright = scene()
    # How a camera held that way stores the scene: the inverse of what the tag asks for (EXIF 2.32, 4.6.4).
    stores: list[Callable[[Pixels], Pixels]] = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a),
        lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        lambda a: np.rot90(a, -1),
    ]
    stored = Image.fromarray(np.ascontiguousarray(stores[orientation - 1](np.asarray(upright))))
    options = LOSSLESS.get(form, {})
    found = pixels(saved(stored, form, exif=exif(orientation), **options))
    near(found, upright, 8 if form == "JPEG" else 0)


def test_orientation_behind_the_pixels_of_a_png() -> None:
    content = saved(scene(), "PNG")
    body = exif(6).tobytes()[6:]
    found = pixels(content[:-12] + chunk(b"eXIf", body) + content[-12:])
    near(found, np.rot90(np.asarray(scene()), -1), 0)


def test_orientation_in_xmp() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>')
    near(pixels(saved(scene(), "PNG", pnginfo=text)), np.asarray(scene())[::-1, ::-1], 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_upright(orientation: int) -> None:
    near(pixels(saved(scene(), "PNG", exif=exif(orientation))), scene(), 0)


@pytest.mark.parametrize(
    "broken",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"Exif\0\0not tiff at all",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
    ],
)
def test_broken_exif_does_not_stop_a_picture(broken: bytes) -> None:
    near(pixels(saved(scene(), "JPEG", quality=95, subsampling=0, exif=broken)), scene(), 8)
    near(pixels(saved(scene(), "PNG", exif=broken)), scene(), 0)
    near(pixels(saved(scene(), "WEBP", lossless=True, exif=broken)), scene(), 0)


def refused(source: Path | bytes) -> str:
    with pytest.raises(UnreadablePicture) as caught:
        decode(source)
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 300
    return message


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_truncation_is_refused_or_whole(form: str) -> None:
    picture = scene(24, 16)
    content = saved(picture, form)
    assert "damaged" in refused(content[: len(content) * 2 // 3])
    for length in range(1, len(content), max(1, len(content) // 40)):
        try:
            assert decode(content[:length]).size == (24, 16)
        except UnreadablePicture:
            continue


def test_what_is_not_a_picture(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("this is text\n" * 50, encoding="utf-8")
    assert refused(text) == "not a picture but text"
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "empty" in refused(empty)
    assert "empty" in refused(b"")
    assert "folder" in refused(tmp_path)
    assert "no such file" in refused(tmp_path / "missing.jpg")
    assert "cannot be opened" in refused(Path("zero\0byte.jpg"))
    assert "PostScript is not read" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


@pytest.mark.skipif(os.name != "posix", reason="named pipes and links are POSIX here")
def test_odd_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert "regular" in refused(pipe)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "cannot be opened" in refused(tmp_path / "a")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private.png"
    path.write_bytes(saved(scene(), "PNG"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, as in containers, may read everything
    assert "permission" in refused(path)


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    path = tmp_path / "a.png"
    path.write_bytes(b"1")
    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    assert refused(path) == "the file cannot be read: Input/output error"


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (11_000, 11_000), (1, 65_536)])
def test_too_large(width: int, height: int) -> None:
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    assert "limit" in refused(content)
    with pytest.raises(PictureTooLarge):
        decode(content)


def test_pillows_bomb_warning_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(saved(scene(), "PNG")).size == (48, 32)
    assert "limit" in refused(saved(scene(64, 64), "PNG"))


def test_other_pillow_warnings_do_not_leak() -> None:
    picture = saved(scene(), "PNG")
    after_head = 8 + 25
    no_frames = chunk(b"acTL", bytes(8))
    near(pixels(picture[:after_head] + no_frames + picture[after_head:]), scene(), 0)
    content = saved(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x02")
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(content)).getexif()
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        decode(content)
    assert not leaked


def test_the_silence_ends_with_the_decoding() -> None:
    before = list(warnings.filters)
    decode(saved(scene(), "PNG"))
    refused(b"nothing")
    assert list(warnings.filters) == before


def test_a_picture_is_not_changed_and_closed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tiff", tmp_path / "bad.png"
    good.write_bytes(saved(scene(), "TIFF"))
    bad.write_bytes(saved(scene(), "PNG")[:90])
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in (good, bad)]
    descriptors = Path("/proc/self/fd")
    count = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    decode(good)
    refused(bad)
    refused(tmp_path)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in (good, bad)] == before
    assert not count or len(list(descriptors.iterdir())) == count


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILE = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")  # red and green exchanged
SEEDS = [
    saved(scene(16, 12), "JPEG", exif=exif(6)),
    saved(scene(16, 12), "JPEG", progressive=True, icc_profile=PROFILE),
    saved(scene(16, 12).convert("CMYK"), "JPEG"),
    saved(scene(16, 12), "PNG", exif=exif(8), icc_profile=PROFILE),
    saved(scene(16, 12).quantize(8), "PNG", transparency=0),
    saved(scene(16, 12), "GIF", save_all=True, append_images=[Image.new("RGB", (16, 12))]),
    saved(scene(16, 12), "BMP"),
    saved(scene(16, 12), "TIFF", exif=exif(5)),
    saved(scene(16, 12), "TIFF", compression="tiff_lzw"),
    saved(scene(16, 12), "WEBP", exif=exif(7)),
    saved(scene(16, 12), "PPM"),
]
STARTS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"P6 "]


def survives(content: bytes) -> None:
    try:
        assert decode(content).mode == "RGB"
    except UnreadablePicture as error:
        assert "\n" not in str(error)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_random_bytes(start: bytes, rest: bytes) -> None:
    survives(start + rest)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6),
)
def test_flipped_bits(content: bytes, flips: list[tuple[float, int]]) -> None:
    changed = bytearray(content)
    for place, bits in flips:
        # Squared, so that headers, which decide most, are hit most.
        changed[int(place * place * len(changed))] ^= bits
    survives(bytes(changed))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=24))
def test_broken_png_chunks_with_good_checksums(place: int, body: bytes) -> None:
    content = saved(scene(16, 12), "PNG")
    kinds = [b"eXIf", b"iCCP", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"iTXt", b"zTXt", b"pHYs", b"gAMA"]
    survives(content[:33] + chunk(kinds[place % len(kinds)], body) + content[33:])
