"""Seeded augmentation of training pictures: the geometry, and what all transforms share.

A transform is a frozen dataclass called with a picture and a generator; it returns a new picture and draws
every random number from that generator, so the same picture and seed give the same pixels. ``Fit`` or
``RandomResizedCrop`` comes first and brings any picture to the network's size; the others keep the size.
"""

from __future__ import annotations

import math
import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.pictures.decode import Decoded
from mobilenets.pictures.preprocess import MAX_SIZE, Preprocessing

Fill: TypeAlias = tuple[int, int, int] | str
"""Beyond the border: an RGB colour, "nearest" (aaaa|abcd|dddd) or "reflect" (dcba|abcd|dcba, as Keras)."""

Row: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Transform(ABC):
    """A random change of one picture; settings are checked when it is made and raise InputError."""

    kind: ClassVar[str]

    @abstractmethod
    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the changed picture (RGB in, RGB out); ``image`` itself is left as it was."""

    def surplus(self, width: int, height: int) -> float:
        """Say how many times smaller per side a picture may be decoded, where this transform comes first."""
        return 1.0

    def before_chance(self, picture: Decoded) -> Decoded:
        """Do what is the same each time: what may be kept from one epoch to the next."""
        return picture

    def drawn(self, picture: Decoded, rng: np.random.Generator) -> Image.Image:
        """Return the changed picture, from what ``before_chance`` gave."""
        return self(picture.image, rng)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"kind": …, **settings}`` in plain JSON values; ``presets.from_json`` reads it back."""
        return {"kind": self.kind, **{field.name: plain(getattr(self, field.name)) for field in fields(self)}}

    def fault(self, name: str, wanted: str, value: object) -> InputError:
        """Return the error for a setting that is not what it must be."""
        shown = " ".join(reprlib.repr(value).split())
        return InputError(f"augmentation {self.kind}: {name} must be {wanted}, not {shown}")

    def check_number(self, name: str, low: float, high: float) -> None:
        """Raise InputError unless the setting is a number from ``low`` to ``high``."""
        value = getattr(self, name)
        if not is_number(value) or not low <= value <= high:
            raise self.fault(name, f"a number from {low:g} to {high:g}", value)

    def check_whole(self, name: str, low: int, high: int) -> None:
        """Raise InputError unless the setting is an int from ``low`` to ``high``."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fault(name, f"a whole number from {low} to {high}", value)

    def check_range(self, name: str, low: float, high: float) -> None:
        """Raise InputError unless the setting is a pair in rising order, from ``low`` to ``high``."""
        value = getattr(self, name)
        pair = isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))
        if not pair or not low <= value[0] <= value[1] <= high:
            raise self.fault(name, f"a pair [low, high] with {low:g} <= low <= high <= {high:g}", value)

    def check_fill(self, *words: str) -> None:
        """Raise InputError unless ``fill`` is one of ``words`` or a colour of three ints from 0 to 255."""
        value = getattr(self, "fill")  # noqa: B009  not every transform has one
        colour = isinstance(value, tuple) and len(value) == 3
        if colour and all(type(part) is int and 0 <= part <= 255 for part in value):
            return
        if not (isinstance(value, str) and value in words):
            raise self.fault("fill", f"{' or '.join(words)}, or three whole numbers from 0 to 255", value)


def is_number(value: object) -> bool:
    """Tell whether ``value`` is a finite int or float (a bool is neither)."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """Return a setting as JSON knows it."""
    if isinstance(value, Transform | Preprocessing):
        return value.to_json()
    return [plain(part) for part in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Compose(Transform):
    """One transform after the other, all drawing from the same generator; not nested."""

    kind: ClassVar[str] = "compose"
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        parts = self.transforms
        ok = isinstance(parts, tuple) and all(isinstance(part, Transform) for part in parts)
        if not ok or any(isinstance(part, Compose) for part in parts):
            raise self.fault("transforms", "a list of transforms other than compose", parts)

    @property
    def first(self) -> Transform | None:
        """The transform that takes the decoded picture."""
        return self.transforms[0] if self.transforms else None

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture after every transform."""
        return self.drawn(self.before_chance(Decoded(image)), rng)

    def surplus(self, width: int, height: int) -> float:
        """Say what the first transform says."""
        return 1.0 if self.first is None else self.first.surplus(width, height)

    def before_chance(self, picture: Decoded) -> Decoded:
        """Do what the first transform does without chance."""
        return picture if self.first is None else self.first.before_chance(picture)

    def drawn(self, picture: Decoded, rng: np.random.Generator) -> Image.Image:
        """Return the picture after every transform, from what ``before_chance`` gave."""
        image = picture.image if self.first is None else self.first.drawn(picture, rng)
        for transform in self.transforms[1:]:
            image = transform(image, rng)
        return image


@dataclass(frozen=True)
class Fit(Transform):
    """The geometry of evaluation, without chance: ``preprocessing.fit``."""

    kind: ClassVar[str] = "fit"
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if not isinstance(self.preprocessing, Preprocessing):
            raise self.fault("preprocessing", "a preprocessing", self.preprocessing)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture at the network's size."""
        return self.preprocessing.fit(image)

    def surplus(self, width: int, height: int) -> float:
        """Say what the preprocessing says."""
        return self.preprocessing.surplus(width, height)

    def before_chance(self, picture: Decoded) -> Decoded:
        """Do all of it."""
        return Decoded(self.preprocessing.fit(picture.image))

    def drawn(self, picture: Decoded, rng: np.random.Generator) -> Image.Image:
        """Return the picture as it is: ``before_chance`` did all."""
        return picture.image


@dataclass(frozen=True)
class PadCrop(Transform):
    """The CIFAR shift: ``padding`` pixels on each side, then a random ``size`` x ``size`` part.

    He et al. 2016, arXiv:1512.03385, section 4.2, with 4 pixels at 32. A picture that is not ``size`` x
    ``size`` must at least reach it once padded; ``Fit`` before this sees to it.
    """

    kind: ClassVar[str] = "pad_crop"
    size: int
    padding: int
    fill: Fill = (0, 0, 0)

    def __post_init__(self) -> None:
        self.check_whole("size", 1, MAX_SIZE)
        self.check_whole("padding", 0, MAX_SIZE)
        self.check_fill("nearest", "reflect")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the part at ``size`` x ``size``."""
        pad, size = self.padding, self.size
        if min(image.size) + 2 * pad < size:
            raise InputError(f"augmentation pad_crop: the picture is smaller than {size}; put fit before it")
        left = int(rng.integers(image.width + 2 * pad - size + 1))
        top = int(rng.integers(image.height + 2 * pad - size + 1))
        if isinstance(self.fill, str):
            return extend(image, pad, pad, pad, pad, self.fill).crop((left, top, left + size, top + size))
        canvas = Image.new("RGB", (size, size), self.fill)
        canvas.paste(image, (pad - left, pad - top))
        return canvas


@dataclass(frozen=True)
class Flip(Transform):
    """Left and right exchanged, with a probability."""

    kind: ClassVar[str] = "flip"
    turn: ClassVar[Image.Transpose] = Image.Transpose.FLIP_LEFT_RIGHT
    probability: float = 0.5

    def __post_init__(self) -> None:
        self.check_number("probability", 0, 1)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture or its mirror image."""
        return image.transpose(self.turn) if rng.random() < self.probability else image


@dataclass(frozen=True)
class VerticalFlip(Flip):
    """Top and bottom exchanged, with a probability: for tissue or aerial pictures."""

    kind: ClassVar[str] = "vertical_flip"
    turn: ClassVar[Image.Transpose] = Image.Transpose.FLIP_TOP_BOTTOM


@dataclass(frozen=True)
class Affine(Transform):
    """Rotation, shift, shear and zoom about the centre in one bilinear resample.

    ``rotation`` and ``shear`` are the largest angles in degrees to either side, ``shift`` the largest
    fraction of the width and of the height. ``zoom`` is the range of how much is seen along each axis,
    drawn for each by itself: 0.8 magnifies, 1.2 shows what lies beyond the border. All as in Keras'
    ImageDataGenerator, whose shear by s takes what stands at (x, y) from (x cos s, y - x sin s).
    """

    kind: ClassVar[str] = "affine"
    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    fill: Fill = "nearest"

    def __post_init__(self) -> None:
        self.check_number("rotation", 0, 180)
        self.check_number("shift", 0, 1)
        self.check_number("shear", 0, 89)
        self.check_range("zoom", 0.1, 10)
        self.check_fill("nearest", "reflect")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the picture moved, at its own size."""
        most = self.rotation, self.shear, self.shift, self.shift
        angle, shear, right, down = (rng.uniform(-1, 1, 4) * most).tolist()
        zoom_x, zoom_y = rng.uniform(*self.zoom, 2).tolist()
        return resample(image, matrix(angle, (right, down), shear, (zoom_x, zoom_y), image.size), self.fill)


def matrix(
    angle: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float], size: tuple[int, int]
) -> tuple[Row, Row]:
    """Return the 2 x 3 map from a point of the result to its source, both measured from the centre.

    ``angle`` turns what is seen counter-clockwise, in degrees; then ``shift`` moves it right and down, in
    fractions of ``size`` (width, height); then ``shear``, in degrees, and ``zoom`` act as in ``Affine``.
    """
    turn, slant = math.radians(angle), math.radians(shear)
    cosine, sine = math.cos(turn), math.sin(turn)
    right, down = shift[0] * size[0], shift[1] * size[1]
    # From result to source, so every step is undone; y points down. The shear turns the x axis alone.
    return (
        (math.cos(turn - slant) * zoom[0], -sine * zoom[1], sine * down - cosine * right),
        (math.sin(turn - slant) * zoom[0], cosine * zoom[1], -sine * right - cosine * down),
    )


def resample(image: Image.Image, centred: tuple[Row, Row], fill: Fill) -> Image.Image:
    """Return the picture resampled, same size: a 2 x 3 map about the centre says where points come from."""
    (a, b, c), (d, e, f) = centred
    x, y = image.width / 2, image.height / 2
    c, f = c + x - a * x - b * y, f + y - d * x - e * y
    if isinstance(fill, str):
        # Pillow fills only with a colour; otherwise the source is made as large as the result looks.
        across = [a * i + b * j + c for i in (0, image.width) for j in (0, image.height)]
        along = [d * i + e * j + f for i in (0, image.width) for j in (0, image.height)]
        left, top = beyond(-min(across)), beyond(-min(along))
        right, bottom = beyond(max(across) - image.width), beyond(max(along) - image.height)
        source, c, f = extend(image, left, top, right, bottom, fill), c + left, f + top
        fill = (0, 0, 0)
    else:
        source = image
    bilinear = Image.Resampling.BILINEAR
    return source.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), bilinear, fillcolor=fill)


def beyond(distance: float) -> int:
    """Return the pixels per side lacks when looked over by ``distance``; one more to interpolate with."""
    return math.ceil(distance) + 1 if distance > 1e-9 else 0


def extend(image: Image.Image, left: int, top: int, right: int, bottom: int, fill: str) -> Image.Image:
    """Return the picture with that many pixels more on each side, "nearest" or "reflect"."""
    if not (left or top or right or bottom):
        return image
    # One 32-bit number a pixel: numpy picks these several times faster than triples, and than np.pad pads.
    packed = np.asarray(image.convert("RGBX")).view(np.uint32)[..., 0]
    packed = packed.take(sources(left, image.width, right, fill), axis=1)
    packed = packed.take(sources(top, image.height, bottom, fill), axis=0)
    height, width = packed.shape
    return Image.frombuffer("RGBX", (width, height), packed, "raw", "RGBX", 0, 1).convert("RGB")


def sources(before: int, length: int, after: int, fill: str) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return for each place of an extended side the pixel of the picture that stands there."""
    places = np.arange(-before, length + after)
    if fill == "nearest":
        return np.clip(places, 0, length - 1)
    places %= 2 * length
    return np.minimum(places, 2 * length - 1 - places)
