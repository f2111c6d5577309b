"""Which pictures of DATA with boxes a detector may honestly be measured on, and a file of it be checked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobilenets.base.notes import log
from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.boxes.read import BoxDataset, read_boxes
from mobilenets.datasets.boxes.reading import LACKS
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import Problem, names
from mobilenets.datasets.readable import Look
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import InputError
from mobilenets.runs.held_out import Halves, note_of_learned
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import find_bundle


@dataclass(frozen=True)
class BoxesToMeasure:
    """Pictures with boxes that a figure is taken on, and what they are called.

    ``to_choose_on`` are pictures beside them that a threshold may be chosen on, where there are any: those of the
    validation half, where the test half is measured. ``sizes`` are width and height of each, ``contents`` the hashes of
    their bytes. ``learned`` counts those measured that the model learned from; None where it does not say what it
    learned from.
    """

    root: Path
    which: str
    samples: tuple[Sample, ...]
    to_choose_on: tuple[Sample, ...]
    sizes: Mapping[Path, tuple[int, int]]
    contents: Mapping[Path, str]
    learned: int | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def boxes_to_measure(model: Path, data: Path, classes: tuple[str, ...], look: Look | None = None) -> BoxesToMeasure:
    """Take DATA's test half where there is one, else its validation half, else all pictures not learned from.

    Boxes of classes that the model does not know are left out, with a problem for each. What was assumed is logged, and
    in the notes. Raises ``InputError`` for what ``read_boxes`` refuses, and where nothing is left.
    """
    measured = _chosen(model, data, classes, look)
    said = note_of_learned(measured.learned, len(measured.samples))
    if said is None:
        return measured
    log.info("%s", said, extra={"noted": True})
    return replace(measured, notes=(*measured.notes, said))


def boxes_to_compare(models: Sequence[Path], data: Path, classes: tuple[str, ...]) -> BoxesToMeasure:
    """Take what ``boxes_to_measure`` takes for the first of two models, without what either learned from.

    Raises ``InputError`` as that does.
    """
    measured = _chosen(models[0], data, classes, None)
    for model in dict.fromkeys(models):
        measured = _without_learned(measured, model)
    return measured


def boxes_to_export(model: Path, data: Path, classes: tuple[str, ...]) -> Halves:
    """Return the pictures with boxes that an export is checked on, and those that it may be calibrated on.

    They are DATA's validation half and its training half. Where it is not split, what the model learned from is for
    calibration, and what it held out for the check, known by content; of pictures that it does not know a fifth is for
    the check. Raises ``InputError`` for what ``read_boxes`` refuses.
    """
    seen = read_seen(find_bundle(model))
    found = read_boxes(data, classes=classes, max_bad=1, max_unreadable=1, seen=seen)
    samples, which, learned = found.validation, "validation", None
    if seen is not None:
        learned = len(samples) - len(_new(samples, found, seen))
    if found.layout.validation is None:
        held = [seen is not None and seen.held(found.contents[sample.path]) for sample in samples]
        which = "validation" if all(held) else "held out and new" if any(held) else "a fifth of all"
    said = note_of_learned(learned, len(samples))
    if said is not None:
        log.warning("%s", said)
    notes = found.notes if said is None else (*found.notes, said)
    return Halves(found.layout.root, found.train, samples, which, learned, notes)


def _chosen(model: Path, data: Path, classes: tuple[str, ...], look: Look | None) -> BoxesToMeasure:
    seen = read_seen(find_bundle(model))
    found = read_boxes(data, share=0, classes=classes, max_bad=1, max_unreadable=1, look=look)
    # Nothing is taught here.
    notes = [note for note in found.notes if not any(word in note for word in ("teach", LACKS))]
    if found.bad:
        notes.append(f"{found.bad} boxes that cannot be used are left out; problems names each with file and line")
    to_choose_on: tuple[Sample, ...] = ()
    if found.test:
        which, samples = "test", found.test
        to_choose_on = found.validation if seen is None else _new(found.validation, found, seen)
    elif found.layout.validation is not None:
        which, samples = "validation", found.validation
    else:
        which, samples = _unsplit(found, seen, notes)
    if not samples:
        raise InputError(f"{data}: no picture to measure on")
    if lacking := [name for name, boxes in box_counts(samples, classes).items() if not boxes]:
        notes.append(f"what is measured {LACKS} {names(lacking)}: no figure says how well it is found")
    learned = None if seen is None else len(samples) - len(_new(samples, found, seen))
    about = (found.sizes, found.contents, learned, found.problems, tuple(notes))
    return BoxesToMeasure(found.layout.root, which, samples, to_choose_on, *about)


def _without_learned(measured: BoxesToMeasure, model: Path) -> BoxesToMeasure:
    """Leave out what a model learned from; raises ``InputError`` where nothing is left."""
    seen = read_seen(find_bundle(model))
    if seen is None:
        note = f"{model} does not say what it was trained on; if it was these pictures, it looks better than it is"
        return replace(measured, notes=(*measured.notes, note))
    left = tuple(sample for sample in measured.samples if not seen.learned(measured.contents[sample.path]))
    if not left:
        raise InputError(f"{model} learned from every picture there: give pictures that neither model has seen")
    out = len(measured.samples) - len(left)
    if not out:
        return measured
    note = f"left out: {out} picture{'s' * (out > 1)} that {model} learned from"
    log.info("%s", note, extra={"noted": True})
    return replace(measured, samples=left, notes=(*measured.notes, note))


def _unsplit(found: BoxDataset, seen: SeenPictures | None, notes: list[str]) -> tuple[str, tuple[Sample, ...]]:
    """Of a folder that is not split, take what the model did not learn from; all where it learned from none or all."""
    samples = tuple(sorted(found.train, key=lambda sample: sample.path))
    rest = () if seen is None else _new(samples, found, seen)
    if len(rest) in (0, len(samples)):
        return "all", samples
    held = seen is not None and all(seen.held(found.contents[sample.path]) for sample in rest)
    note = (
        f"measured on {len(rest)} pictures that the model did not learn from; the {len(samples) - len(rest)} that it "
        "was trained on are left out"
    )
    notes.append(note)
    log.info("%s", note, extra={"noted": True})
    return "validation" if held else "held out and new", rest


def _new(samples: tuple[Sample, ...], found: BoxDataset, seen: SeenPictures) -> tuple[Sample, ...]:
    return tuple(sample for sample in samples if not seen.learned(found.contents[sample.path]))
