from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode

END = b"\xff\xd9"
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RGB", {"quality": 90}),
    ("RGB", {"quality": 95, "subsampling": 0}),
    ("RGB", {"quality": 85, "progressive": True}),
    ("RGB", {"quality": 90, "restart_marker_blocks": 2}),
    ("RGB", {"quality": 75, "optimize": True}),
    ("L", {"quality": 90}),
    ("L", {"quality": 90, "progressive": True, "restart_marker_blocks": 3}),
    ("CMYK", {"quality": 90}),
]


def scene(kind: str, mode: str) -> Image.Image:
    """Smooth; noise above white, where clipping hides a wrong coefficient; or the grey that decoders fill in."""
    pixels = np.full((29, 37, 3), 128 if kind == "grey" else 255, np.uint8)
    if kind == "smooth":
        y, x = np.mgrid[0:29, 0:37]
        pixels = np.stack([x * 6, y * 8, (x + y) * 3], -1).astype(np.uint8)
    elif kind == "sky":
        pixels[:14] = np.random.default_rng(0).integers(0, 256, (14, 37, 3))
    return Image.fromarray(pixels).convert(mode)  # type: ignore[arg-type]


def saved(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


def pixels(content: bytes) -> npt.NDArray[np.uint8] | None:
    try:
        return np.asarray(decode(content))
    except UnreadablePicture as error:
        assert "damaged" in str(error)
        return None


@pytest.mark.parametrize(("mode", "options"), KINDS)
@pytest.mark.parametrize("kind", ["smooth", "sky", "grey"])
def test_cut_anywhere_it_is_right_or_refused(kind: str, mode: str, options: dict[str, Any]) -> None:
    content = saved(scene(kind, mode), **options)
    whole = pixels(content)
    assert whole is not None
    start = content.index(b"\xff\xda")
    for cut in {*range(start, len(content), 5), *range(len(content) - 12, len(content))}:
        for made in (content[:cut], content[:cut] + bytes(len(content) - cut), content[:cut] + b"\xff" * 600):
            found = pixels(made)
            assert found is None or np.array_equal(found, whole)


@pytest.mark.parametrize(("mode", "options"), KINDS)
@pytest.mark.parametrize("lost", [1, 2])
def test_only_the_end_mark_is_missing(mode: str, options: dict[str, Any], lost: int) -> None:
    content = saved(scene("smooth", mode), **options)
    for made in (content[:-lost], content[:-2] + bytes(700), content[:-lost] + b"\0"):
        assert np.array_equal(pixels(made), pixels(content))  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "options"), KINDS)
def test_an_end_mark_does_not_make_a_part_whole(mode: str, options: dict[str, Any]) -> None:
    content = saved(scene("smooth", mode), **options)
    start = content.index(b"\xff\xda")
    assert pixels(content[: (start + len(content)) // 2] + END) is None


def test_grey_pictures_are_whole() -> None:
    for mode in ("RGB", "L"):
        for options in ({}, {"optimize": True}, {"progressive": True}):
            found = pixels(saved(scene("grey", mode), **options))
            assert found is not None
            assert (found == 128).all()


@pytest.mark.parametrize("junk", [b"\0" * 65, b"PK\3\4" * 100, b"\xff" * 9, b"\n"])
def test_junk_around_the_end_mark(junk: bytes) -> None:
    content = saved(scene("smooth", "RGB"))
    for made in (content + junk, content[:-2] + junk + END):
        assert np.array_equal(pixels(made), pixels(content))  # type: ignore[arg-type]


SEGMENTS = {
    "JFIF too short": b"\xff\xe0\0\x07JFIF\0",
    "EXIF too short": b"\xff\xe1\0\x08Exif\0\0",
    "Photoshop cut": b"\xff\xed\0\x1aPhotoshop 3.0\x008BIM\4\4\0\0\0\0",
    "Adobe too short": b"\xff\xee\0\x07Adobe",
    "junk between segments": b"\0\0\0junk",
    "a segment longer than said": b"\xff\xe5\0\x06abcdefghijkl",
    "a length of nothing": b"\xff\xe5\0\0",
    "fill bytes": b"\xff\xff\xff",
    "several pictures, the list broken": b"\xff\xe2\0\x10MPF\0II*\0\x08\0\0\0\xff\xff",
    "a profile cut": b"\xff\xe2\0\x10ICC_PROFILE\0\1\2",
}


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS)
def test_broken_segments_are_passed_over(segment: bytes) -> None:
    content = saved(scene("smooth", "RGB"))
    for behind in (2, 20):  # behind the start, and behind JFIF
        made = content[:behind] + segment + content[behind:]
        assert np.array_equal(pixels(made), pixels(content))  # type: ignore[arg-type]
        assert np.array_equal(pixels(made[:-2]), pixels(content))  # type: ignore[arg-type]


def test_orientation_and_thumbnail_survive_mending() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    thumbnail = b"\xff\xe1\0" + bytes([2 + 8 + 40]) + b"Thumb\0\0\0" + saved(scene("grey", "L"))[:40]
    content = saved(scene("smooth", "RGB"), exif=exif)
    made = content[:2] + thumbnail + content[2:-2]
    assert np.array_equal(pixels(made), pixels(content))  # type: ignore[arg-type]
    assert decode(made).size == (29, 37)


def test_several_pictures_in_one_file() -> None:
    stream = io.BytesIO()
    scene("smooth", "RGB").save(stream, "MPO", save_all=True, append_images=[scene("grey", "RGB")], quality=90)
    found = pixels(stream.getvalue())
    assert np.array_equal(found, pixels(saved(scene("smooth", "RGB"), quality=90)))  # type: ignore[arg-type]
