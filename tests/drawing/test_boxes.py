"""Boxes on pictures: in their place, readable at any size, whatever the names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mobilenets.drawing.boxes import LEAST, Drawn, color_of, draw_boxes, words_of


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[place : place + 2], 16) for place in (1, 3, 5))


def places(image: Image.Image, color: str) -> tuple[int, int, int, int]:
    """The bounds of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(image) == rgb(color)).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_the_box_is_where_it_is() -> None:
    picture = Image.new("RGB", (640, 480), "#808080")
    drawn = draw_boxes(picture, [Drawn((100, 50, 300, 200))])
    assert drawn.size == (640, 480) and picture.getpixel((100, 50)) == (128, 128, 128)
    assert places(draw_boxes(picture, [Drawn((100, 50, 300, 200), color="#123456")]), "#123456") == (100, 50, 300, 200)


@pytest.mark.parametrize("size", [(1, 1), (32, 20), (479, 3), (4000, 3000)])
@pytest.mark.parametrize("dashed", [False, True])
def test_any_size_and_any_box(size: tuple[int, int], dashed: bool) -> None:
    wide, high = size
    boxes = [
        Drawn((0, 0, wide, high), "a long name that does not fit anywhere 99 %", dashed=dashed),
        Drawn((-50, -50, wide + 50, high + 50), "out", "#ffffff", dashed),
        Drawn((wide - 0.25, high - 0.25, wide, high), "corner", "#000000", dashed),
        Drawn((0, 0, 0.1, 0.1), "", color_of(9), dashed),
    ]
    drawn = draw_boxes(Image.new("RGB", size), boxes)
    assert max(drawn.size) >= LEAST and drawn.width % wide == 0 and drawn.height % high == 0
    assert np.asarray(drawn).any()


def test_small_pictures_are_enlarged_with_their_boxes() -> None:
    drawn = draw_boxes(Image.new("RGB", (100, 60)), [Drawn((10, 20, 30, 40), color="#123456")])
    assert drawn.size == (500, 300)
    assert places(drawn, "#123456") == (50, 100, 150, 200)


def test_names_keep_out_of_each_others_way() -> None:
    picture = Image.new("RGB", (640, 480))
    one, two = (Drawn((100, 100, 300, 300), "first", "#123456"), Drawn((100, 100, 300, 300), "second", "#654321"))
    drawn = draw_boxes(picture, [one, two])
    # The first has its name above the box, the second below it.
    assert places(drawn, "#123456")[1] < 95 and places(drawn, "#654321")[3] > 305


def test_dashes_have_gaps() -> None:
    picture = Image.new("RGB", (640, 480))
    solid, dashed = (
        (np.asarray(draw_boxes(picture, [Drawn((50, 50, 550, 400), color="#123456", dashed=way)])) == (18, 52, 86))
        .all(axis=2)
        .sum()
        for way in (False, True)
    )
    assert 0.3 * solid < dashed < 0.8 * solid


def test_colours_and_words() -> None:
    colors = [color_of(label) for label in range(90)]
    assert len(set(colors)) == 90 and all(len(rgb(color)) == 3 for color in colors)
    assert words_of("cat", 0.876) == "cat 88 %" and words_of("cat") == "cat"
    assert words_of("\U00012345\U0001f9ff" * 3, 0.5, "class 3") in (
        "class 3 50 %",
        "\U00012345\U0001f9ff" * 3 + " 50 %",
    )


def test_modes() -> None:
    for mode in ("L", "RGBA", "P", "1"):
        assert draw_boxes(Image.new(mode, (50, 50)), [Drawn((5, 5, 20, 20), "x")]).mode == "RGB"
