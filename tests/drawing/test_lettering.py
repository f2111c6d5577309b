"""Words on pictures: nothing overflows, nothing that no font has comes out as a box without notice."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mobilenets.drawing.lettering import REPLACEMENT, caption_below, drawable, fitting, length, write

UNASSIGNED = chr(0x0378)


def drawn(text: str) -> Image.Image:
    image = Image.new("L", (300, 40), 255)
    write(ImageDraw.Draw(image), (4, 30), text, 20, "#000000")
    return image


def test_drawable() -> None:
    assert drawable("Größe, élan, пластик 97 %")
    assert not drawable("a" + UNASSIGNED)


@pytest.mark.parametrize("text", ["a" * 200, "W" * 200, "glass  bottle\nof a very long name " * 4, "塑料瓶" * 60])
def test_what_is_too_long_is_cut_to_fit(text: str) -> None:
    short = fitting(text, 15, 120)
    assert 90 < length(short, 15) <= 120 and short.endswith("…")
    assert text.replace("\n", " ").replace("  ", " ").startswith(short[:-1])


def test_what_fits_stays() -> None:
    assert fitting(" glass \n bottle ", 15, 500) == "glass bottle"
    assert fitting("", 15, 10) == ""


def test_a_missing_character_is_shown_as_missing() -> None:
    assert drawn(f"a{UNASSIGNED}b\udce9").tobytes() == drawn(f"a{REPLACEMENT}b{REPLACEMENT}").tobytes()


def test_letters_stand_where_they_are_put() -> None:
    ink = np.argwhere(np.asarray(drawn("EE")) < 128)
    assert 3 <= ink[:, 1].min() <= 7 and ink[:, 0].max() == 29
    assert ink[:, 1].max() <= 4 + length("EE", 20)


@pytest.mark.skipif(not drawable("塑"), reason="needs a font with Chinese: apt-get install fonts-wqy-microhei")
def test_scripts_in_one_line() -> None:
    both = np.asarray(drawn("E塑"))
    assert (both[:, : int(4 + length("E", 20))] == np.asarray(drawn("E"))[:, : int(4 + length("E", 20))]).all()
    assert drawn("塑").tobytes() != drawn("料").tobytes()


def test_a_caption_keeps_the_picture() -> None:
    picture = Image.new("RGB", (320, 320), (1, 2, 3))
    whole = caption_below(picture, "x" * 500)
    assert whole.crop((0, 0, 320, 320)).tobytes() == picture.tobytes()
    strip = np.asarray(whole.convert("L"))[320:]
    # Paper on all four sides of the words.
    assert (strip[[0, -1]] == 255).all() and (strip[:, [0, -1]] == 255).all() and strip.min() < 64
