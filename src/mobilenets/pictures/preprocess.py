"""From a picture of any size to the numbers a network takes: the contract that travels inside every model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.text import printable
from mobilenets.errors import InputError

RESIZES = ("crop", "stretch", "pad")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Bilinear rules without antialiasing, which Pillow lacks, and where their first output stands in its share of the
# picture. Networks trained with them expect such pixels.
UNFILTERED = {"corner": 0.0, "linear": 0.5}
MAX_SIZE = 4096
# How far each filter reaches, in pixels of the wider grid.
REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
# Between the passes, pixels from which on each channel is resized by itself: Pillow's RGB takes 4 bytes a pixel.
MANY = 1 << 26
# Numbers that stay in a core's cache while they are normalised.
IN_CACHE = 1 << 16

ENOUGH = 5
"""A picture decoded at this many times the size that ``fit`` needs gives nearly the same pixels as the full picture."""

Levels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Triple = tuple[float, float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """What happens between the decoded picture and the network, to the pixel.

    The picture is upright RGB as ``decode`` gives it (``color``, ``orientation``). ``resize`` is one of

    - ``crop``: the shorter side becomes ``round(size / crop_fraction)``, the longer side keeps the aspect
      ratio and is rounded down; the middle ``size`` x ``size`` is kept, its left and upper offset
      ``round((side - size) / 2)``. These are the roundings of torchvision's Resize and CenterCrop.
    - ``stretch``: both sides become ``size``; the aspect ratio is lost.
    - ``pad``: the longer side becomes ``size``, the shorter side keeps the aspect ratio (rounded, at least
      1), and the rest is filled with ``fill``; where it is odd, the right or lower border is the wider one.

    Every ``round`` takes a half to the even neighbour, as Python does. ``interpolation`` is Pillow's filter
    of that name, which widens when shrinking (antialiasing; ``nearest`` does not). The rows are filtered first and
    rounded to whole levels, then the columns, whatever the picture's shape: left to itself Pillow takes tall
    pictures the other way round from version 13 on, which gives other pixels. Between the two passes there are
    at most ``size`` x the picture's height. Bilinear without antialiasing are ``corner``, TensorFlow 1's
    ``resize_bilinear``, and ``linear``, PyTorch's ``interpolate``: in float32, and not rounded to levels.
    Then each channel becomes ``(value * scale - mean) / std``, with values from 0 to 255.

    Raises InputError when a setting is malformed.
    """

    size: int
    resize: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    scale: float = 1 / 255
    color: str = "RGB"
    orientation: str = "exif"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        _whole("size", self.size, 1, MAX_SIZE)
        _known("resize", self.resize, RESIZES)
        _known("interpolation", self.interpolation, (*INTERPOLATIONS, *UNFILTERED))
        _known("color", self.color, ("RGB",))
        _known("orientation", self.orientation, ("exif",))
        fraction, scale = _number("crop_fraction", self.crop_fraction), _number("scale", self.scale)
        if not 0.01 <= fraction <= 1:
            raise InputError(f"preprocessing: crop_fraction must be from 0.01 to 1, not {fraction}")
        mean = tuple(_number("mean", value) for value in _three("mean", self.mean))
        std = tuple(_number("std", value) for value in _three("std", self.std))
        fill = tuple(_whole("fill", value, 0, 255) for value in _three("fill", self.fill))
        if min(std) <= 0:
            raise InputError(f"preprocessing: std must be above 0, not {list(std)}")
        if scale <= 0:
            raise InputError(f"preprocessing: scale must be above 0, not {scale}")
        # A contract read from JSON equals the one written: 1 and 1.0, lists and tuples come out the same.
        for name, value in (("crop_fraction", fraction), ("scale", scale), ("mean", mean), ("std", std)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "fill", fill)
        with np.errstate(all="ignore"):
            ends = self.normalise(np.array([[0] * 3, [255] * 3], np.uint8))
        if not np.isfinite(ends).all():
            raise InputError("preprocessing: scale, mean and std lead to numbers outside the range of float32")

    def __call__(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Upright RGB picture of any size to float32 of shape (size, size, 3)."""
        return self.normalise(self.fitted(image))

    def fit(self, image: Image.Image) -> Image.Image:
        """Upright RGB picture of any size to RGB of ``size`` x ``size``: geometry only, in whole levels, a half up."""
        pixels = self.fitted(image)
        if self.interpolation in UNFILTERED:
            pixels = np.floor(pixels + np.float32(0.5)).astype(np.uint8)
        return Image.fromarray(pixels)

    def fitted(self, image: Image.Image) -> Levels:
        """Upright RGB picture of any size to (size, size, 3) from 0 to 255: uint8, float32 where it is not rounded."""
        if image.mode != "RGB":
            raise InputError(f"preprocessing takes an RGB picture, as decode() gives it, not mode {image.mode}")
        if 0 in image.size:
            raise InputError("preprocessing takes a picture of at least one pixel")
        target, everything = (self.size, self.size), (0, 0, image.width, image.height)
        if self.resize == "crop":
            return _resized(image, target, self.interpolation, self._crop_box(*image.size))
        if self.resize == "stretch":
            return _resized(image, target, self.interpolation, everything)
        longer = max(image.size)
        width, height = (max(1, round(self.size * side / longer)) for side in image.size)
        fitted = _resized(image, (width, height), self.interpolation, everything)
        left, upper = (self.size - width) // 2, (self.size - height) // 2
        canvas = np.empty((self.size, self.size, 3), fitted.dtype)
        canvas[:] = self.fill
        canvas[upper : upper + height, left : left + width] = fitted
        return canvas

    def seen(self, width: int, height: int) -> Box:
        """Say which part of a picture of width × height the square shows: left, upper, right and lower, in its pixels.

        Where it is padded these lie beyond the picture.
        """
        if self.resize == "crop":
            return self._crop_box(width, height)
        if self.resize == "stretch":
            return 0.0, 0.0, float(width), float(height)
        ends = []
        for side in (width, height):
            fitted = max(1, round(self.size * side / max(width, height)))
            before = (self.size - fitted) // 2
            ends.append((-before * side / fitted, (self.size - before) * side / fitted))
        (left, right), (upper, lower) = ends
        return left, upper, right, lower

    def surplus(self, width: int, height: int) -> float:
        """Say how many times smaller per side ``decode`` may make a JPEG of width × height.

        What ``fit`` gives then differs by little: see docs/data.md for how little, and benchmarks/decode.py.
        """
        if self.interpolation in ("nearest", *UNFILTERED):  # each pixel of its counts
            return 1.0
        if self.resize == "pad":
            return max(width, height) / (ENOUGH * self.size)
        resized = round(self.size / self.crop_fraction) if self.resize == "crop" else self.size
        return min(width, height) / (ENOUGH * resized)

    def normalise(self, pixels: Levels, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Pixels of shape (..., 3), values 0 to 255, to float32 of that shape: ``out``, contiguous, or a new array."""
        numbers = np.empty(pixels.shape, np.float32) if out is None else out
        if not pixels.size:
            return numbers
        # NumPy is slow where what it repeats is as short as three, and where numbers leave the cache between the steps.
        width = pixels.shape[-2] if pixels.ndim > 2 else 1
        mean, std = (np.tile(np.array(values, np.float32), width) for values in (self.mean, self.std))
        sources, rows = pixels.reshape(-1, 3 * width), numbers.reshape(-1, 3 * width)
        together = max(1, IN_CACHE // (3 * width))
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            np.multiply(sources[start : start + together], np.float32(self.scale), out=part, dtype=np.float32)
            part -= mean
            part /= std
        return numbers

    def planes(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Do the same to N x H x W x 3, with each channel by itself in memory: what a graph of ONNX takes uncopied."""
        numbers = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        numbers *= np.float32(self.scale)
        numbers -= np.array(self.mean, np.float32)[:, None, None]
        numbers /= np.array(self.std, np.float32)[:, None, None]
        return numbers.transpose(0, 2, 3, 1)

    def to_json(self) -> dict[str, Any]:
        """The contract as plain JSON values; ``from_json`` gives back an equal contract."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: object) -> Preprocessing:
        """Read what ``to_json`` wrote.

        Raises InputError for anything malformed, also for keys that are missing or unknown: a contract that
        is half understood would give wrong answers silently.
        """
        if not isinstance(value, dict):
            raise InputError("preprocessing must be a JSON object")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(map(str, value.keys() - known)):
            raise InputError(
                f"preprocessing has keys that this version does not know: {', '.join(map(printable, unknown))}"
            )
        if missing := sorted(known - value.keys()):
            raise InputError(f"preprocessing lacks {', '.join(missing)}")
        return cls(**value)

    def _crop_box(self, width: int, height: int) -> Box:
        """The part of the source, in its own pixels, that "crop" keeps.

        Resampling this part gives the pixels of resizing the whole and cropping (but for roundings inside
        Pillow), without ever holding the whole: a strip of 1 x 5000 would become 256 x 1280000 first.
        """
        shorter, resized = min(width, height), round(self.size / self.crop_fraction)
        starts, ends = [], []
        for side in (width, height):
            scaled = resized * side // shorter
            offset = round((scaled - self.size) / 2)
            starts.append(side * offset / scaled)
            ends.append(side * (offset + self.size) / scaled)
        return starts[0], starts[1], ends[0], ends[1]


def _resized(image: Image.Image, size: tuple[int, int], interpolation: str, box: Box) -> Levels:
    """Resample ``box`` to width × height of ``size``; gives height × width × 3."""
    if interpolation in UNFILTERED:
        return _unfiltered(image, size, UNFILTERED[interpolation], box)
    return np.asarray(_filtered(image, size, interpolation, box))


def _filtered(image: Image.Image, size: tuple[int, int], interpolation: str, box: Box) -> Image.Image:
    """Filter the rows of ``box`` to the width of ``size``, then the columns to its height.

    Two calls of Pillow, each of which finds nothing to do in the other direction.
    """
    resample = INTERPOLATIONS[interpolation]
    if interpolation == "nearest":
        return image.resize(size, resample, box=box)
    width, height = size
    # Pillow takes float32. Less a whole number it stays exact, so cutting rows away changes no pixel.
    left, upper, right, lower = np.array(box, np.float32).tolist()
    reach = REACH[interpolation] * max((lower - upper) / height, 1) + 1
    first, last = max(0, math.floor(upper - reach)), min(image.height, math.ceil(lower + reach))
    if last - first > 0.75 * image.height:  # to copy them takes longer
        first, last = 0, image.height
    if image.mode == "RGB" and width * (last - first) > MANY:
        return Image.merge("RGB", [_filtered(one, size, interpolation, box) for one in image.split()])
    rows = image.crop((0, first, image.width, last)) if last - first < image.height else image
    rows = rows.resize((width, rows.height), resample, box=(left, 0, right, rows.height))
    return rows.resize(size, resample, box=(0, upper - first, width, lower - first))


def _unfiltered(image: Image.Image, size: tuple[int, int], middle: float, box: Box) -> npt.NDArray[np.float32]:
    """Resample ``box`` of an RGB picture between the pixels around each output; ``middle`` as in ``UNFILTERED``.

    TensorFlow's ``resize_bilinear_op.cc`` without half_pixel_centers, or PyTorch's ``upsample_bilinear2d``.
    """
    pixels = np.asarray(image)
    spots = []
    for axis, side in ((1, image.height), (0, image.width)):
        begin, end = np.array([box[axis], box[axis + 2]], np.float32).tolist()
        at = (np.arange(size[axis], dtype=np.float32) + np.float32(middle)) * np.float32((end - begin) / size[axis])
        at = np.maximum(at + np.float32(begin - middle), np.float32(0))
        low = np.minimum(at.astype(np.intp), side - 1)
        spots.append((low, np.minimum(low + 1, side - 1), at - low.astype(np.float32)))
    (*lines, down), (*columns, across) = spots
    rows = []
    for line in lines:
        here, beside = (pixels[line[:, None], column].astype(np.float32) for column in columns)
        rows.append(here + (beside - here) * across[:, None])
    return np.asarray(rows[0] + (rows[1] - rows[0]) * down[:, None, None], np.float32)


def _known(name: str, value: object, names: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in names:
        raise InputError(f"preprocessing: {name} must be {' or '.join(names)}, not {value!r}")


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"preprocessing: {name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def _number(name: str, value: object) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an int beyond every float
        pass
    raise InputError(f"preprocessing: {name} must consist of finite numbers, not {value!r:.40}")


def _three(name: str, value: object) -> tuple[object, object, object]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise InputError(f"preprocessing: {name} must be three numbers, one per channel, not {value!r}")
    return value[0], value[1], value[2]
