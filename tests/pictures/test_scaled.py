"""JPEG's scaled decoding: what it may change, and what it may not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures import decode as module
from mobilenets.pictures.decode import PictureTooLarge, decode
from mobilenets.pictures.preprocess import ENOUGH, RESIZES, Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.predictor import EnginePredictor

WIDTH, HEIGHT = 1600, 1200


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Soft colours, edges as sharp as a camera gives, and its grain."""
    rng = np.random.default_rng((width, height))
    soft = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    edges = Image.fromarray(rng.integers(-40, 41, (height // 30, width // 30)).astype(np.float32))
    pixels = (
        np.asarray(soft, np.float32) + np.asarray(edges.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    )
    pixels[height // 3 : height // 2, width // 4 : width // 3] = (200, 40, 60)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))


def saved(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    value = Image.Exif()
    value[0x0112] = orientation
    return value


def by(share: float) -> module.Surplus:
    return lambda width, height: share


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return scene()


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:4:4": ("RGB", {"quality": 95, "subsampling": 0}),
    "4:2:0": ("RGB", {"quality": 85, "subsampling": 2}),
    "progressive": ("RGB", {"quality": 75, "progressive": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "sRGB": ("RGB", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [2, 4, 8])
def test_pixels_stay_near(kind: str, share: int, photo: Image.Image) -> None:
    mode, options = KINDS[kind]
    content = saved(photo.convert(mode), **options)
    how = Preprocessing(HEIGHT // share // ENOUGH, "stretch")
    assert how.surplus(WIDTH, HEIGHT) == share
    whole, scaled = decode(content), decode(content, how.surplus)
    assert whole.size == (WIDTH, HEIGHT)
    assert scaled.size == (WIDTH // share, HEIGHT // share)
    apart = np.abs(np.asarray(how.fit(whole), np.int16) - np.asarray(how.fit(scaled), np.int16))
    assert apart.max() <= 3 and apart.mean() < 0.4
    assert apart.any()  # it was another way


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (HEIGHT, WIDTH), (2400, 480)])
def test_every_rule_gets_enough(resize: str, interpolation: str, size: tuple[int, int]) -> None:
    how = Preprocessing(40, resize, interpolation=interpolation)
    content = saved(scene(*size))
    whole, scaled = decode(content), decode(content, how.surplus)
    assert scaled.width < whole.width and scaled.width * whole.height == scaled.height * whole.width
    longer, shorter = max(scaled.size), min(scaled.size)
    assert (longer if resize == "pad" else shorter) >= ENOUGH * 40
    apart = np.abs(np.asarray(how.fit(whole), np.int16) - np.asarray(how.fit(scaled), np.int16))
    assert apart.max() <= 3 and apart.mean() < 0.4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_after(orientation: int, photo: Image.Image) -> None:
    content = saved(photo, exif=turned(orientation))
    whole, scaled = decode(content), decode(content, by(4))
    assert scaled.size == (whole.width // 4, whole.height // 4)
    assert (scaled.width > scaled.height) == (orientation < 5)
    how = Preprocessing(60, "stretch")
    assert np.abs(np.asarray(how.fit(whole), np.int16) - np.asarray(how.fit(scaled), np.int16)).max() <= 3


def test_first_picture_of_several(photo: Image.Image) -> None:
    content = saved(photo, "MPO", save_all=True, append_images=[Image.new("RGB", photo.size, "blue")])
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "MPO"
    how = Preprocessing(60, "stretch")
    scaled = decode(content, how.surplus)
    assert scaled.size == (WIDTH // 4, HEIGHT // 4)
    apart = np.asarray(how.fit(decode(content)), np.int16) - np.asarray(how.fit(scaled), np.int16)
    assert np.abs(apart).max() <= 3


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"quality": 80}),
        ("JPEG", {"subsampling": 1}),  # its colour would be less fine
        ("JPEG", {"icc_profile": "other"}),
    ],
    ids=["PNG", "WebP", "4:2:2", "a profile of its own"],
)
def test_whole_all_the_same(form: str, options: dict[str, Any], photo: Image.Image) -> None:
    if "icc_profile" in options:
        profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        entry = profile.index(b"rXYZ")
        offset = int.from_bytes(profile[entry + 4 : entry + 8])
        profile[offset + 8 : offset + 12] = (20_000).to_bytes(4)
        options = {"icc_profile": bytes(profile)}
    content = saved(photo, form, **options)
    assert decode(content, by(8)).tobytes() == decode(content).tobytes()


def test_only_where_sides_divide_and_there_is_enough() -> None:
    for size, surplus, expected in [
        ((808, 600), 8, (101, 75)),
        ((804, 600), 8, (201, 150)),
        ((802, 600), 100, (401, 300)),
        ((801, 600), 100, (801, 600)),
        ((800, 600), 3.99, (400, 300)),
        ((800, 600), 2, (400, 300)),
        ((800, 600), 1.99, (800, 600)),
    ]:
        assert decode(saved(scene(*size)), by(surplus)).size == expected


def test_small_pictures_are_what_they_were() -> None:
    how = Preprocessing(224)
    for size in ((32, 24), (640, 480), (1024, 768), (2559, 2559), (2558, 4000)):
        content = saved(Image.effect_noise(size, 60))
        assert how.surplus(*size) < 2
        assert decode(content, how.surplus).tobytes() == decode(content).tobytes()
    assert Preprocessing(8, interpolation="nearest").surplus(8000, 8000) < 2


def test_predictor_asks_for_it(photo: Image.Image, tmp_path: Path) -> None:
    how = Preprocessing(60, "stretch")
    predictor = EnginePredictor(Bundle({}, ("a", "b"), how), lambda images: images.mean((1, 2))[:, :2])
    content = saved(photo)
    (tmp_path / "photo.jpg").write_bytes(content)
    expected = how(decode(content, by(4)))
    assert not np.array_equal(expected, how(decode(content)))
    for picture in (content, tmp_path / "photo.jpg", str(tmp_path / "photo.jpg")):
        np.testing.assert_array_equal(predictor.prepare(picture), expected)
    with Image.open(io.BytesIO(content)) as opened:  # is the user's, and stays whole
        np.testing.assert_array_equal(predictor.prepare(opened), how(decode(content)))
        assert opened.size == photo.size


def test_true_size_is_what_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(Image.new("RGB", (800, 600)))
    monkeypatch.setattr(module, "MAX_PIXELS", 800 * 600 - 1)
    with pytest.raises(PictureTooLarge, match="800 x 600"):
        decode(content, by(8))


# ---------------------------------------------------------------- what is refused


def reason(content: bytes, surplus: module.Surplus | None) -> str | None:
    try:
        decode(content, surplus)
    except UnreadablePicture as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:0", "progressive", "grey", "CMYK"])
def test_damaged_is_refused_alike(kind: str) -> None:
    mode, options = KINDS[kind]
    content = saved(scene(160, 120).convert(mode), **options)
    cuts = [*range(2, len(content), 211), *range(len(content) - 40, len(content) - 2)]
    refused = [reason(content[:cut], None) for cut in cuts]
    assert refused.count(None) < len(cuts) / 2 and "truncated" in str(refused)
    rng = np.random.default_rng(0)
    damaged = [content[:cut] for cut in cuts]
    for _ in range(60):
        changed = bytearray(content)
        changed[rng.integers(2, len(content))] = rng.integers(256)
        damaged.append(bytes(changed))
    for one in damaged:
        assert {reason(one, by(share)) for share in (2, 4, 8)} == {reason(one, None)}


def lossless(width: int, height: int) -> bytes:
    """A grey JPEG without DCT (ITU-T T.81, annex H), all of one value: every difference is the code 0."""

    def segment(kind: int, body: bytes) -> bytes:
        return bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2) + body

    frame = bytes([8]) + height.to_bytes(2) + width.to_bytes(2) + bytes([1, 1, 0x11, 0])
    codes = bytes([0, 1, *[0] * 15, 0])
    head = b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, codes) + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return head + bytes(-(-width * height // 8)) + b"\xff\xd9"


def test_lossless_is_not_scaled() -> None:
    content = lossless(64, 48)
    try:
        whole = decode(content)
    except UnreadablePicture:
        pytest.skip("this libjpeg does not read lossless JPEG")
    assert decode(content, by(8)).tobytes() == whole.tobytes()


def test_what_stands_before_the_frame(photo: Image.Image) -> None:
    """Segments of any length are passed over; fill bytes, which nobody writes, are left to the whole decoding."""
    content = saved(photo)
    assert content[2:4] == b"\xff\xe0"
    for length in (2, 3, 65_535):
        comment = b"\xff\xfe" + length.to_bytes(2) + b"\xff\xc3" * 40_000
        longer = content[:2] + comment[: length + 2] + content[2:]
        assert decode(longer, by(8)).tobytes() == decode(content, by(8)).tobytes()
    assert decode(content[:2] + b"\xff" + content[2:], by(8)).size == photo.size
