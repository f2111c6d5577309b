"""Words on pictures, in any script that an installed font can draw."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from mobilenets.drawing.style import LIGHT, can_draw, font_of

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout is the same with every build of Pillow.
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str) -> bool:
    """Say whether the installed fonts have every character of a text."""
    return can_draw(one_line(text))


def one_line(text: str) -> str:
    """The text in one line, composed, without spaces that nobody sees."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def length(text: str, size: int) -> float:
    """The width of a text in pixels."""
    return sum(_font(file, size).getlength(part) for file, part in _runs(text))


def fitting(text: str, size: int, width: float) -> str:
    """The text, or as much of its beginning as fits the width with an ellipsis."""
    line = one_line(text)
    if length(line, size) <= width:
        return line
    while line and length(line + "…", size) > width:
        line = line[:-1].rstrip()
    return line + "…"


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, color: str) -> None:
    """Write one line that begins at ``place``, left on the base line, in characters of ``size`` pixels."""
    x, y = place
    for file, part in _runs(text):
        font = _font(file, size)
        draw.text((x, y), part, fill=color, font=font, anchor="ls")
        x += font.getlength(part)


def caption_below(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text on a strip of paper below it."""
    size = max(14, picture.width // 18)
    strip = round(1.9 * size)
    whole = Image.new("RGB", (picture.width, picture.height + strip), LIGHT.paper)
    whole.paste(picture)
    line = fitting(text, size, picture.width - size)
    write(ImageDraw.Draw(whole), (size / 2, picture.height + 0.68 * strip), line, size, LIGHT.ink)
    return whole


def _runs(text: str) -> list[tuple[str, str]]:
    """The text in parts that one font can draw each; what none can is replaced by a sign that says so."""
    signs = [(font_of(sign), sign) for sign in one_line(text)]
    signs = [(file, sign) if file else (font_of(REPLACEMENT), REPLACEMENT) for file, sign in signs]
    parts = groupby(signs, key=lambda pair: pair[0])
    return [(str(file), "".join(sign for _, sign in pairs)) for file, pairs in parts]
