"""Augmentations by name and from JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.pictures.augment.crop import RandomResizedCrop
from mobilenets.pictures.augment.presets import PRESETS, build, from_json
from mobilenets.pictures.augment.transforms import Compose, Fit, Flip, PadCrop
from mobilenets.pictures.preprocess import Preprocessing


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


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
    assert len({preset(noise(40, 40), np.random.default_rng(seed)).tobytes() for seed in range(12)}) > 6


def test_digits_are_never_mirrored() -> None:
    kinds = {transform.kind for transform in build("digits", Preprocessing(28)).transforms}
    assert not kinds & {"flip", "vertical_flip"}


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
