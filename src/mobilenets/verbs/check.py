"""``check``: what is wrong with a data set, before anything is trained on it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilenets.base.extras import how_to_install
from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.datasets.boxes.recognise import AUTO, is_detection
from mobilenets.datasets.folder import relative
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.prepare import listed_of
from mobilenets.datasets.shards.open import open_data
from mobilenets.doctor.annotations import BoxesSeen, list_boxes, look_at_boxes
from mobilenets.doctor.classes import Listing, list_data
from mobilenets.doctor.copies import find_copies
from mobilenets.doctor.files import Looks, judge, look_at_all
from mobilenets.doctor.fixes import write_fixes
from mobilenets.doctor.pairs import Places, as_findings, suggested
from mobilenets.doctor.problems import Finding, counted, faults, in_order, worst
from mobilenets.doctor.shortcut import find_shortcuts
from mobilenets.errors import InputError
from mobilenets.runs.folder import check_folder, next_free

CHECKS = Path("checks")
REPORT, RESULT, FIXES = "check.html", "check.json", "fixes.csv"
TASKS = (AUTO, "classification", "detection")
_EXAMPLES = 6  # pictures of a class that is at fault


def check(
    data: str | Path,
    out: str | Path | None = None,
    *,
    crops: bool = True,
    workers: int | None = None,
    task: str = AUTO,
    format: str = AUTO,
) -> dict[str, Any]:
    """Find what is wrong with a folder of labelled pictures, or of pictures with boxes; no file of it is changed.

    Parameters
    ----------
    data:
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder per class.
    out:
        The folder for ``check.html`` (pictures and copies side by side), ``check.json`` and ``fixes.csv``, which
        ``train(fixes=…)`` obeys; by default the next free ``checks/<data>-N``. Of class folders nothing is written
        where nothing was found, and no ``fixes.csv`` where it would have no row.
    crops:
        Whether copies are found that were cropped too, down to 80 % of the sides: it takes longer.
    workers:
        Threads that decode pictures; by default one per core, up to 16.
    task:
        ``classification`` or ``detection``; ``auto`` looks whether there are annotations of boxes.
    format:
        Of the boxes: ``coco``, ``voc``, ``yolo`` or ``csv``; ``auto`` looks which is there.

    Returns ``images``, ``classes`` (the pictures of each), ``halves`` (of each half), ``problems`` (``kind path
    detail``, and ``partner score suggestion`` where they apply; paths are below ``root``), ``counts`` by kind,
    ``faults`` (how many problems are more than hints), ``headlines`` (the worst, in sentences), ``refused`` (why
    training refuses the class folders as they are, or None), ``notes``, and where the files were written: ``out report
    fixes``, or None. Of a set of boxes also ``boxes`` (how many can be used), ``format`` and ``box_sizes``, and
    ``classes`` are the boxes of each. Raises ``InputError`` for a folder that is no data set, or an ``out`` that
    cannot be written to or has a ``fixes.csv`` already.

    >>> result = mobilenets.check("photos", "checked")
    >>> result["images"], result["counts"]
    (60, {'shortcut': 3})

    """
    if workers is not None and not 1 <= workers <= 256:
        raise InputError(f"workers {workers}: give a number from 1 to 256")
    if task not in TASKS:
        raise InputError(f"task {task!r}: give one of {', '.join(TASKS)}")
    data = open_data(data)
    _refuse_out(data, out)
    boxed = task == "detection" or (task == AUTO and (format != AUTO or is_detection(data)))
    listing, reading = list_boxes(data, format) if boxed else (list_data(data), None)
    for note in listing.notes:
        log.info("%s: %s", data, note)
    samples = listing.samples
    with progress("checking pictures", len(samples), "pictures") as shown:
        seen = look_at_all(samples, listing.root, workers, shown.advance)
    found, notes = judge(seen.looks, listing.root)
    findings = [*seen.findings, *listing.findings, *found]
    boxes = None if reading is None else look_at_boxes(listing, reading, seen.looks)
    if boxes is not None:
        findings += boxes.findings
        notes += boxes.notes
    elif importlib.util.find_spec("sklearn") is None:
        notes.append(f"shortcuts were not looked for: scikit-learn is not installed ({how_to_install('train')})")
    else:
        findings += find_shortcuts(samples, seen.looks, listing.classes)
    places = _places(listing, seen)
    findings = in_order([*findings, *_copies(listing, seen, places, crops, workers)])
    result = _result(data, listing, findings, places, notes, None if boxes else _refused(data))
    if boxes is not None and reading is not None:
        result["headlines"] = [*boxes.headlines, *result["headlines"]]
        about = {"boxes": sum(boxes.counts.values()), "format": reading.format, "box_sizes": boxes.sizes}
        result |= {"classes": boxes.counts} | about
    written = dict.fromkeys(("out", "report", "fixes"))
    place = _place(data, out) if findings or boxes else None
    if place is not None:
        written["out"] = str(place)
        if rows := suggested(findings, places):
            write_fixes(place / FIXES, rows)
            written["fixes"] = str(place / FIXES)
        if importlib.util.find_spec("jinja2") is None:
            result["notes"].append(f"there is no page: jinja2 is not installed ({how_to_install('train')})")
        else:
            _write_page(place / REPORT, listing, findings, result | written, boxes)
            written["report"] = str(place / REPORT)
        write_json(place / RESULT, result | written)
    return result | written


def _copies(listing: Listing, seen: Looks, places: Places, crops: bool, workers: int | None) -> list[Finding]:
    """Find the copies among all pictures."""
    log.info("looking for copies among %d pictures", len(listing.samples))
    pairs = find_copies(listing.samples, crops=crops, workers=workers, small=seen.small)
    return as_findings(
        (
            (relative(pair.path, listing.root), relative(pair.partner, listing.root), pair.score, pair.how)
            for pair in pairs
            if pair.path in seen.looks and pair.partner in seen.looks
        ),
        places,
    )


def _result(
    data: str | Path, listing: Listing, findings: list[Finding], places: Places, notes: list[str], refused: str | None
) -> dict[str, Any]:
    mend = [] if refused is None else [f"training is refused until this is mended: {refused}"]
    return {
        "data": str(data),
        "root": str(listing.root),
        "images": len(listing.samples),
        "halves": {half: len(some) for half, some in listing.parts.items()},
        "classes": listing.counts(),
        "problems": [one.to_json() for one in findings],
        "counts": counted(findings),
        "faults": faults(findings),
        "headlines": [*mend, *worst(findings, places.halves)],
        "refused": refused,
        "notes": [*listing.notes, *notes],
    }


def _refused(data: Path) -> str | None:
    """Say why training would refuse the class folders as they are, whatever is done about pictures; or None."""
    try:
        listed_of(find_data(data))
    except InputError as error:
        return str(error)
    return None


def _places(listing: Listing, seen: Looks) -> Places:
    """Say where each picture is; what does not decode has no content that another could be a copy of."""
    names = [relative(sample.path, listing.root) for sample in listing.samples]
    called = {name: listing.classes[sample.label] for name, sample in zip(names, listing.samples, strict=True)}
    contents = zip(names, seen.small.contents, seen.small.shown.tolist(), strict=True)
    return Places(listing.halves, called, {name: content if shown else name for name, content, shown in contents})


def _write_page(
    path: Path, listing: Listing, findings: Sequence[Finding], result: dict[str, Any], boxes: BoxesSeen | None
) -> None:
    from mobilenets.drawing.check import Boxed, write_page  # with matplotlib's colours, which takes a second

    examples: dict[str, list[str]] = {name: [] for name in listing.classes}
    for sample in listing.samples if boxes is None else ():
        some = examples.setdefault(listing.classes[sample.label], [])
        if len(some) < _EXAMPLES:
            some.append(relative(sample.path, listing.root))
    boxed = None if boxes is None else Boxed(listing.classes, boxes.samples, boxes.faults)
    write_page(path, listing.root, findings, result, examples, boxed)


def _refuse_out(data: Path, out: str | Path | None) -> None:
    """Refuse, before pictures are looked at, a place that cannot be written to or holds an edited ``fixes.csv``."""
    if out is None:
        return
    place = Path(out)
    if data.is_dir() and place.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{place} is inside the picture folder {data}: choose an --out outside it")
    check_folder(place)
    if (place / FIXES).exists():
        raise InputError(f"{place / FIXES} exists already, and may have been edited: choose another --out")


def _place(data: Path, out: str | Path | None) -> Path | None:
    """Give the folder to write into: ``out``, or the next free ``checks/<data>-N``; None where it cannot be made."""
    if out is not None:
        return Path(out)
    try:
        return next_free(CHECKS, data)
    except InputError as error:
        log.warning("%s, for the page and fixes.csv", error)
        return None
