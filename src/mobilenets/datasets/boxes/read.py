"""A set of pictures with boxes, as training takes it: read, checked box by box, and split by picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.boxes.entries import Fault
from mobilenets.datasets.boxes.reading import Reading
from mobilenets.datasets.boxes.recognise import AUTO
from mobilenets.datasets.prepare import Dataset, prepare
from mobilenets.datasets.readable import Look
from mobilenets.errors import InputError


@dataclass(frozen=True)
class BoxDataset(Dataset):
    """A ``Dataset`` whose samples have ``Boxes`` as targets; ``classes`` are those of the boxes.

    The label of a sample is the class among its boxes that is rarest: by it pictures are held out.

    ``format`` is the one it was read in. ``sizes`` are width and height in pixels of every upright picture. ``faults``
    are what is wrong with boxes, each with its file, line and picture; they are among ``problems`` too. ``boxes``
    counts those that were written, ``bad`` those left out.
    """

    format: str = ""
    sizes: Mapping[Path, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    faults: tuple[Fault, ...] = field(default=(), compare=False, repr=False)
    boxes: int = 0
    bad: int = 0


def read_boxes(
    data: Path,
    *,
    format: str = AUTO,
    max_bad: float = 0.05,
    classes: Sequence[str] | None = None,
    look: Look | None = None,
    split_file: Path | None = None,
    **settings: Any,
) -> BoxDataset:
    """Read DATA with its boxes, try every picture, check every box, and split by picture where DATA comes unsplit.

    ``format`` is ``coco``, ``voc``, ``yolo`` or ``csv``; ``auto`` looks which is there. A box that cannot be used is a
    problem of the kind ``bad_box``, with file and line, and is left out; one that sticks out is cut. ``classes`` are
    those of a model, where there is one: a box of any other is left out. ``split_file`` is the ``split.csv`` of a run
    that is continued: pictures are in the halves that it says. ``settings`` are those of ``prepare``.

    Raises InputError for a folder without boxes, where more than ``max_bad`` of the boxes, or of the pictures for their
    annotations, had to be left out, and for all that ``prepare`` refuses.
    """
    if not 0 <= max_bad <= 1:
        raise InputError(f"max_bad {max_bad}: give a share from 0 to 1")
    reading = Reading(format, max_bad, classes, split_file)
    settings = {"share": 0.2, "seed": 0, "max_unreadable": 0.1} | settings
    return _finished(prepare(data, look=reading.looking(look), read=reading, **settings), reading)


def _finished(made: Dataset, reading: Reading) -> BoxDataset:
    """Add to a data set what is known of its boxes."""
    sizes = {sample.path: reading.headers[sample.path].upright for half in made.halves.values() for sample in half}
    if "validation" not in reading.told and made.validation:
        validation = box_counts(made.validation, made.classes)
        counts = Counter({label: validation[name] for label, name in enumerate(made.classes)})
        made = replace(made, notes=(*made.notes, *reading.missing({"validation": counts})))
    known = {one.name: getattr(made, one.name) for one in fields(Dataset)}
    faults = tuple(reading.faults)
    return BoxDataset(**known, format=reading.format, sizes=sizes, faults=faults, boxes=reading.boxes, bad=reading.bad)


def prepare_boxes(data: Path, **settings: Any) -> BoxDataset:
    """Read and split DATA with its boxes, see ``read_boxes``; refuses a half without a box to learn or to measure."""
    dataset = read_boxes(data, **settings)
    for half, samples in dataset.halves.items():
        if (half != "test" or dataset.test is not None) and not any((~one.target.ignored).any() for one in samples):
            raise InputError(f"{data}: no {half} picture has a box: annotate some, or give another --validation-share")
    return dataset


def prepare_boxes_again(data: Path, mark: str, **settings: Any) -> BoxDataset:
    """Take up the pictures and boxes of a run that was begun, by their fingerprint ``mark``.

    Raises ``InputError`` where they are no longer those.
    """
    dataset = prepare_boxes(data, **settings)
    if dataset.fingerprint != mark:
        raise InputError(
            f"{data}: the pictures or their boxes have changed since this run began; train again with another --out, "
            "without --resume"
        )
    return dataset
