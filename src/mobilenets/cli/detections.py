"""The boxes of a detector as text, CSV, and COCO's results."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mobilenets.base.notes import log
from mobilenets.base.text import printable
from mobilenets.cli.output import to_json
from mobilenets.errors import InputError

if TYPE_CHECKING:
    from mobilenets.runtime.predictor import EnginePredictor

COLUMNS = ["image", "rank", "label", "score", "x0", "y0", "x1", "y1", "error"]


def found(detections: list[dict[str, Any]]) -> str:
    """Say what was found and where: left, upper, right and lower edge in pixels."""
    if not detections:
        return "nothing found"
    return printable(", ".join(map(_one, detections)))


def unanswered(answer: dict[str, Any]) -> str:
    """Say why there is no answer for a picture."""
    how = "no answer" if answer.get("code") == "fault" else "not read"
    return printable(f"{answer['image']}: {how}: {answer['error']}")


def _one(entry: dict[str, Any]) -> str:
    x0, y0, x1, y1 = (round(side) for side in entry["box"])
    return f"{entry.get('name', entry['label'])} {100 * entry['score']:.1f} % ({x0},{y0} to {x1},{y1})"


def coco_writer(predictor: EnginePredictor, form: str, ids: str | None) -> Coco | None:
    """Give what writes a detector's answers in COCO's form; None for another one.

    Raises ``InputError`` for a form that the model has not, or a file of ids that is none.
    """
    if ids is not None and form != "coco":
        raise InputError("--ids only works with --format coco")
    if form != "coco":
        return None
    if not predictor.places:
        raise InputError("--format coco is for boxes, and this model tells classes apart: use --format json or csv")
    return Coco(predictor.classes, None if ids is None else Path(ids))


def rows(answer: dict[str, Any]) -> list[list[str]]:
    """Rows of CSV: one a box, or one with the error, or one of the picture alone where nothing was found."""
    if "error" in answer:
        return [[answer["image"], *[""] * 7, answer["error"]]]
    if not answer["detections"]:
        return [[answer["image"], *[""] * 8]]
    return [
        [answer["image"], str(rank), one["label"], f"{one['score']:.6f}", *(f"{side:.2f}" for side in one["box"]), ""]
        for rank, one in enumerate(answer["detections"], start=1)
    ]


class Coco:
    """Prints COCO's results, all at the end: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score``.

    ``file_name`` and ``category`` stand there too, for people. The ids are those of ``annotations``, an
    ``instances_*.json``, by the names of classes and of files, or the ends of their paths; without it pictures count
    from 1 in their order, classes in the model's. Pictures that cannot be read are logged: the form has no place for
    them.
    """

    def __init__(self, classes: tuple[str, ...], annotations: Path | None) -> None:
        self._images: dict[str, int] | None = None
        self._classes = {name: place for place, name in enumerate(classes, start=1)}
        self._count, self._begun = 0, False
        if annotations is not None:
            self._images, known = _ids(annotations)
            lacking = [name for name in classes if name not in known]
            if lacking:
                raise InputError(f"{annotations}: it does not name the model's class {lacking[0]!r}")
            self._classes = {name: known[name] for name in classes}
        # On the disk, and printed at the end: half a list, where something fails on the way, is no JSON.
        self._written = tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115

    def close(self) -> None:
        """Let go of what was not printed."""
        self._written.close()

    def __call__(self, answer: dict[str, Any] | None) -> None:
        """Take the boxes of a picture; None ends the list, and prints it."""
        if answer is None:
            self._written.seek(0)
            shutil.copyfileobj(self._written, sys.stdout)
            print("\n]" if self._begun else "[]")
            self.close()
            return
        self._count += 1
        if "error" in answer:
            log.warning("%s", unanswered(answer))
            return
        name = answer["image"]
        number = self._count
        if self._images is not None:
            parts = PurePath(name).parts
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            known = next((end for end in (name, *ends) if end in self._images), None)
            if known is None:
                raise InputError(f"{name}: the file given by --ids does not name it")
            number = self._images[known]
        for one in answer["detections"]:
            x0, y0, x1, y1 = one["box"]
            entry = {
                "image_id": number,
                "category_id": self._classes[one["label"]],
                "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
                "score": one["score"],
                "file_name": name,
                "category": one["label"],
            }
            self._written.write((",\n" if self._begun else "[\n") + to_json(entry))
            self._begun = True


def _ids(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    try:
        value = json.loads(path.read_bytes())
        images = {str(one["file_name"]): int(one["id"]) for one in value["images"]}
        return images, {str(one["name"]): int(one["id"]) for one in value["categories"]}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not COCO's instances_*.json, which has images and categories") from error
