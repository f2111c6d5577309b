"""A contact sheet: small pictures in rows, each with the answer that it got."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from PIL import Image, ImageDraw

from mobilenets.base.notes import log
from mobilenets.drawing.lettering import drawable, fitting, length, write
from mobilenets.drawing.style import LIGHT
from mobilenets.runtime.labels import Labels

TILE = 176  # pixels per side of a picture's place
GAP = 16
WORDS = 64  # pixels below a picture: answer, group, file
MARGIN = 28
TINY = 64  # pixels
MOST = 600  # tiles: enough to look through, and a sheet of some 15 megapixels


class Sheet:
    """Collects answers, then draws them; only the small pictures are kept meanwhile.

    ``labels`` give groups their names and colours.
    """

    def __init__(self, labels: Labels | None = None, language: str | None = None) -> None:
        self._labels = labels
        self._language = language
        self._tiles: list[tuple[Image.Image | None, Mapping[str, Any]]] = []
        self._left_out = 0

    def add(self, picture: Image.Image | None, answer: Mapping[str, Any]) -> None:
        """Add one object of ``predict --json`` with its picture, or None where that could not be read."""
        if len(self._tiles) == MOST:
            self._left_out += 1
            return
        self._tiles.append((None if picture is None else thumbnail(picture), answer))

    def draw(self) -> Image.Image:
        """Draw what was added, in order, row by row; after the first 600 the rest is only counted, in the log."""
        if self._left_out:
            log.info("the sheet shows the first %d pictures; %d are left out", MOST, self._left_out)
        count = max(1, len(self._tiles))
        columns = min(count, max(4, math.ceil(math.sqrt(1.5 * count))), 12)
        rows = math.ceil(count / columns)
        size = (2 * MARGIN + columns * (TILE + GAP) - GAP, 2 * MARGIN + rows * (TILE + WORDS + GAP) - GAP)
        sheet = Image.new("RGB", size, LIGHT.paper)
        for number, (picture, answer) in enumerate(self._tiles):
            row, column = divmod(number, columns)
            self._tile(sheet, MARGIN + column * (TILE + GAP), MARGIN + row * (TILE + WORDS + GAP), picture, answer)
        return sheet

    def _tile(self, sheet: Image.Image, x: int, y: int, picture: Image.Image | None, answer: Mapping[str, Any]) -> None:
        draw = ImageDraw.Draw(sheet)

        def line(text: str, depth: int, size: int, color: str, width: float = TILE, indent: int = 0) -> None:
            write(draw, (x + indent, y + TILE + depth), fitting(text, size, width), size, color)

        draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), fill=LIGHT.grid)
        if picture is not None:
            sheet.paste(picture, (x + (TILE - picture.width) // 2, y + (TILE - picture.height) // 2))
        file = 56
        if "error" in answer:
            line("not read", 20, 15, LIGHT.orange)
            line(answer["error"], 38, 12, LIGHT.muted)
        else:
            best = answer["predictions"][0]
            chance = f"{100 * best['probability']:.0f} %"
            # The probability is never cut off.
            place = TILE - math.ceil(length(chance, 15))
            name = self._name(best.get("name", best["label"]), best["label"])
            sure = answer.get("sure", True)
            ink = LIGHT.ink if sure else LIGHT.muted
            # Nor is the question mark of an answer that is not sure.
            room = place - 6 - (0 if sure else math.ceil(length("?", 15)))
            line(fitting(name, 15, room) + ("" if sure else "?"), 20, 15, ink)
            line(chance, 20, 15, ink, indent=place)
            if "group" in best and self._labels is not None:
                group = best["group"]
                color = self._labels.color(group) or LIGHT.muted
                draw.rectangle((x, y + TILE + 29, x + 9, y + TILE + 38), fill=color)
                words = self._name(self._labels.group_name(group, self._language), group)
                line(words, 38, 12, ink, TILE - 15, indent=15)
            else:
                file = 38
        line(PurePath(answer["image"]).name, file, 11, LIGHT.muted)

    def _name(self, name: str, own: str) -> str:
        """The name if a font can draw it, else that of the class folder."""
        return name if drawable(name) else own


def thumbnail(picture: Image.Image) -> Image.Image:
    """A copy that fits a tile; a tiny picture is enlarged by a whole factor, so that its pixels stay pixels."""
    longer = max(picture.size)
    if longer <= TINY:
        factor = TILE // longer
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(TILE * side / longer)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
