"""Which pictures of DATA a detector may honestly be measured on, and which a file of it may be calibrated on."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

from mobilenets.base.cells import read_cells
from mobilenets.base.files import nfc, read_text
from mobilenets.datasets.boxes.read import read_boxes
from mobilenets.datasets.folder import Sample, relative
from mobilenets.errors import InputError
from mobilenets.runs.held_out import Halves
from mobilenets.runs.record import SPLIT, known_data
from mobilenets.runtime.bundle import find_bundle

log = logging.getLogger("mobilenets")


def boxes_to_export(model: Path, data: Path, classes: tuple[str, ...]) -> Halves:
    """Return the pictures with boxes that an export is checked on, and those that it may be calibrated on.

    Of the data that the run learned from they are what it held out and what it learned from; else the halves of DATA,
    or a fifth of all and the rest. Raises ``InputError`` as ``read_boxes`` does.
    """
    dataset = read_boxes(data, classes=classes)
    known = known_data(model)
    own = known is not None and Path(known.folder).resolve() == dataset.layout.root.resolve()
    sides = _split(find_bundle(model) / SPLIT) if own else {}
    if not sides:
        drawn = dataset.layout.validation is None
        which = "a fifth of all" if drawn else "validation"
        notes = dataset.notes
        if drawn:
            notes += ("if the model was trained on some of these pictures, the figures are too high",)
            log.warning("%s", notes[-1])
        return Halves(dataset.layout.root, dataset.train, dataset.validation, which, None, notes)
    halves: dict[str, list[Sample]] = {"train": [], "validation": []}
    for sample in (*dataset.train, *dataset.validation):
        half = sides.get(nfc(relative(sample.path, dataset.layout.root)))
        if half in halves:
            halves[half].append(sample)
    taught, held = (tuple(halves[half]) for half in ("train", "validation"))
    return Halves(dataset.layout.root, taught, held, "validation", 0, dataset.notes)


def _split(path: Path) -> dict[str, str]:
    """Read which picture went where in a run; nothing where it does not say it."""
    try:
        header, *rows = read_cells(read_text(path))
        image, half = header.index("image"), header.index("split")
        return {nfc(row[image]): row[half] for row in rows}
    except (InputError, ValueError, IndexError, csv.Error):
        return {}
