"""The pictures that ``predict`` leaves: explanations and a contact sheet, never among or over the user's own."""

from __future__ import annotations

import itertools
import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mobilenets.base.files import writing
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.sheet import Sheet
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Source

if TYPE_CHECKING:
    from mobilenets.runs.predictor import Predictor

log = logging.getLogger("mobilenets")

SOFTWARE = "mobilenets"
NAME_BYTES = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


class Drawings:
    """Draws each answer's explanation into ``folder``, and all answers into the contact sheet ``sheet``.

    Raises ``InputError`` for a place that cannot take them.
    """

    def __init__(self, predictor: Predictor, folder: Path | None, sheet: Path | None, language: str | None) -> None:
        self._predictor = predictor
        self._folder = folder
        self._file = sheet
        self._sheet = Sheet(predictor.bundle.labels, language)
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._used: set[Path] = set()
        if folder is not None:
            predictor.check_explainable()
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder} is a file: give a folder for the explanations")
        if sheet is not None:
            if sheet.suffix.lower() != ".png":
                raise InputError(f"{sheet}: a contact sheet is a PNG; give a name that ends in .png")
            if not _free(sheet):
                raise InputError(
                    f"{sheet} already exists and is not a contact sheet written by mobilenets: give another name"
                )
            self._used.add(sheet.resolve())

    def keep_out_of(self, pictures: Path) -> None:
        """Refuse to draw below a folder of the user's pictures, where the next run would take it for one of them."""
        for place in (self._folder, self._file):
            if place is not None and place.resolve().is_relative_to(pictures.resolve()):
                raise InputError(f"{place} is inside the picture folder {pictures}: choose a place outside it")

    def keep_apart(self, picture: Path) -> None:
        """Refuse to draw into a folder that holds the user's pictures."""
        if self._folder is not None and self._folder.resolve() == picture.resolve().parent:
            raise InputError(f"{self._folder} holds {picture.name}: give another folder for the explanations")

    def add(self, answer: dict[str, Any], picture: Source | UnreadablePicture) -> dict[str, Any]:
        """Draw one answer; gives it back with the ``explanation``'s file, if one was wished."""
        image = None
        if not isinstance(picture, UnreadablePicture) and "error" not in answer:
            try:
                image = decode(picture)
            except UnreadablePicture:
                # It was readable a moment ago; the answer stands.
                log.warning("%s: can no longer be read, so it is not drawn", answer["image"])
        if self._file is not None:
            self._sheet.add(image, answer)
        if self._folder is None or image is None:
            return answer
        path = self._new(self._folder, answer["image"])
        best = answer["predictions"][0]
        name = best.get("name", best["label"])
        caption = f"{name if drawable(name) else best['label']} {100 * best['probability']:.0f} %"
        _write(path, self._predictor.explain(image, best["label"], caption=caption))
        return answer | {"explanation": str(path)}

    def close(self) -> None:
        """Write the contact sheet, when every picture has been added."""
        if self._file is not None:
            _write(self._file, self._sheet.draw())
            log.info("contact sheet: %s", self._file)

    def _new(self, folder: Path, image: str) -> Path:
        """Give a file that holds nothing of the user's, and nothing of this run."""
        stem = safe_stem(image)
        # File systems that do not tell a.png from A.png are common.
        for number in self._numbers[stem.casefold()]:
            path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            mark = folder.resolve() / path.name.casefold()
            if mark not in self._used and path.resolve() not in self._used and _free(path):
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


def _free(path: Path) -> bool:
    """Say whether nothing is there, or what an earlier run of this program drew."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        # Ours have the mark as their first chunk after the header.
        return b"tEXtSoftware\0" + SOFTWARE.encode() in file.read(128)


def _write(path: Path, image: Image.Image) -> None:
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    with writing(path) as aside:
        image.save(aside, "png", pnginfo=info)
