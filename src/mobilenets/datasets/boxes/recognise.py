"""Whether DATA is a set of boxes, and in which format: found by looking."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.datasets.boxes.coco import coco_files, read_coco
from mobilenets.datasets.boxes.entries import Annotations
from mobilenets.datasets.boxes.pictures import Pictures
from mobilenets.datasets.boxes.table import read_table, table_files
from mobilenets.datasets.boxes.voc import read_voc, voc_files
from mobilenets.datasets.boxes.yolo import read_yolo, yolo_files
from mobilenets.errors import InputError

AUTO = "auto"
# In the order in which they are taken where several are there.
FORMATS: Mapping[str, tuple[Callable[[Sequence[Path]], Any], Callable[[Path, Any, Pictures], Annotations]]] = {
    "coco": (coco_files, read_coco),
    "yolo": (yolo_files, read_yolo),
    "voc": (voc_files, read_voc),
    "csv": (table_files, read_table),
}
LOOK_FOR = {
    "coco": "instances_*.json or another JSON file with images, annotations and categories",
    "yolo": "data.yaml with names and train, or labels/*.txt",
    "voc": "XML files with an annotation in them",
    "csv": "a CSV file with columns filename, class, xmin, ymin, xmax, ymax",
}
DEEPEST = 4  # folders
_SUFFIXES = (".json", ".yaml", ".yml", ".txt", ".names", ".labels", ".xml", ".csv")


@dataclass(frozen=True)
class Found:
    """The format that DATA is read in, its files, and the other formats that are there too."""

    format: str
    files: Any
    others: tuple[str, ...] = ()

    def read(self, root: Path, pictures: Pictures) -> Annotations:
        """Read them."""
        return FORMATS[self.format][1](root, self.files, pictures)


def is_detection(data: Path) -> bool:
    """Whether DATA has boxes, in any of the formats that are read; False for what is no folder."""
    listed = _texts(data) if data.is_dir() else []
    return any(finder(listed) for finder, _ in FORMATS.values())


def find_format(data: Path, format: str = AUTO) -> Found:
    """Find the annotations of DATA; raises InputError where there are none, or none of the format that was named."""
    if format not in (AUTO, *FORMATS):
        raise InputError(f"format {format!r}: give one of {', '.join((AUTO, *FORMATS))}")
    listed = _texts(data)
    found: dict[str, Any] = {}
    for name, (finder, _) in FORMATS.items():
        if format in (AUTO, name) and (files := finder(listed)):
            found[name] = files
    if not found:
        wanted = "; ".join(words for name, words in LOOK_FOR.items() if format in (AUTO, name))
        raise InputError(
            f"{data} has no boxes{'' if format == AUTO else f' in the format {format}'}: wanted is {wanted}"
        )
    first, *others = found
    return Found(first, found[first], tuple(others))


def _texts(root: Path) -> list[Path]:
    """The files below a folder that annotations may be in, in order of path: not the hidden, and not those of runs."""
    found: list[Path] = []
    for folder, below, files in os.walk(root):
        place = Path(folder)
        deep = len(place.relative_to(root).parts) >= DEEPEST
        below[:] = [] if deep else sorted(one for one in below if one[0] != "." and one != "__MACOSX")
        if (place != root and (place / "model.json").is_file()) or (place / "pyvenv.cfg").is_file():
            below[:] = []
            continue
        found += [place / one for one in files if one[0] != "." and one.lower().endswith(_SUFFIXES)]
    return sorted(found)
