"""Which pictures of DATA a model may honestly be measured on, or two be compared on, and which it may learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.base.text import percent
from mobilenets.datasets.folder import Folder, Sample, content_hashes, read_folder
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.loader import evenly
from mobilenets.datasets.seen import SeenPictures
from mobilenets.datasets.split import split
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.pictures.stream import stream
from mobilenets.runs.record import folder_of, known_data
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import find_bundle, read_bundle
from mobilenets.runtime.labels import Labels

SHARE = 0.2


@dataclass(frozen=True)
class EvaluationSet:
    """Pictures that a figure is taken on, and what they are called.

    ``learned`` counts those that the model learned from; None where it does not say what it learned from. ``contents``
    are the hashes of the pictures' bytes: none where it does not say, and the pictures are no test half.
    """

    folder: Folder
    which: str
    learned: int | None
    contents: Mapping[Path, str]


def pictures_to_measure(
    model: Path, data: Path, classes: tuple[str, ...], halves: Sequence[str] = ("test", "validation")
) -> EvaluationSet:
    """Return the pictures that a figure may honestly be taken on, and what they are called.

    They are those of the first of ``halves`` that DATA has. Of a folder that is not split those are left out that the
    model learned from, known by content. Class folders may also bear the names that the model's labels give the
    classes. What was assumed is logged, and in the folder's notes.
    """
    find = finder(model, classes)
    layout = find_data(data, find)
    seen = read_seen(find_bundle(model), layout.root)
    for which in halves:
        if (place := getattr(layout, which)) is not None:
            return _said(_measured(read_folder(place, classes, find), which, seen), layout.notes)
    folder = read_folder(layout.train, classes, find)
    whole = _measured(folder, "all", seen)
    if seen is not None:
        contents = whole.contents
        taught, held, new = seen.sides(folder.samples, contents)
        # Those that could not be read when the model was trained are known, but on no side.
        rest = {*held, *(sample for sample in new if contents[sample.path] not in seen.pictures)}
        if taught and rest:
            new_ones = f"and {len(rest) - len(held)} new ones" if len(rest) > len(held) else ""
            note = (
                f"measured on {len(held)} pictures that the model held out{new_ones and ' '}{new_ones}; the "
                f"{len(taught)} that it was trained on are left out{_missing(model, layout.root, len(held))}"
            )
            left = tuple(sample for sample in folder.samples if sample in rest)
            part = Folder(layout.root, classes, left, (), (*folder.notes, note))
            which = "validation" if rest == {*held} else "held out and new" if held else "new"
            return _said(EvaluationSet(part, which, 0, contents), layout.notes)
    return _said(whole, layout.notes)


def _missing(model: Path, root: Path, held: int) -> str:
    """Say so where pictures that a run held out are gone from the very folder that it learned from, or changed."""
    known = known_data(model)
    if known is None or known.folder != folder_of(root):
        return ""
    number = sum(known.validation.values())
    if held >= number:
        return ""
    return f"; {number - held} of the {number} that it held out are no longer there, or were changed"


def pictures_to_calibrate(model: Path, data: Path, classes: tuple[str, ...]) -> tuple[Sample, ...] | None:
    """Return the pictures of DATA's validation half that the model did not learn from, where a test half is measured.

    None where there is no test half beside it: those that are measured then serve for both.
    """
    find = finder(model, classes)
    layout = find_data(data, find)
    if layout.test is None or layout.validation is None:
        return None
    samples = read_folder(layout.validation, classes, find).samples
    seen = read_seen(find_bundle(model), layout.root)
    if seen is None:
        return samples
    learned = set(seen.sides(samples, content_hashes([sample.path for sample in samples]))[0])
    return tuple(sample for sample in samples if sample not in learned)


def _measured(folder: Folder, which: str, seen: SeenPictures | None) -> EvaluationSet:
    """Take all pictures of a folder, and note what the model had seen of them."""
    contents: Mapping[Path, str] = {}
    if seen is not None or which == "test":
        contents = content_hashes([sample.path for sample in folder.samples])
    learned = None if seen is None else len(seen.sides(folder.samples, contents)[0])
    note = note_of_learned(learned, len(folder.samples))
    folder = folder if note is None else replace(folder, notes=(*folder.notes, note))
    return EvaluationSet(folder, which, learned, contents)


def note_of_learned(learned: int | None, total: int) -> str | None:
    """Say what the figures are worth where the model learned from some of the pictures, or does not say."""
    if learned is None:
        return "the model does not say what it was trained on; if it was these pictures, the figures are too high"
    if not learned:
        return None
    share = percent(learned / total)
    return f"the model was trained on {learned} of these {total} pictures ({share}): the figures are too high"


def _said(measured: EvaluationSet, notes: tuple[str, ...]) -> EvaluationSet:
    """Log what users should know about the pictures, with the ``notes`` on their layout, which are added."""
    folder = replace(measured.folder, notes=(*notes, *measured.folder.notes))
    for note in folder.notes:
        log.info("%s", note, extra={"noted": True})
    return replace(measured, folder=folder)


@dataclass(frozen=True)
class Halves:
    """Pictures to calibrate or tune on, and pictures to measure on; no picture is in both.

    ``learned`` and ``notes`` are as in ``EvaluationSet`` and its folder.
    """

    root: Path
    training: tuple[Sample, ...]
    measured: tuple[Sample, ...]
    which: str
    learned: int | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Say what is measured on, as in ``export --json``."""
        return {"evaluated_on": self.which, "seen_in_training": self.learned, "notes": list(self.notes)}


def pictures_to_export(model: Path, data: Path, classes: tuple[str, ...], training: bool) -> Halves:
    """Return the pictures that an export is checked on and, with ``training``, those that it may be calibrated on.

    Of a split folder it is checked on ``validation/``, so that a ``test/`` stays closed. A folder that is not split,
    and that the model did not learn from, is split by content for it. Class folders may also bear the names that the
    model's labels give the classes.
    """
    find = finder(model, classes)
    layout = find_data(data, find)
    measured = pictures_to_measure(model, data, classes, ("validation", "test"))
    about = measured.learned, measured.folder.notes
    if not training:
        return Halves(layout.root, (), measured.folder.samples, measured.which, *about)
    folder = read_folder(layout.train, classes, find)
    if measured.which == "all":
        halves = split(folder.samples, classes, SHARE, 0, layout.root)
        if measured.learned != 0:
            log.warning(
                "the model did not hold these pictures out: if it was trained on some of them, the figures are too high"
            )
        return Halves(layout.root, halves.train, halves.validation, "a fifth of all", *about)
    chosen = set(measured.folder.samples)
    learned = tuple(sample for sample in folder.samples if sample not in chosen)
    return Halves(layout.root, learned, measured.folder.samples, measured.which, *about)


def fitted_pictures(
    samples: Sequence[Sample], preprocessing: Preprocessing, most: int, doing: str
) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop up to ``most`` pictures, evenly over their order, which is by class.

    Returns uint8 N×S×S×3. One that does not decode is left out with a note to the user.
    """
    size = preprocessing.size
    places = evenly(len(samples), most)
    made = [np.empty((0, size, size, 3), np.uint8)]

    def fitted(path: Path) -> npt.NDArray[np.uint8]:
        return np.asarray(preprocessing.fit(decode(path, preprocessing.surplus)))[None]

    with progress(doing, len(places), "pictures") as shown:
        for path, one in stream(fitted, [samples[place].path for place in places]):
            if isinstance(one, UnreadablePicture):
                log.warning("%s: %s (unreadable)", path, one)
            else:
                made.append(one)
            shown.advance(1)
    return np.concatenate(made)


def finder(model: Path, classes: tuple[str, ...]) -> Callable[[str], str | None]:
    """Give what finds the class of a folder's name, also by the names that a model's labels give the classes."""
    return (read_bundle(find_bundle(model)).labels or Labels({})).finder(classes)


@dataclass(frozen=True)
class ComparisonSet:
    """Pictures that two models are measured on, and what they are called.

    ``learned`` counts the pictures left out because that model learned from them, None where it does not say.
    ``contents`` are the hashes of the pictures' bytes.
    """

    folder: Folder
    which: str
    learned: tuple[int | None, ...]
    contents: Mapping[Path, str]


def pictures_to_compare(models: Sequence[Path], data: Path, classes: tuple[str, ...]) -> ComparisonSet:
    """Return the pictures of DATA's ``test/``, else ``validation/``, else all, that none of the models learned from.

    What was learned from is known by content. What was assumed or left out is logged, and in the folder's notes. Raises
    ``InputError`` where no picture is left.
    """
    find = finder(models[0], classes)
    layout = find_data(data, find)
    which = next((half for half in ("test", "validation") if getattr(layout, half) is not None), "all")
    folder = read_folder(layout.train if which == "all" else getattr(layout, which), classes, find)
    contents = content_hashes([sample.path for sample in folder.samples])
    seen = [read_seen(find_bundle(model), layout.root) for model in models]
    taught = [
        None if one is None else [sample for sample in folder.samples if one.learned(contents[sample.path])]
        for one in seen
    ]
    out = {sample for some in taught if some is not None for sample in some}
    left = tuple(sample for sample in folder.samples if sample not in out)
    if not left:
        raise InputError(
            f"{data}: one of the two models learned from every picture there: give pictures that neither has seen"
        )
    notes = [*layout.notes, *folder.notes, *_notes([*map(str, models)], taught)]
    notes += _chosen(models, seen, left, contents)
    for note in notes:
        log.info("%s", note, extra={"noted": True})
    learned = tuple(None if some is None else len(some) for some in taught)
    return ComparisonSet(
        replace(folder, root=layout.root if which == "all" else folder.root, samples=left, notes=tuple(notes)),
        "not learned from" if out and which == "all" else which,
        learned,
        {sample.path: contents[sample.path] for sample in left},
    )


def _notes(names: Sequence[str], taught: Sequence[list[Sample] | None]) -> list[str]:
    notes = []
    out = len({sample for some in taught if some is not None for sample in some})
    if out:
        each = ", ".join(f"{name} from {len(some)}" for name, some in zip(names, taught, strict=True) if some)
        notes.append(f"left out: {out} picture{'s' * (out > 1)} that a model learned from ({each})")
    notes += [
        f"{name} does not say what it was trained on; if it was some of these pictures, it looks better than it is"
        for name, some in zip(names, taught, strict=True)
        if some is None
    ]
    return notes


def _chosen(
    models: Sequence[Path], seen: Sequence[SeenPictures | None], left: Sequence[Sample], contents: Mapping[Path, str]
) -> list[str]:
    """Say so where the pictures chose the epoch of one model, and fewer or none of them that of another."""
    sides = [[] if one is None else [one.pictures.get(contents[sample.path]) for sample in left] for one in seen]
    chosen = [sum(side is not None and side[1] == "validation" for side in some) for some in sides]
    most = max(range(len(chosen)), key=chosen.__getitem__)
    if chosen[most] == min(chosen):
        return []
    return [
        f"{models[most]} chose its epoch on {chosen[most]} of these {len(left)} pictures, the other on {min(chosen)}: "
        "that makes it look a little better than it is"
    ]
