"""The contact sheet: each picture whole in its place, its answer below it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.drawing import sheet as module
from mobilenets.drawing.sheet import GAP, MARGIN, TILE, WORDS, Sheet, thumbnail
from mobilenets.runtime.labels import Group, Label, Labels

LABELS = Labels(
    {"03": Label({"en": "bottle", "zh": "塑料瓶"}, "bin")},
    {"bin": Group({"en": "recyclable", "zh": "可回收物"}, "#12ab34")},
)


def answer(name: str = "bottle", probability: float = 0.97, **more: Any) -> dict[str, Any]:
    best = {"label": "03", "probability": probability, "name": name}
    return {"image": "photos/a.jpg", "predictions": [best | ({"group": "bin"} if "group" in more else {})], **more}


def drawn(*answers: dict[str, Any], labels: Labels | None = None) -> Image.Image:
    sheet = Sheet(labels, "en")
    for one in answers:
        sheet.add(None if "error" in one else Image.new("RGB", (400, 200), (250, 0, 0)), one)
    return sheet.draw()


def words(sheet: Image.Image, number: int = 0) -> np.ndarray[Any, Any]:
    x = MARGIN + number * (TILE + GAP)
    return np.asarray(sheet.crop((x, MARGIN + TILE, x + TILE, MARGIN + TILE + WORDS)), np.int64)


def test_pictures_in_rows() -> None:
    sheet = Sheet()
    colors = [(250, 10 * number, 0) for number in range(11)]
    for color in colors:
        sheet.add(Image.new("RGB", (40, 80), color), answer())
    image = sheet.draw()
    across = 5
    assert image.size == (2 * MARGIN + across * (TILE + GAP) - GAP, 2 * MARGIN + 3 * (TILE + WORDS + GAP) - GAP)
    for number, color in enumerate(colors):
        x = MARGIN + number % across * (TILE + GAP) + TILE // 2
        assert image.getpixel((x, MARGIN + number // across * (TILE + WORDS + GAP) + TILE // 2)) == color


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (176, 176), (177, 3), (5000, 1), (1, 5000), (300, 400)])
def test_thumbnails_fit_and_leave_the_picture(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (9, 8, 7))
    small = thumbnail(picture)
    assert max(small.size) <= TILE and max(small.size) > TILE // 2 and min(small.size) >= 1
    assert picture.size == size and small.getpixel((0, 0)) == (9, 8, 7)


def test_answers_differ_by_name_probability_and_whether_they_are_sure() -> None:
    pictures = [
        drawn(answer()),
        drawn(answer("can")),
        drawn(answer(probability=0.5)),
        drawn(answer(sure=False)),
        drawn(answer(sure=True)),
    ]
    shown = [words(picture).tobytes() for picture in pictures]
    assert len(set(shown)) == 4 and shown[4] == shown[0]


def test_a_long_name_leaves_the_probability_and_the_question_mark() -> None:
    shown = words(drawn(answer("bottle " * 20), answer("bottle " * 20, sure=False)))
    chance = words(drawn(answer("b")))[:26, -34:]
    np.testing.assert_array_equal(shown[:26, -34:], chance)
    # Nothing reaches into the gap between two places.
    sheet = np.asarray(drawn(answer("W" * 80, sure=False), answer("W" * 80)), np.int64)
    assert (sheet[:, MARGIN + TILE : MARGIN + TILE + GAP] == 255).all()


def test_a_group_has_its_color() -> None:
    color = (0x12, 0xAB, 0x34)
    assert (words(drawn(answer(group=1), labels=LABELS)) == color).all(-1).sum() == 100
    assert not (words(drawn(answer(), labels=LABELS)) == color).all(-1).any()


def test_what_was_not_read_has_a_place_too() -> None:
    image = drawn({"image": "broken.jpg", "error": "the file is empty"}, answer())
    inside = np.asarray(image.crop((MARGIN, MARGIN, MARGIN + TILE, MARGIN + TILE)))
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == 1
    assert words(image).min() < 200


def test_names_that_no_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "drawable", lambda text: text.isascii())
    image = drawn(answer("塑料瓶"), answer("玻璃"))
    assert words(image).tobytes() == words(drawn(answer("03"))).tobytes()


def test_very_many(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MOST", 6)
    with caplog.at_level(logging.INFO, "mobilenets"):
        image = drawn(*[answer()] * 9)
    assert image.size == drawn(*[answer()] * 6).size
    assert "shows the first 6 pictures; 3 are left out" in caplog.text


def test_none_at_all() -> None:
    assert np.asarray(drawn()).min() >= 200
