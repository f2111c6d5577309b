"""``demo``: the whole way on real pictures that come with the install, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mobilenets.base.leftovers import occupants
from mobilenets.base.notes import log
from mobilenets.datasets.boxes.shapes import draw_boxes_set
from mobilenets.errors import InputError
from mobilenets.verbs.fetch import fetch
from mobilenets.verbs.train import train

SIZE = 32
# Drawn shapes; the smallest have this radius in pictures of up to 320 pixels, which are seen at half of that.
PICTURES, RADIUS = 600, 22


def demo(
    out: str | Path = "demo", *, task: Literal["classification", "detection"] = "classification", resume: bool = False
) -> dict[str, Any]:
    """Write scikit-learn's handwritten digits as folders of pictures, and train, measure and report on them.

    With ``task`` ``detection`` shapes are drawn, several in a picture, and a network learns to find them.

    Parameters
    ----------
    out:
        The folder to write: ``digits/`` or ``shapes/`` (the pictures) and ``run/`` (the run folder).
    task:
        What to show.
    resume:
        Continue a demo that was stopped.

    Returns what ``train`` returns, and ``data``. Raises ``InputError`` when ``out`` is not empty and not to be resumed.

    >>> mobilenets.demo("demo")["top1"] > 0.9  # doctest: +SKIP
    True

    """
    folder = Path(out)
    if task not in ("classification", "detection"):
        raise InputError(f"task {task!r}: choose classification or detection")
    boxes = task == "detection"
    data, run = folder / ("shapes" if boxes else "digits"), folder / "run"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder with --out")
    if not resume and folder.exists() and occupants(folder):
        raise InputError(f"{folder} is not empty: continue it with --resume, or use another --out")
    if not data.exists() and boxes:
        log.info("1/2  pictures: %d drawn ones with shapes to find, in %s", PICTURES, data)
        draw_boxes_set(data, PICTURES, least_radius=RADIUS)
    elif not data.exists():
        log.info("1/2  pictures: handwritten digits at %d pixels, in %s", SIZE, data)
        fetch("digits", data, size=SIZE)
    log.info("2/2  training and measuring, into %s", run)
    return train(data, run, recipe="shapes" if boxes else "digits", resume=resume) | {"data": str(data)}
