"""Pictures that several scripts measure on: stamps, emoji, Fashion-MNIST, and noise that is as soft as a photo.

apt-get install tuxpaint-stamps-default fonts-noto-color-emoji unicode-data
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

STAMPS = Path("/usr/share/tuxpaint/stamps")
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI = Path("/usr/share/unicode/emoji/emoji-test.txt")
SIGN = 109  # pixels, the one size of the font


class Emoji(NamedTuple):
    """A line of Unicode's table: code points in hexadecimal, and the names of group and subgroup."""

    points: tuple[str, ...]
    group: str
    subgroup: str


def emoji_table(path: Path = EMOJI) -> Iterator[Emoji]:
    """Give every emoji once, in the order of Unicode's ``emoji-test.txt``."""
    group = subgroup = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif "; fully-qualified" in line:
            yield Emoji(tuple(line.partition(";")[0].split()), group, subgroup)


def drawn_emoji(points: tuple[str, ...], size: tuple[int, int], place: tuple[int, int]) -> Image.Image | None:
    """Draw an emoji on nothing, or None where the font does not have it."""
    layer = Image.new("RGBA", size)
    text = "".join(chr(int(point, 16)) for point in points)
    ImageDraw.Draw(layer).text(place, text, font=_font(), embedded_color=True)
    return layer if layer.getbbox() is not None else None


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), SIGN)


def on_white(layer: Image.Image) -> Image.Image:
    """Lay a picture with transparent parts on white."""
    picture = Image.new("RGB", layer.size, "white")
    picture.paste(layer, (0, 0), layer)
    return picture


def soft(rng: np.random.Generator, cells: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Draw ``cells`` (rows and columns) of noise, blurred to ``size`` (width and height)."""
    coarse = Image.fromarray(rng.integers(0, 256, (*cells, 3), np.uint8))
    return coarse.resize((int(size[0]), int(size[1])), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, quality: int) -> bytes:
    """Encode a picture as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def png(width: int, height: int, bits: int, packed: bytes) -> bytes:
    """Write a grey PNG of this size whose pixels are ``packed``, whatever they are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def write_fashion(folder: Path, parts: Mapping[str, tuple[str, Iterable[int]]]) -> None:
    """Write pictures of Fashion-MNIST (Debian's dataset-fashion-mnist, or a download) as PNG, a folder a class.

    ``parts`` names for each half what is taken: of ``train`` or ``validation`` those of so many numbers.
    """
    from mobilenets.base.cache import cache_folder
    from mobilenets.datasets.known import KNOWN
    from mobilenets.datasets.sources import SOURCES

    known = KNOWN["fashion_mnist"]
    found = SOURCES["fashion_mnist"](known.files, None, cache_folder() / "fashion_mnist", lambda *_: None)
    for half, (name, numbers) in parts.items():
        part = getattr(found, name)
        for number in numbers:
            place = folder / half / known.classes[int(part.labels[number])].replace("/", "-")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.pixels[number]).save(place / f"{number:05}.png")
