"""What all figures share: colours for light and dark paper, fonts that are installed, and how they are saved.

Matplotlib's object API only; nothing global is set, but fonts that its list lacks are added to it when they are needed.
"""

from __future__ import annotations

import contextlib
import io
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from mobilenets.base.files import writing
from mobilenets.base.notes import log

DPI = 160

# Latin first; then what Linux, Windows and macOS have for Chinese, Japanese and Korean names.
FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    # What matplotlib before 3.11 sees of Debian's fonts-noto-cjk, whose files hold several faces with the same signs.
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)


@dataclass(frozen=True)
class Theme:
    """The colours of a figure; the accents follow Okabe and Ito's palette, safe for colour-blind readers."""

    paper: str
    ink: str
    muted: str
    grid: str
    blue: str
    orange: str
    green: str
    purple: str
    sky: str
    input: str


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2430",
    muted="#5d6876",
    grid="#e3e7ec",
    blue="#0072b2",
    orange="#d55e00",
    green="#009e73",
    purple="#a8578a",
    sky="#56b4e9",
    input="#b9c2cc",
)
DARK = Theme(
    paper="#171c23",
    ink="#e8ecf1",
    muted="#9aa5b1",
    grid="#2c343e",
    blue="#56b4e9",
    orange="#f08a3c",
    green="#2fbf95",
    purple="#d495bb",
    sky="#0072b2",
    input="#5d6876",
)


@cache
def families() -> list[str]:
    """The families of ``FAMILIES`` that this machine has; DejaVu Sans comes with matplotlib."""
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FAMILIES if name in installed]


@cache
def font_files() -> tuple[tuple[str, frozenset[int]], ...]:
    """The font files at hand, the preferred first, each with the code points that it can draw."""
    files = dict.fromkeys(str(findfont(FontProperties(family=name))) for name in families())
    return tuple((file, frozenset(get_font(file).get_charmap())) for file in files)


def font_of(sign: str) -> str | None:
    """The first font file that can draw the sign; fonts installed since matplotlib listed them are looked for once."""
    found = _font_of(sign)
    if found is None:
        _add_new_fonts()
        found = _font_of(sign)
    return found


def _font_of(sign: str) -> str | None:
    return next((file for file, known in font_files() if ord(sign) in known), None)


@cache
def _add_new_fonts() -> None:
    """Take in the fonts that matplotlib's cached list, which is never renewed by itself, does not have."""
    known = {str(entry.fname) for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        # A file that is no usable font is none of our business.
        with contextlib.suppress(OSError, RuntimeError, ValueError, NotImplementedError):
            fontManager.addfont(path)
    families.cache_clear()
    font_files.cache_clear()


@cache
def _say_what_is_missing() -> None:
    log.warning(
        "no installed font can draw some of the names: plots show another name of the class, its folder name, or "
        "\N{REPLACEMENT CHARACTER}. For Chinese, Japanese and Korean install Noto Sans CJK "
        "(Debian: apt-get install fonts-noto-cjk)"
    )


def can_draw(text: str) -> bool:
    """Say whether the installed fonts have every character of a line; the first time that they lack one is noted."""
    drawable = all(font_of(sign) is not None for sign in text)
    if not drawable:
        _say_what_is_missing()
    return drawable


def printable(text: str, limit: int = 32) -> str:
    """Text that any figure can take: one line, at most ``limit`` long, no formulas, no missing glyph."""
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    drawn = line
    if not can_draw(line):
        drawn = "".join(sign if font_of(sign) is not None else "\N{REPLACEMENT CHARACTER}" for sign in line)
    # A pair of dollar signs would start a formula.
    return drawn.replace("$", r"\$")


def columns(text: str) -> int:
    """How many columns the text takes: a wide East Asian character takes two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def count(value: float) -> str:
    """A large number as people say it: 864, 11.2 k, 3.50 M, 300.8 M, 1.14 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{1 if scaled >= 9.995 or unit == 'k' else 2}f} {unit}"
    return f"{value:.0f}"


def signed(points: float, digits: int | None = None) -> str:
    """Write points with a sign that is as wide as plus: two decimals, or this many digits."""
    text = f"{points:+.2f}" if digits is None else f"{points:+.{digits}g}"
    return "0" if float(text) == 0 and digits is not None else text.replace("-", "\N{MINUS SIGN}")


def dress(
    axes: Axes,
    theme: Theme = LIGHT,
    title: str | None = None,
    x: str | None = None,
    y: str | None = None,
    *,
    grid: bool = True,
) -> None:
    """Give axes the house style: no box, quiet ticks, a faint horizontal grid; and a heading and labels."""
    axes.set_facecolor(theme.paper)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=theme.muted, labelfontfamily=families(), pad=5)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    if title is not None:
        heading(axes, title, theme)
    label(axes, theme, x, y)


def heading(axes: Axes, text: str, theme: Theme, size: float = 11) -> None:
    """Write a heading above the axes, flush left."""
    axes.set_title(text, loc="left", fontsize=size, fontweight="bold", color=theme.ink, pad=10)


def side_note(axes: Axes, text: str, color: str) -> None:
    """Write a few words above the axes, flush right."""
    axes.set_title(text, loc="right", fontsize=9, color=color, pad=10)


def label(axes: Axes, theme: Theme, x: str | None = None, y: str | None = None, size: float = 9) -> None:
    """Say what the axes show, in quiet letters of ``size`` points."""
    if x is not None:
        axes.set_xlabel(x, fontsize=size, color=theme.muted)
    if y is not None:
        axes.set_ylabel(y, fontsize=size, color=theme.muted)


def legend(axes: Axes, theme: Theme, **options: Any) -> None:
    """Draw the legend without a frame; by default in one line above the axes, flush right."""
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "borderaxespad": 0.1}
    axes.legend(**{"frameon": False, "fontsize": 9, "labelcolor": theme.ink} | (options or above))


def new_figure(width: float, height: float, theme: Theme, **options: Any) -> Figure:
    """A figure of the given size in inches on the theme's paper."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper, **options)


def _save(figure: Figure, target: Any, form: str) -> None:
    _, known = font_files()[0]
    for text in figure.findobj(Text):
        # Most families but the first have no bold cut: a heading with a name that needs them is not bold.
        if text.get_fontweight() == "bold" and not known.issuperset(map(ord, text.get_text())):
            text.set_fontweight("normal")
        text.set_fontfamily(families()[:1] if text.get_fontweight() == "bold" else families())
    # Neither version nor date inside, so that the same figure is the same PNG.
    metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    figure.savefig(target, format=form, bbox_inches="tight", pad_inches=0.2, metadata=metadata)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    _save(figure, buffer, "png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure whole or not at all; PNG or SVG by the suffix."""
    with writing(path) as aside:
        _save(figure, aside, "svg" if path.suffix.lower() == ".svg" else "png")
