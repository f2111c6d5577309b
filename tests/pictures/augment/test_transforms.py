"""Augmentation: what moves goes where it should, and the same seed gives the same pixels."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from mobilenets.errors import InputError
from mobilenets.pictures.augment.crop import RandomResizedCrop
from mobilenets.pictures.augment.photometric import ColorJitter, RandomErasing
from mobilenets.pictures.augment.presets import KINDS, PRESETS, build, from_json
from mobilenets.pictures.augment.randaugment import OPERATIONS, RandAugment
from mobilenets.pictures.augment.transforms import (
    Affine,
    Compose,
    Fit,
    Flip,
    PadCrop,
    Transform,
    VerticalFlip,
    matrix,
    resample,
)
from mobilenets.pictures.preprocess import Preprocessing

BLACK = (0, 0, 0)
EVERY = (
    Fit(Preprocessing(24, mean=(0.1, 0.2, 0.3), resize="pad")),
    RandomResizedCrop(24, (0.2, 0.9), (0.5, 2.0), "lanczos"),
    PadCrop(24, 3, "reflect"),
    PadCrop(24, 3, (1, 2, 3)),
    Affine(30, 0.1, 5, (0.9, 1.3), "reflect"),
    Flip(0.3),
    VerticalFlip(1),
    ColorJitter(0.1, 0.2, 0.3, 0.4),
    RandomErasing(0.7, (0.1, 0.2), (0.5, 3), (9, 8, 7)),
    RandomErasing(1.0),
    RandAugment(3, 12.5, "nearest"),
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def dot(x: int, y: int, size: int = 33) -> Image.Image:
    image = Image.new("RGB", (size, size))
    image.putpixel((x, y), (255, 255, 255))
    return image


def brightest(image: Image.Image) -> tuple[int, int]:
    y, x = np.unravel_index(np.asarray(image).sum(2).argmax(), (image.height, image.width))
    return int(x), int(y)


def seeded(transform: Transform, image: Image.Image, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray(transform(image, np.random.default_rng(seed)))


# --- all of them


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: t.kind)
def test_same_seed_same_pixels_and_the_source_stays(transform: Transform) -> None:
    image = noise(24, 24)
    before = image.tobytes()
    np.random.seed(1)
    first = seeded(transform, image, 5)
    np.random.seed(2)
    assert np.array_equal(first, seeded(transform, image, 5))
    assert image.tobytes() == before
    if transform.kind not in ("fit", "vertical_flip"):
        others = [seeded(transform, image, seed) for seed in range(6, 26)]
        assert any(not np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: t.kind)
def test_global_generator_is_left_alone(transform: Transform) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    seeded(transform, noise(24, 24))
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("transform", [*EVERY, Compose(EVERY)], ids=lambda t: t.kind)
def test_json_round_trip(transform: Transform) -> None:
    assert from_json(json.loads(json.dumps(transform.to_json()))) == transform


def test_every_kind_is_tried() -> None:
    assert {transform.kind for transform in EVERY} | {"compose"} == set(KINDS)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (40, 30)])
def test_presets_give_the_network_its_size_and_survive_json(name: str, shape: tuple[int, int]) -> None:
    preprocessing = Preprocessing(20)
    preset = build(name, preprocessing)
    assert from_json(json.loads(json.dumps(preset.to_json()))) == preset
    assert build(preset.to_json()["transforms"], preprocessing) == preset
    for seed in range(5):
        out = preset(noise(*shape), np.random.default_rng(seed))
        assert (out.mode, out.size) == ("RGB", (20, 20))


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"none"}))
def test_presets_but_none_change_pictures(name: str) -> None:
    preset = build(name, Preprocessing(32))
    assert len({seeded(preset, noise(40, 40), seed).tobytes() for seed in range(12)}) > 6


def test_digits_are_never_mirrored() -> None:
    kinds = {transform.kind for transform in build("digits", Preprocessing(28)).transforms}
    assert not kinds & {"flip", "vertical_flip"}


# --- geometry


def test_flips_are_exact_mirrors() -> None:
    image = noise(7, 5)
    pixels = np.asarray(image)
    assert np.array_equal(seeded(Flip(1), image), pixels[:, ::-1])
    assert np.array_equal(seeded(VerticalFlip(1), image), pixels[::-1])
    assert np.array_equal(seeded(Flip(0), image), pixels)
    flipped = sum(np.array_equal(seeded(Flip(0.3), image, seed), pixels[:, ::-1]) for seed in range(1000))
    assert 240 < flipped < 360


@pytest.mark.parametrize("fill", [BLACK, "nearest", "reflect"])
@pytest.mark.parametrize("shape", [(1, 1), (31, 18)])
def test_affine_at_rest_is_exact(fill: Any, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    assert np.array_equal(seeded(Affine(fill=fill), image), np.asarray(image))


@pytest.mark.parametrize("fill", [BLACK, "nearest", "reflect"])
@pytest.mark.parametrize(("angle", "quarters"), [(90, 1), (180, 2), (-90, -1)])
def test_quarter_turns_are_counter_clockwise(fill: Any, angle: float, quarters: int) -> None:
    image = noise(16, 16)
    turned = resample(image, matrix(angle, (0, 0), 0, (1, 1), image.size), fill)
    change = np.asarray(turned).astype(int) - np.rot90(np.asarray(image), quarters)
    assert np.abs(change).max() <= 1  # the sine of half a turn is not quite zero, and Pillow rounds down


def test_known_moves_bring_a_point_to_the_right_place() -> None:
    right_of_centre, size = dot(26, 16), (33, 33)  # ten pixels right of the centre (16, 16)

    def moved(angle: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float]) -> Any:
        return brightest(resample(right_of_centre, matrix(angle, shift, shear, zoom, size), BLACK))

    step = 10 / math.sqrt(2)
    assert moved(45, (0, 0), 0, (1, 1)) == (round(16 + step), round(16 - step))  # up is the smaller y
    assert moved(0, (-5 / 33, 4 / 33), 0, (1, 1)) == (21, 20)
    assert moved(90, (3 / 33, 0), 0, (1, 1)) == (19, 6)  # turned first, then shifted
    assert moved(0, (0, 0), 0, (2, 1)) == (21, 16)  # twice as much is seen, so half as far out
    assert moved(0, (0, 0), 30, (1, 1)) == (28, 22)  # x' = 10 / cos 30, y' = x' sin 30


@given(st.floats(-180, 180), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(-80, 80), st.floats(0.2, 5))
@settings(max_examples=60, deadline=None)
def test_matrix_is_keras_product(angle: float, right: float, down: float, shear: float, zoom: float) -> None:
    """Rotation, shift, shear and zoom multiplied in ImageDataGenerator's order, written in x and y."""
    turn, slant = math.radians(angle), math.radians(shear)
    rotate = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    shift = np.array([[1, 0, -right * 40], [0, 1, -down * 30], [0, 0, 1]])
    lean = np.array([[math.cos(slant), 0, 0], [-math.sin(slant), 1, 0], [0, 0, 1]])
    product = rotate @ shift @ lean @ np.diag([zoom, 1.5, 1])
    assert np.allclose(matrix(angle, (right, down), shear, (zoom, 1.5), (40, 30)), product[:2])


def test_fills_go_on_as_promised() -> None:
    row = Image.fromarray(np.array([[[10] * 3, [20] * 3, [30] * 3, [40] * 3]], np.uint8))
    to_the_right = ((1.0, 0.0, -3.0), (0.0, 1.0, 0.0))
    for fill, wanted in (
        ((7, 7, 7), [7, 7, 7, 10]),
        ("nearest", [10, 10, 10, 10]),
        ("reflect", [30, 20, 10, 10]),
    ):
        assert np.asarray(resample(row, to_the_right, fill))[0, :, 0].tolist() == wanted


@given(
    st.floats(0, 180),
    st.floats(0, 1),
    st.floats(0, 89),
    st.integers(0, 99),
    st.sampled_from(["nearest", "reflect"]),
)
@settings(max_examples=60, deadline=None)
def test_edge_fills_leave_no_hole(rotation: float, shift: float, shear: float, seed: int, fill: str) -> None:
    image = Image.new("RGB", (23, 11), (200, 100, 50))
    out = seeded(Affine(rotation, shift, shear, (0.5, 3.0), fill), image, seed)
    assert (out == (200, 100, 50)).all()


@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 99), st.sampled_from(["nearest", "reflect"]))
@settings(max_examples=60, deadline=None)
def test_pad_crop_equals_padding_and_slicing(size: int, padding: int, seed: int, fill: str) -> None:
    image = noise(size, size)
    mode: Any = {"nearest": "edge", "reflect": "symmetric"}[fill]
    padded = np.pad(np.asarray(image), ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    rng = np.random.default_rng(seed)
    left, top = int(rng.integers(2 * padding + 1)), int(rng.integers(2 * padding + 1))
    out = seeded(PadCrop(size, padding, fill), image, seed)
    assert np.array_equal(out, padded[top : top + size, left : left + size])


def test_pad_crop_reaches_every_shift_and_fills_with_the_colour() -> None:
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    outs = [seeded(PadCrop(8, 2, (0, 0, 9)), image, seed) for seed in range(300)]
    assert len({out.tobytes() for out in outs}) == 25
    assert all(set(map(tuple, out.reshape(-1, 3).tolist())) <= {(255, 0, 0), (0, 0, 9)} for out in outs)


def test_pad_crop_refuses_a_picture_too_small() -> None:
    with pytest.raises(InputError, match="fit before"):
        seeded(PadCrop(32, 4), noise(20, 40))


def test_crop_areas_and_ratios_are_uniform_in_their_ranges() -> None:
    crop, rng = RandomResizedCrop(8, (0.2, 0.4), (0.5, 2.0)), np.random.default_rng(0)
    boxes = np.array([crop.box((1000, 1000), rng) for _ in range(4000)])
    left, top, width, height = boxes.T
    area, ratio = width * height / 1e6, np.log(width / height) / math.log(2)
    assert (left >= 0).all() and (top >= 0).all()
    assert (left + width <= 1000).all() and (top + height <= 1000).all()
    for share, low, high in ((area, 0.2, 0.4), (ratio, -1, 1)):
        counts = np.histogram(share, np.linspace(low, high, 11))[0]
        assert counts.sum() > 3950  # a few fall out at the ends by whole pixels
        assert counts.min() > 320 and counts.max() < 480


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_crop_stays_inside_any_picture(width: int, height: int, seed: int) -> None:
    left, top, across, down = RandomResizedCrop(8).box((width, height), np.random.default_rng(seed))
    assert across > 0 and down > 0 and 0 <= left <= width - across and 0 <= top <= height - down


def test_crop_of_everything_is_a_resize() -> None:
    image = noise(16, 16)
    out = RandomResizedCrop(8, (1, 1), (1, 1), "bicubic")(image, np.random.default_rng(0))
    assert np.array_equal(np.asarray(out), np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC)))


def test_crop_falls_back_to_the_middle_of_a_strip() -> None:
    assert RandomResizedCrop(8, (0.9, 1)).box((300, 30), np.random.default_rng(0)) == (130, 0, 40, 30)


# --- colour


class Fixed(np.random.Generator):
    """A generator whose uniform draws are all at one end, in a fixed order of steps."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, high, float)


def test_hue_by_a_third_makes_red_green_and_leaves_grey() -> None:
    image = Image.fromarray(np.array([[[200, 0, 0], [0, 200, 10], [90, 90, 90]]], np.uint8))
    out = np.asarray(ColorJitter(hue=1 / 3)(image, Fixed()))
    assert out.tolist() == [[[0, 200, 0], [10, 0, 200], [90, 90, 90]]]


@pytest.mark.parametrize(
    ("setting", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_single_colour_changes_agree_with_pillow(setting: str, enhancer: Any) -> None:
    image = noise(40, 30)
    ours = np.asarray(ColorJitter(**{setting: 0.4})(image, Fixed())).astype(int)
    assert np.abs(ours - np.asarray(enhancer(image).enhance(1.4))).max() <= 2  # its grey is rounded first


def test_colour_jitter_covers_its_range_evenly() -> None:
    image = Image.new("RGB", (4, 4), (100, 100, 100))
    levels = [int(seeded(ColorJitter(brightness=0.5), image, seed)[0, 0, 0]) for seed in range(2000)]
    counts = np.histogram(levels, np.linspace(50, 150, 6))[0]
    assert counts.sum() == 2000 and counts.min() > 320 and counts.max() < 480


def test_composed_steps_equal_one_after_the_other_in_any_order() -> None:
    pixels = np.random.default_rng(0).integers(80, 130, (20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    strengths = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.4, "hue": 0.1}
    seen = set()
    for order in itertools.permutations(range(4)):
        rng = Fixed()
        rng.permutation = lambda *_, order=order: np.array(order)  # type: ignore[method-assign, assignment]
        at_once = ColorJitter(**strengths)(image, rng)
        stepwise = image
        for step in order:
            name = list(strengths)[step]
            stepwise = ColorJitter(**{name: strengths[name]})(stepwise, Fixed())
        assert np.abs(np.asarray(at_once).astype(int) - np.asarray(stepwise)).max() <= 4
        seen.add(at_once.tobytes())
    assert len(seen) > 3
    rng = Fixed()
    assert {ColorJitter(**strengths)(image, rng).tobytes() for _ in range(200)} == seen


# --- erasing


@given(st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_erased_box_is_one_rectangle_within_area_and_ratio(seed: int) -> None:
    image = Image.new("RGB", (100, 100), (255, 255, 255))
    gone = (seeded(RandomErasing(1, (0.05, 0.3), (0.5, 2), BLACK), image, seed) == 0).all(2)
    rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert gone.sum() == height * width
    assert 0.045 < gone.mean() < 0.31
    assert 0.45 < height / width < 2.2


def test_erasing_happens_as_often_as_asked_and_with_noise() -> None:
    image = Image.new("RGB", (30, 30), (1, 2, 3))
    outs = [seeded(RandomErasing(0.25), image, seed) for seed in range(1000)]
    changed = [out for out in outs if (out != (1, 2, 3)).any()]
    assert 200 < len(changed) < 300
    assert len(np.unique(changed[0])) > 20


def test_a_box_that_cannot_fit_leaves_the_picture() -> None:
    image = noise(50, 1)
    assert np.array_equal(seeded(RandomErasing(1, (0.5, 0.9), (1, 1)), image), np.asarray(image))


# --- RandAugment


def test_the_papers_fourteen_operations() -> None:
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_at_level_zero_change_nothing_unless_without_strength(name: str) -> None:
    image = Image.fromarray((np.asarray(noise(20, 20)) // 2 + 30).astype(np.uint8))
    out = OPERATIONS[name](image, 0.0, BLACK)
    assert (out.tobytes() == image.tobytes()) == (name not in ("auto_contrast", "equalize"))


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_operations_at_full_level_change_much(name: str) -> None:
    image = Image.fromarray((np.asarray(noise(20, 20)) // 2 + 30).astype(np.uint8))
    for level in (1.0, -1.0):
        out = OPERATIONS[name](image, level, BLACK)
        assert out.size == image.size
        assert (np.asarray(out) != np.asarray(image)).mean() > 0.5


@given(st.integers(0, 1000), st.integers(1, 255), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_curves_agree_with_pillow(seed: int, spread: int, base: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, spread, (30, 30, 3)) + base
    image = Image.fromarray(np.minimum(pixels, 255).astype(np.uint8))
    equal = OPERATIONS["equalize"](image, 0, BLACK)
    assert equal.tobytes() == ImageOps.equalize(image).tobytes()
    stretched = np.asarray(OPERATIONS["auto_contrast"](image, 0, BLACK)).astype(int)
    assert np.abs(stretched - np.asarray(ImageOps.autocontrast(image))).max() <= 1
    solarized = OPERATIONS["solarize"](image, 0.5, BLACK)
    assert solarized.tobytes() == ImageOps.solarize(image, 128).tobytes()
    assert OPERATIONS["posterize"](image, -1, BLACK).tobytes() == ImageOps.posterize(image, 4).tobytes()


# --- hostile settings

NAN, INF = float("nan"), float("inf")
BAD = (
    None,
    "photo",
    [],
    {},
    {"kind": "sharpen"},
    {"kind": ["flip"]},
    {"kind": "flip", "probability": 2},
    {"kind": "flip", "probability": -0.1},
    {"kind": "flip", "probability": NAN},
    {"kind": "flip", "probability": True},
    {"kind": "flip", "probability": "0.5"},
    {"kind": "flip", "probability": 10**400},
    {"kind": "flip", "chance": 0.5},
    {"kind": "flip", "probability\n": 0.5},
    {"kind": "vertical_flip", "probability": None},
    {"kind": "random_resized_crop"},
    {"kind": "random_resized_crop", "size": 0},
    {"kind": "random_resized_crop", "size": 10**9},
    {"kind": "random_resized_crop", "size": 32.0},
    {"kind": "random_resized_crop", "size": 32, "area": [-0.5, 1]},
    {"kind": "random_resized_crop", "size": 32, "area": [0.9, 0.1]},
    {"kind": "random_resized_crop", "size": 32, "area": [0, 0]},
    {"kind": "random_resized_crop", "size": 32, "area": []},
    {"kind": "random_resized_crop", "size": 32, "area": 0.5},
    {"kind": "random_resized_crop", "size": 32, "ratio": [0, 1]},
    {"kind": "random_resized_crop", "size": 32, "ratio": [1, INF]},
    {"kind": "random_resized_crop", "size": 32, "interpolation": "cubic"},
    {"kind": "random_resized_crop", "size": 32, "interpolation": ["bicubic"]},
    {"kind": "pad_crop", "size": 32},
    {"kind": "pad_crop", "size": 32, "padding": -1},
    {"kind": "pad_crop", "size": 32, "padding": 1, "fill": "noise"},
    {"kind": "pad_crop", "size": 32, "padding": 1, "fill": [0, 0, 256]},
    {"kind": "pad_crop", "size": 32, "padding": 1, "fill": [0, 0, True]},
    {"kind": "pad_crop", "size": 32, "padding": 1, "fill": [0, 0]},
    {"kind": "affine", "rotation": 181},
    {"kind": "affine", "shift": -0.1},
    {"kind": "affine", "shear": 90},
    {"kind": "affine", "zoom": [0, 1]},
    {"kind": "affine", "zoom": 0.2},
    {"kind": "affine", "fill": "wrap"},
    {"kind": "color_jitter", "brightness": 1.5},
    {"kind": "color_jitter", "hue": 0.6},
    {"kind": "random_erasing", "area": [0.1, 1.1]},
    {"kind": "random_erasing", "fill": "nearest"},
    {"kind": "rand_augment", "count": 1.5},
    {"kind": "rand_augment", "count": -1},
    {"kind": "rand_augment", "magnitude": 31},
    {"kind": "rand_augment", "magnitude": INF},
    {"kind": "fit"},
    {"kind": "fit", "preprocessing": {"size": -1}},
    {"kind": "compose", "transforms": 3},
    {"kind": "compose", "transforms": [3]},
    {"kind": "compose", "transforms": [{"kind": "compose", "transforms": []}]},
)


@pytest.mark.parametrize("value", BAD, ids=lambda value: str(value)[:60])
def test_malformed_transforms_are_refused_in_one_line(value: object) -> None:
    with pytest.raises(InputError) as caught:
        from_json(value)
    message = str(caught.value)
    assert "\n" not in message and 10 < len(message) < 250


@pytest.mark.parametrize("spec", ["photos", "", 3, None, {"kind": "flip"}, ["flip"], [{"kind": "warp"}]])
def test_build_refuses_what_it_cannot_read(spec: Any) -> None:
    with pytest.raises(InputError):
        build(spec, Preprocessing(32))


def test_build_takes_what_is_left_out_from_the_network() -> None:
    network = Preprocessing(48, interpolation="lanczos")
    assert build([{"kind": "random_resized_crop", "area": [0.5, 1]}], network) == Compose(
        (RandomResizedCrop(48, (0.5, 1), interpolation="lanczos"),)
    )
    assert build([{"kind": "pad_crop", "padding": 4}], network) == Compose((Fit(network), PadCrop(48, 4)))
    assert build([{"kind": "fit"}, {"kind": "flip"}], network) == Compose((Fit(network), Flip()))
    assert build([{"kind": "flip"}, {"kind": "random_resized_crop"}], network) == Compose(
        (Flip(), RandomResizedCrop(48, interpolation="lanczos"))
    )
    assert build([], network) == build("none", network)


def test_build_refuses_another_size() -> None:
    with pytest.raises(InputError, match="size 32 is not the network's 48"):
        build([{"kind": "random_resized_crop", "size": 32}], Preprocessing(48))
    with pytest.raises(InputError, match="size 32 is not the network's 48"):
        build([{"kind": "fit", "preprocessing": Preprocessing(32).to_json()}], Preprocessing(48))


def test_every_preset_says_for_whom_it_is() -> None:
    assert all((preset.__doc__ or "").startswith("For ") for preset in PRESETS.values())
