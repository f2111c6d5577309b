"""Where ``predict`` may draw: never among the user's pictures, and over nothing of theirs."""

from __future__ import annotations

import itertools
import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mobilenets.base.files import writing
from mobilenets.errors import InputError

log = logging.getLogger("mobilenets")

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
