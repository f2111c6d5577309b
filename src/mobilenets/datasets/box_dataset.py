"""DATA with boxes, as the run of a detector takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.datasets.layout import Layout
from mobilenets.errors import InputError


def layout_of_boxes(data: Path) -> Layout:
    """Give DATA as a layout: pictures may lie anywhere in it."""
    return Layout(data, data)


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
