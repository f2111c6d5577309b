"""Matplotlib without a home; fonts installed after it wrote its list are found, what no font has is said once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from PIL import Image

from mobilenets.drawing import style
from mobilenets.drawing.confusion import draw_confusion
from mobilenets.drawing.lettering import drawable

# For private use, and in no font of this machine.
SIGN = chr(0x10FFFD)
FAMILY = "WenQuanYi Micro Hei"


def clear() -> None:
    for cached in (style.families, style.font_files, style._add_new_fonts, style._say_what_is_missing):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _as_at_the_start() -> Iterator[None]:
    """Forget what was found, and take no font into other tests."""
    before = list(fontManager.ttflist)
    # This machine may have the family that the test's own font goes by.
    fontManager.ttflist[:] = [entry for entry in before if entry.name != FAMILY]
    fontManager._findfont_cached.cache_clear()
    clear()
    yield
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    clear()


@pytest.fixture
def font(tmp_path: Path) -> Path:
    """Write a font of a family that figures use, whose only letter is a filled square."""
    pen = TTGlyphPen(None)
    for number, point in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(SIGN): "square"})
    builder.setupGlyf({".notdef": empty, "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": FAMILY, "styleName": "Regular", "psName": "Square", "fullName": FAMILY})
    builder.setupOS2(sTypoAscender=900)
    builder.setupPost()
    builder.save(tmp_path / "square.ttf")
    return tmp_path / "square.ttf"


def test_a_font_installed_since_is_found(font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(style, "findSystemFonts", list)
        assert not drawable(SIGN)
        draw_confusion(np.eye(2, dtype=np.int64), [SIGN * 6, "b"], tmp_path / "without.png")
    clear()
    looked: list[None] = []

    def installed() -> list[str]:
        looked.append(None)
        return [str(font), str(tmp_path / "gone.ttf"), __file__]

    monkeypatch.setattr(style, "findSystemFonts", installed)
    assert drawable(SIGN) and not drawable(chr(0x10FFFC))
    assert style.printable(SIGN) == SIGN
    assert FAMILY in style.families()
    draw_confusion(np.eye(2, dtype=np.int64), [SIGN * 6, "b"], tmp_path / "with.png")
    ink = [np.asarray(Image.open(tmp_path / name).convert("L")) for name in ("without.png", "with.png")]
    # Squares instead of signs that stand for something missing.
    assert (ink[0] < 90).sum() != (ink[1] < 90).sum()
    assert len(looked) == 1


def test_a_heading_with_a_name_that_another_font_has(font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "findSystemFonts", lambda: [str(font)])
    weights = []
    for words in ("run 2 is better", f"{SIGN} is better"):
        figure = style.new_figure(4, 2, style.LIGHT)
        axes = figure.add_subplot()
        style.heading(axes, style.printable(words), style.LIGHT)
        style.png(figure)  # a missing glyph would be warned of, which is an error here
        weights.append(axes._left_title.get_fontweight())  # type: ignore[attr-defined]
    assert weights == ["bold", "normal"]


def test_no_search_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    def searched() -> list[str]:
        raise AssertionError("looked for fonts")

    monkeypatch.setattr(style, "findSystemFonts", searched)
    assert style.printable("Größe 97 %") == "Größe 97 %"
    assert drawable("plastic bottle")


def test_what_no_font_has_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(style, "findSystemFonts", list)
    with caplog.at_level(logging.WARNING, "mobilenets"):
        assert not drawable("a" + SIGN)
        assert style.printable(f"a{SIGN}b") == "a\N{REPLACEMENT CHARACTER}b"
        assert not drawable(SIGN)
    (record,) = caplog.records
    assert "no installed font can draw some of the names" in record.getMessage()
    assert "apt-get install fonts-noto-cjk" in record.getMessage()


def test_without_a_home_it_says_nothing(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG"))}
    (tmp_path / "home").write_text("no folder")
    for module, words in (("matplotlib.pyplot", "temporary cache directory"), ("mobilenets.drawing.style", "")):
        said = subprocess.run(
            [sys.executable, "-c", f"import {module}, matplotlib.pyplot"],
            env=kept | {"HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        assert words in said and bool(words) == bool(said)
