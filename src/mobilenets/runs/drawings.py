"""The pictures that ``predict`` leaves: explanations and a contact sheet, or copies with the boxes that were found.

None is drawn among the user's pictures, or over anything of theirs.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mobilenets.base.files import writing
from mobilenets.base.notes import log
from mobilenets.drawing.boxes import Drawn, color_of, draw_boxes, words_of
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.sheet import Sheet
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Source

if TYPE_CHECKING:
    from mobilenets.runs.predictor import Predictor
    from mobilenets.runtime.predictor import EnginePredictor

SOFTWARE = "mobilenets"
NAME_BYTES = 120
JPEG_QUALITY = 90
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
# Ours say so in the first chunk of a PNG after the header, and in the comment of a JPEG, which comes first too.
_MARKS = (b"tEXtSoftware\0" + SOFTWARE.encode(), b"\xff\xfe\x00\x0c" + SOFTWARE.encode())


class DrawnFiles:
    """A ``folder`` for a drawing a picture, of the kind that ``suffix`` says, and perhaps one ``file`` for all.

    ``what`` names the drawings in messages. Raises ``InputError`` for a folder that is none.
    """

    def __init__(self, folder: Path | None, file: Path | None, what: str, suffix: str = ".png") -> None:
        self.folder, self.file = folder, file
        self._what, self._suffix = what, suffix
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._used: set[Path] = set() if file is None else {file.resolve()}
        if folder is not None and folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: give a folder for the {what}")

    def keep_out_of(self, pictures: Path) -> None:
        """Refuse to draw below a folder of the user's pictures, where the next run would take it for one of them."""
        for place in (self.folder, self.file):
            if place is not None and place.resolve().is_relative_to(pictures.resolve()):
                raise InputError(f"{place} is inside the picture folder {pictures}: choose a place outside it")

    def keep_apart(self, picture: Path) -> None:
        """Refuse to draw into a folder that holds the user's pictures."""
        if self.folder is not None and self.folder.resolve() == picture.resolve().parent:
            raise InputError(f"{self.folder} holds {picture.name}: give another folder for the {self._what}")

    def say(self) -> None:
        """Tell the user where the drawings are, and how many."""
        drawn = len(self._used) - (self.file is not None)
        if self.folder is not None and drawn:
            log.info("%s: %d, in %s", self._what, drawn, self.folder)

    def new(self, image: str) -> Path:
        """Give a file in the folder, called after a picture, that holds nothing of the user's or of this run."""
        assert self.folder is not None
        stem = safe_stem(image)
        # File systems that do not tell a.png from A.png are common.
        for number in self._numbers[stem.casefold()]:
            path = self.folder / (f"{stem}{self._suffix}" if number == 1 else f"{stem}-{number}{self._suffix}")
            mark = self.folder.resolve() / path.name.casefold()
            if mark not in self._used and path.resolve() not in self._used and is_free(path):
                self._used.add(mark)
                return path
        raise AssertionError("numbers do not end")


def safe_stem(image: str) -> str:
    """Name a file after a picture, without its suffix, as every file system takes it."""
    stem = unicodedata.normalize("NFC", PurePath(image).stem)
    stem = re.sub(r"[^\w .,+()-]", "_", stem).strip(" .-")
    while len(stem.encode()) > NAME_BYTES:
        stem = stem[:-1]
    if _RESERVED.fullmatch(stem):
        stem += "_"
    return stem.rstrip(" .") or "picture"


def is_free(path: Path) -> bool:
    """Say whether nothing is there, or what an earlier run of this program drew."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(128)
    return any(mark in head for mark in _MARKS)


def write_drawing(path: Path, image: Image.Image) -> None:
    """Write a drawing, marked as one of this program's, as PNG or JPEG."""
    with writing(path) as aside:
        if path.suffix == ".jpg":
            image.save(aside, "jpeg", quality=JPEG_QUALITY, comment=SOFTWARE)
            return
        info = PngInfo()
        info.add_text("Software", SOFTWARE)
        image.save(aside, "png", pnginfo=info)


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
