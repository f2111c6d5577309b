"""Which pictures of DATA a model may honestly be measured on, and which it may learn from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.data.folder import Folder, Layout, Sample, find_data, fingerprint, read_folder
from mobilenets.data.split import Split, read_split, split
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.runtime.bundle import find_bundle, read_bundle
from mobilenets.runtime.decode import decode
from mobilenets.runtime.preprocess import Preprocessing
from mobilenets.runtime.progress import progress

log = logging.getLogger("mobilenets")

SHARE = 0.2


def pictures_to_measure(model: Path, data: Path, classes: tuple[str, ...]) -> tuple[Folder, str]:
    """Return the pictures that a figure may honestly be taken on, and what they are called.

    Class folders may also bear the names that the model's labels give the classes.
    """
    layout, find = find_data(data), _finder(model, classes)
    if layout.test is not None:
        return read_folder(layout.test, classes, find), "test"
    if layout.validation is not None:
        return read_folder(layout.validation, classes, find), "validation"
    halves = split_of_run(find_bundle(model), layout, classes)
    if halves is None:
        folder = read_folder(layout.train, classes, find)
        log.info("measuring on all pictures there; any that the model learned from would flatter the figure")
        return folder, "all"
    log.info("this is the folder that the model learned from: measuring on the %d held out", len(halves.validation))
    return Folder(layout.root, classes, halves.validation, ()), "validation"


@dataclass(frozen=True)
class Halves:
    """Pictures to calibrate or tune on, and pictures to measure on; no picture is in both."""

    root: Path
    training: tuple[Sample, ...]
    measured: tuple[Sample, ...]
    which: str


def pictures_to_export(model: Path, data: Path, classes: tuple[str, ...], training: bool) -> Halves:
    """Return the pictures that an export is checked on and, with ``training``, those that it may be calibrated on.

    A folder that is not split, and that the model did not learn from, is split by content for it. Class folders may
    also bear the names that the model's labels give the classes.
    """
    layout, find = find_data(data), _finder(model, classes)
    halves = split_of_run(find_bundle(model), layout, classes)
    if training and layout.test is None and layout.validation is None:
        if halves is None:
            folder = read_folder(layout.train, classes, find)
            halves = split(folder.samples, classes, SHARE, 0, layout.root)
            log.warning("the model did not hold these pictures out: any that it learned from flatter the figures")
            return Halves(layout.root, halves.train, halves.validation, "a fifth of all")
        return Halves(layout.root, halves.train, halves.validation, "validation")
    folder, which = pictures_to_measure(model, data, classes)
    learned = read_folder(layout.train, classes, find).samples if training else ()
    return Halves(layout.root, learned, folder.samples, which)


def fitted_pictures(
    samples: Sequence[Sample], preprocessing: Preprocessing, most: int, doing: str
) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop up to ``most`` pictures, evenly over their order, which is by class.

    Returns uint8 N×S×S×3. One that does not decode is left out with a note to the user.
    """
    size = preprocessing.size
    places = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int))
    made = [np.empty((0, size, size, 3), np.uint8)]
    with progress(doing, len(places), "pictures") as shown:
        for place in places:
            try:
                made.append(np.asarray(preprocessing.fit(decode(samples[place].path)))[None])
            except UnreadablePicture as error:
                log.warning("%s: %s (unreadable)", samples[place].path, error)
            shown.advance(1)
    return np.concatenate(made)


def split_of_run(run: Path, layout: Layout, classes: tuple[str, ...]) -> Split | None:
    """Return how a run split these pictures, wherever they lie now; None where they are not the run's own."""
    try:
        record = json.loads((run / "recipe.json").read_bytes())["data"]
        folder, mark = record["folder"], record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same_place = folder == str(layout.root.resolve())
    try:
        halves = read_split(run / "split.csv", layout.root, classes)
        if same_place or fingerprint([*halves.train, *halves.validation], layout.root) == mark:
            return halves
    except InputError:
        if same_place:
            raise
    return None


def _finder(model: Path, classes: tuple[str, ...]) -> Callable[[str], str | None] | None:
    labels = read_bundle(find_bundle(model)).labels
    return None if labels is None else labels.finder(classes)


def data_of_run(run: Path) -> Path | None:
    """Return the folder that a run learned from, if it is known and still there."""
    try:
        folder = Path(json.loads((run / "recipe.json").read_bytes())["data"]["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.is_dir() else None
