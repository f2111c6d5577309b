from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.pictures import preprocess as module
from mobilenets.pictures.preprocess import INTERPOLATIONS, RESIZES, UNFILTERED, Preprocessing


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (64, 64), (31, 47), (1, 9), (997, 10)])
@pytest.mark.parametrize(("size", "fraction"), [(32, 0.875), (31, 1.0), (33, 0.6)])
def test_crop_is_resize_and_centre_crop(
    interpolation: str, width: int, height: int, size: int, fraction: float
) -> None:
    """The one-step crop gives the pixels of torchvision's two steps, written out here.

    On a smooth picture: between its two passes Pillow rounds and clips, and it may choose their order by shape.
    """
    picture = noise(5, 5).resize((width, height), Image.Resampling.BICUBIC)
    short = round(size / fraction)
    if width <= height:
        resized = (short, int(short * height / width))
    else:
        resized = (int(short * width / height), short)
    left, upper = (round((side - size) / 2) for side in resized)
    whole = picture.resize(resized, INTERPOLATIONS[interpolation])
    expected = whole.crop((left, upper, left + size, upper + size))
    found = Preprocessing(size, crop_fraction=fraction, interpolation=interpolation).fit(picture)
    if interpolation == "nearest":
        # A sample point on the border of two pixels may fall either way; anything else must be equal.
        differing = np.asarray(found) != np.asarray(expected)
        assert differing.any(-1).mean() < 0.07
    else:
        assert apart(found, expected) <= 2


def test_crop_of_the_resized_size_is_a_plain_crop() -> None:
    picture = noise(256, 256)
    assert apart(Preprocessing(224).fit(picture), picture.crop((16, 16, 240, 240))) == 0


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (1, 1), (65535, 2)])
def test_extreme_shapes_need_little_memory(resize: str, width: int, height: int) -> None:
    picture = Image.new("RGB", (width, height), (10, 200, 30))
    tracemalloc.start()
    try:
        fitted = Preprocessing(224, resize=resize, fill=(10, 200, 30)).fit(picture)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fitted.size == (224, 224)
    assert fitted.getcolors() == [(224 * 224, (10, 200, 30))]
    assert peak < 1 << 22


def box_of(how: Preprocessing, width: int, height: int) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """The size that the picture becomes, and the part of it that is seen, written out once more."""
    if how.resize == "stretch":
        return (how.size, how.size), (0, 0, width, height)
    if how.resize == "pad":
        wide, high = (max(1, round(how.size * side / max(width, height))) for side in (width, height))
        return (wide, high), (0, 0, width, height)

    def seen(side: int) -> tuple[float, float]:
        scaled = round(how.size / how.crop_fraction) * side // min(width, height)
        offset = round((scaled - how.size) / 2)
        return side * offset / scaled, side * (offset + how.size) / scaled

    (left, right), (upper, lower) = seen(width), seen(height)
    return (how.size, how.size), (left, upper, right, lower)


def inner(how: Preprocessing, fitted: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, upper = ((how.size - side) // 2 for side in size)
    return fitted.crop((left, upper, left + size[0], upper + size[1]))


filters = st.sampled_from(["bilinear", "bicubic", "lanczos"])
shapes = st.one_of(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 30), st.integers(1, 2000)),
    st.tuples(st.integers(200, 400), st.integers(1, 1500)),
)
fractions = st.one_of(st.just(0.875), st.floats(0.05, 1))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 70), st.sampled_from(RESIZES), fractions, filters, shapes)
def test_rows_come_first_in_every_shape(
    size: int, resize: str, fraction: float, interpolation: str, shape: tuple[int, int]
) -> None:
    """Not cutting away rows gives the same, and so does one call, where no Pillow begins with the columns."""
    width, height = shape
    how, picture = Preprocessing(size, resize, fraction, interpolation), noise(width, height)
    (wide, high), (left, upper, right, lower) = box_of(how, width, height)
    kind = INTERPOLATIONS[interpolation]
    rows = picture.resize((wide, height), kind, box=(left, 0, right, height))
    expected = rows.resize((wide, high), kind, box=(0, upper, wide, lower))
    found = inner(how, how.fit(picture), (wide, high))
    assert apart(found, expected) == 0
    if height - high <= 2 * max(width - wide, 0):
        assert apart(found, picture.resize((wide, high), kind, box=(left, upper, right, lower))) == 0


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_pass_does_not_begin_the_other(interpolation: str) -> None:
    """What ``fit`` asks of Pillow: rows filtered together are as each by itself, and so are columns."""
    kind, picture = INTERPOLATIONS[interpolation], noise(19, 300)
    rows = np.asarray(picture.resize((7, 300), kind, box=(1.25, 0, 17.5, 300)))
    for y in range(300):
        alone = picture.crop((0, y, 19, y + 1)).resize((7, 1), kind, box=(1.25, 0, 17.5, 1))
        assert np.array_equal(rows[y], np.asarray(alone)[0])
    columns = np.asarray(picture.resize((19, 23), kind, box=(0, 3.5, 19, 288.75)))
    for x in range(19):
        alone = picture.crop((x, 0, x + 1, 300)).resize((1, 23), kind, box=(0, 3.5, 1, 288.75))
        assert np.array_equal(columns[:, x], np.asarray(alone)[:, 0])


def test_a_strip_is_never_resized_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    original = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *args: Any, **kwargs: Any) -> Image.Image:
        asked.append(size)
        return original(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", resize)
    Preprocessing(224).fit(Image.new("RGB", (1, 5000)))
    Preprocessing(224, resize="pad").fit(Image.new("RGB", (1, 5000)))
    assert asked == [(224, 8), (224, 224), (1, 5000), (1, 224)]


@pytest.mark.parametrize("resize", RESIZES)
def test_channels_by_themselves_give_the_same(resize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, how = noise(40, 700), Preprocessing(64, resize=resize)
    expected, merged = how.fit(picture), Image.merge
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(module, "MANY", 1000)
    monkeypatch.setattr(Image, "merge", lambda mode, bands: asked.append((mode, len(bands))) or merged(mode, bands))
    assert apart(how.fit(picture), expected) == 0
    assert asked == [("RGB", 3)]


def test_pad_puts_the_picture_in_the_middle() -> None:
    fitted = np.asarray(Preprocessing(11, resize="pad", fill=(1, 2, 3)).fit(Image.new("RGB", (44, 16), "white")))
    assert (fitted[3:7] == 255).all()  # 16 * 11 / 44 = 4 rows; of the 7 others 3 above and 4 below
    assert (fitted[:3] == (1, 2, 3)).all()
    assert (fitted[7:] == (1, 2, 3)).all()


def test_pad_keeps_at_least_one_row() -> None:
    fitted = np.asarray(Preprocessing(8, resize="pad").fit(Image.new("RGB", (5000, 1), "white")))
    assert (fitted == 255).all(axis=(1, 2)).sum() == 1


def test_stretch_fills_the_square() -> None:
    picture = noise(50, 20)
    expected = picture.resize((32, 32), Image.Resampling.BICUBIC)
    assert apart(Preprocessing(32, resize="stretch").fit(picture), expected) == 0


def test_fit_leaves_the_picture_alone() -> None:
    picture = noise(20, 20)
    before = picture.tobytes()
    for resize in RESIZES:
        Preprocessing(20, resize=resize, crop_fraction=1.0).fit(picture).putpixel((0, 0), (1, 2, 3))
    assert picture.tobytes() == before


def test_normalise_is_the_stated_formula() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    found = Preprocessing(16, mean=mean, std=std).normalise(pixels)
    expected = (pixels.astype(np.float64) / 255 - mean) / std
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6
    assert pixels.dtype == np.uint8 and pixels[0, 1, 0] == 1


def test_normalise_takes_batches() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    contract = Preprocessing(5)
    assert contract.normalise(batch).shape == batch.shape
    assert np.array_equal(contract.normalise(batch)[1, 2], contract.normalise(batch[1, 2]))
    assert (contract.normalise(np.zeros((1, 3), np.uint8)) == -1).all()
    assert (contract.normalise(np.full((1, 3), 255, np.uint8)) == 1).all()


def test_call_is_fit_then_normalise() -> None:
    contract, picture = Preprocessing(16), noise(40, 30)
    found = contract(picture)
    assert found.shape == (16, 16, 3)
    assert np.array_equal(found, contract.normalise(np.asarray(contract.fit(picture))))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "F"])
def test_only_rgb_is_taken(mode: str) -> None:
    with pytest.raises(InputError, match=f"not mode {mode}"):
        Preprocessing(8).fit(Image.new(mode, (9, 9)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from(RESIZES),
    st.floats(0.01, 1),
    st.sampled_from(sorted(INTERPOLATIONS)),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_every_shape_fits(size: int, resize: str, fraction: float, interpolation: str, width: int, height: int) -> None:
    contract = Preprocessing(size, resize, fraction, interpolation)
    assert contract.fit(Image.new("RGB", (width, height))).size == (size, size)


def test_planes_are_the_same_numbers_apart() -> None:
    contract = Preprocessing(8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 5, 3), np.uint8)
    found = contract.planes(pixels)
    np.testing.assert_array_equal(found, contract.normalise(pixels))
    assert found.transpose(0, 3, 1, 2).flags.c_contiguous


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(("width", "height"), [(61, 97), (20, 33), (1, 7), (33, 20)])
@pytest.mark.parametrize(("interpolation", "middle"), UNFILTERED.items())
def test_rules_without_antialiasing(resize: str, width: int, height: int, interpolation: str, middle: float) -> None:
    """Held against a loop over output pixels."""
    how, picture = Preprocessing(32, resize, interpolation=interpolation), noise(width, height)
    pixels, found = np.asarray(picture).astype(float), how.fitted(picture)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(how.fit(picture), np.floor(found + np.float32(0.5)))
    np.testing.assert_array_equal(how(picture), how.normalise(found))
    left, upper, right, lower = how.seen(width, height)
    checked = 0
    for row in range(0, 32, 3):
        for column in range(0, 32, 5):
            x = left + (column + middle) * (right - left) / 32
            y = upper + (row + middle) * (lower - upper) / 32
            if not (0 <= x < width and 0 <= y < height):
                continue  # padding
            x, y = max(x - middle, 0), max(y - middle, 0)
            (x0, y0), (x1, y1) = (int(x), int(y)), (min(int(x) + 1, width - 1), min(int(y) + 1, height - 1))
            top = pixels[y0, x0] + (pixels[y0, x1] - pixels[y0, x0]) * (x - x0)
            bottom = pixels[y1, x0] + (pixels[y1, x1] - pixels[y1, x0]) * (x - x0)
            assert np.abs(found[row, column] - (top + (bottom - top) * (y - y0))).max() < 1e-3
            checked += 1
    assert checked > 8
    assert how.surplus(9000, 9000) == 1


def test_linear_is_pytorchs() -> None:
    picture = noise(61, 97)
    found = Preprocessing(32, "stretch", interpolation="linear").fitted(picture)
    given = torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(given, (32, 32), mode="bilinear")[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 1e-3
