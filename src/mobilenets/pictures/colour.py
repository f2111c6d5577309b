"""From a decoded picture to RGB in sRGB, 8 bit, on white."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, cast

import numpy as np
from PIL import Image, TiffImagePlugin

from mobilenets.pictures import tiff

_GREY = ("1", "L", "LA", "La")


def as_seen(picture: Image.Image) -> Image.Image:
    """RGB in sRGB, on white, not yet upright."""
    profile = picture.info.get("icc_profile")
    if picture.mode[0] in "IF":
        picture = _eight_bit_grey(picture)
    if picture.mode == "CMYK":
        if picture.format in ("JPEG", "MPO") and "adobe" not in picture.info:
            # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted.
            picture = Image.eval(picture, lambda ink: 255 - ink)
        return _in_srgb(picture, profile, "CMYK") or picture.convert("RGB")
    seen = _on_white(picture)
    if not profile:
        return seen
    return _in_srgb(seen, profile, "L" if picture.mode in _GREY else "RGB") or seen


def _on_white(picture: Image.Image) -> Image.Image:
    key = picture.info.get("transparency")
    if picture.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and key is None:
        return picture.convert("RGB")
    if isinstance(key, tuple) and max(key) > 255:
        # A 16-bit PNG's transparent colour; its pixels keep their high byte, so the key does too.
        picture = picture.copy()
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Modes I;16 (and its byte orders), I and F to L; Pillow's own conversion would clip at 255."""
    white: float | None = None
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        values, white, inverted = tiff.levels(picture)
    else:
        values, inverted = np.asarray(picture), False
        if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
            white = 65535
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = float(numbers.min()), float(numbers.max())
    if white is None:
        whites = (255, 65535) if picture.mode == "I" else (1, 255, 65535)
        white = next((float(white) for white in whites if low >= 0 and high <= white), None)
    if white is None:
        numbers -= low
        white = (high - low) or 1.0
    grey = np.rint(numbers * (255 / white)).astype(np.uint8)
    if inverted:
        grey = 255 - grey
    key = picture.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


def _in_srgb(picture: Image.Image, profile: Any, mode: str) -> Image.Image | None:
    """The picture converted from its profile, or None where there is nothing to convert or no way to."""
    if not isinstance(profile, bytes):
        return None
    transform = transform_to_srgb(profile, mode)
    if transform is None:
        return None
    try:
        return cast(Image.Image, transform.apply(picture.convert(mode)))
    except Exception:  # a profile that cannot be used does not make a bad picture
        return None


@lru_cache(maxsize=16)
def transform_to_srgb(profile: bytes, mode: str) -> Any:
    """ImageCms transform from a profile to sRGB; None for an unusable one and for sRGB by any name."""
    # The header's data colour space (ICC.1:2022, 7.2.8) must be the picture's.
    if profile[16:20] != {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}[mode]:
        return None
    try:
        from PIL import ImageCms  # an optional part of Pillow

        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Without its one-pixel cache a transform can be shared between threads.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        if mode == "CMYK":
            return transform
        ramp = np.linspace(0, 255, 9).round().astype(np.uint8)
        probe = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(27, 27, 3)
        before = Image.fromarray(probe).convert(mode)
        after = np.asarray(transform.apply(before), np.int16)
    except Exception:
        return None
    same = np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max() <= 2
    return None if same else transform
