"""A port of the preprocessing, written from the words of docs/preprocessing.md alone, beside the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.pictures.preprocess import Preprocessing

REACH = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


def curve(name: str, x: float) -> float:
    x = abs(x)
    if name == "bilinear":
        return 1 - x if x < 1 else 0.0
    if name == "bicubic":  # a = -0.5
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0
    if x == 0:
        return 1.0
    turn = np.pi * x
    return float(np.sin(turn) / turn * np.sin(turn / 3) / (turn / 3)) if x < 3 else 0.0


def filtered(lines: npt.NDArray[Any], name: str, start: float, end: float, size: int) -> npt.NDArray[np.int64]:
    """Filter along the first axis; ``start`` and ``end`` were rounded to float32."""
    there, step = len(lines), float(np.float32(end - start)) / size
    widened = max(step, 1.0)
    reach = REACH[name] * widened
    made = []
    for place in range(size):
        centre = start + (place + 0.5) * step
        first, last = max(0, int(centre - reach + 0.5)), min(there, int(centre + reach + 0.5))
        weights = [curve(name, (at - centre + 0.5) * (1.0 / widened)) for at in range(first, last)]
        total = 0.0
        for weight in weights:
            total += weight
        fixed = [int(w / total * 2**22 + (0.5 if w >= 0 else -0.5)) for w in weights]
        sums = sum(f * lines[at].astype(np.int64) for f, at in zip(fixed, range(first, last), strict=True))
        made.append(np.clip((sums + 2**21) >> 22, 0, 255))
    return np.array(made, np.int64)


def nearest(lines: npt.NDArray[Any], start: float, end: float, size: int) -> npt.NDArray[Any]:
    step = float(np.float32(end - start)) / size
    at, made = start + step * 0.5, []
    for _ in range(size):
        made.append(lines[int(at)])
        at += step
    return np.array(made)


def resized(
    pixels: npt.NDArray[Any], name: str, box: tuple[float, float, float, float], width: int, height: int
) -> npt.NDArray[Any]:
    left, upper, right, lower = (float(np.float32(side)) for side in box)
    if name == "nearest":
        return nearest(nearest(pixels.swapaxes(0, 1), left, right, width).swapaxes(0, 1), upper, lower, height)
    rows = filtered(pixels.swapaxes(0, 1), name, left, right, width).swapaxes(0, 1)
    return filtered(rows, name, upper, lower, height)


def port(pixels: npt.NDArray[np.uint8], p: dict[str, Any]) -> npt.NDArray[np.float32]:
    size, name = p["size"], p["interpolation"]
    height, width = pixels.shape[:2]
    if p["resize"] == "crop":
        short, starts, ends = round(size / p["crop_fraction"]), [], []
        for side in (width, height):
            scaled = short * side // min(width, height)
            offset = round((scaled - size) / 2)
            starts.append(side * offset / scaled)
            ends.append(side * (offset + size) / scaled)
        made = resized(pixels, name, (starts[0], starts[1], ends[0], ends[1]), size, size)
    elif p["resize"] == "stretch":
        made = resized(pixels, name, (0, 0, width, height), size, size)
    else:
        w, h = (max(1, round(size * side / max(width, height))) for side in (width, height))
        made = np.empty((size, size, 3), np.int64)
        made[:] = p["fill"]
        left, top = (size - w) // 2, (size - h) // 2
        made[top : top + h, left : left + w] = resized(pixels, name, (0, 0, width, height), w, h)
    numbers = made.astype(np.float32) * np.float32(p["scale"])
    return (numbers - np.array(p["mean"], np.float32)) / np.array(p["std"], np.float32)


SIZES = [(37, 53), (53, 37), (32, 32), (7, 5), (1, 40), (201, 64), (64, 201), (33, 32), (100, 99)]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    "settings",
    [
        {"size": 32},
        {"size": 31, "crop_fraction": 0.8},
        {"size": 48, "crop_fraction": 0.875},
        {"size": 24, "crop_fraction": 1.0, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"size": 29, "resize": "stretch"},
        {"size": 33, "resize": "pad", "fill": (1, 20, 255)},
    ],
)
def test_a_port_from_the_words_is_exact(settings: dict[str, Any], interpolation: str) -> None:
    rng = np.random.default_rng(0)
    preprocessing = Preprocessing(**settings, interpolation=interpolation)
    for width, height in SIZES:
        # Noise, with parts at both ends of the range, where a filter overshoots.
        pixels = np.clip(rng.normal(128, 160, (height, width, 3)), 0, 255).astype(np.uint8)
        found = preprocessing(Image.fromarray(pixels))
        expected = port(pixels, preprocessing.to_json())
        assert found.dtype == expected.dtype == np.float32
        assert np.array_equal(found, expected), (width, height)
