"""The pictures that ``predict`` leaves: explanations and a contact sheet, or copies with the boxes that were found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from mobilenets.drawing.boxes import Drawn, color_of, draw_boxes, words_of
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.sheet import Sheet
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Source
from mobilenets.runs.drawn_files import DrawnFiles, is_free, write_drawing

if TYPE_CHECKING:
    from mobilenets.runs.predictor import Predictor
    from mobilenets.runtime.predictor import EnginePredictor

log = logging.getLogger("mobilenets")


class Drawings:
    """Draws each answer's explanation into ``folder``, and all answers into the contact sheet ``sheet``.

    Raises ``InputError`` for a place that cannot take them.
    """

    def __init__(self, predictor: Predictor, folder: Path | None, sheet: Path | None, language: str | None) -> None:
        self._predictor = predictor
        self._sheet = Sheet(predictor.bundle.labels, language)
        if folder is not None:
            predictor.check_explainable()
        self.files = DrawnFiles(folder, sheet, "explanations")
        if sheet is not None:
            if sheet.suffix.lower() != ".png":
                raise InputError(f"{sheet}: a contact sheet is a PNG; give a name that ends in .png")
            if not is_free(sheet):
                raise InputError(
                    f"{sheet} already exists and is not a contact sheet written by mobilenets: give another name"
                )

    def add(self, answer: dict[str, Any], picture: Source | UnreadablePicture) -> dict[str, Any]:
        """Draw one answer; gives it back with the ``explanation``'s file, if one was wished."""
        image = _decoded(answer, picture)
        if self.files.file is not None:
            self._sheet.add(image, answer)
        if self.files.folder is None or image is None:
            return answer
        path = self.files.new(answer["image"])
        best = answer["predictions"][0]
        name = best.get("name", best["label"])
        caption = f"{name if drawable(name) else best['label']} {100 * best['probability']:.0f} %"
        write_drawing(path, self._predictor.explain(image, best["label"], caption=caption))
        return answer | {"explanation": str(path)}

    def close(self) -> None:
        """Write the contact sheet, when every picture has been added, and say where the drawings are."""
        self.files.say()
        if self.files.file is not None:
            write_drawing(self.files.file, self._sheet.draw())
            log.info("contact sheet: %s", self.files.file)


class BoxedCopies:
    """Draws a copy of each picture with the boxes that were found in it into ``folder``, as JPEG.

    Raises ``InputError`` for a place that cannot take them.
    """

    def __init__(self, predictor: EnginePredictor, folder: Path) -> None:
        self._places = {label: place for place, label in enumerate(predictor.classes)}
        self.files = DrawnFiles(folder, None, "drawn copies", ".jpg")

    def add(self, answer: dict[str, Any], picture: Source | UnreadablePicture) -> dict[str, Any]:
        """Draw one answer; gives it back with the ``drawing``'s file."""
        image = _decoded(answer, picture)
        if image is None:
            return answer
        boxes = [
            Drawn(
                one["box"],
                words_of(one.get("name", one["label"]), one["score"], one["label"]),
                color_of(self._places[one["label"]]),
            )
            for one in answer["detections"]
        ]
        path = self.files.new(answer["image"])
        write_drawing(path, draw_boxes(image, boxes))
        return answer | {"drawing": str(path)}

    def close(self) -> None:
        """Say where the copies are."""
        self.files.say()


def _decoded(answer: dict[str, Any], picture: Source | UnreadablePicture) -> Image.Image | None:
    """Decode a picture that was answered once more, to be drawn; None where that is not possible."""
    if isinstance(picture, UnreadablePicture) or "error" in answer:
        return None
    try:
        return decode(picture)
    except UnreadablePicture:
        # It was readable a moment ago; the answer stands.
        log.warning("%s: can no longer be read, so it is not drawn", answer["image"])
        return None
