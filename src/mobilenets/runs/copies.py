"""What a run knows of copies: thumbnails of its training pictures, and which measured pictures are among them."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import write_bytes, write_json
from mobilenets.base.notes import log
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.prepare import Dataset
from mobilenets.doctor.copies import Pair
from mobilenets.doctor.hashes import COLOUR, SIDE, Thumbnails
from mobilenets.doctor.quick import Leaks, Looking, across_folds, conflicts, in_words, leaks
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.metrics import Evaluation, wilson_interval
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import find_bundle

THUMBNAILS, COPIES = "thumbnails.npz", "copies.json"
MOST_KEPT = 50_000
"""Thumbnails of more training pictures are not kept: they would be larger than most models."""

_SHOWN = 100
_FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile)

Keep = Callable[[Path], None]


def look_for_copies(
    dataset: Dataset, looking: Looking, folds: Sequence[int] | None = None
) -> tuple[tuple[str, ...], Keep]:
    """Find the copies in what a run begins with, and say so; ``folds`` has the fold of each training picture, if any.

    Returns notes, and what keeps in the run's folder what ``evaluate`` will need.
    """
    root = dataset.layout.root
    training = looking.of(dataset.train, dataset.contents)
    names = [Path(relative(sample.path, root)) for sample in dataset.train]
    held_out = dataset.validation if dataset.test is None else dataset.test
    measured = [Path(relative(sample.path, root)) for sample in held_out]
    # With folds nothing may be held out; then no answer is by a model that learned from all that is training here.
    found = leaks(looking.of(held_out, dataset.contents), measured, training, names) if held_out else Leaks((), None)
    notes = []
    between = Leaks(()) if folds is None else across_folds(training, names, folds)
    if between.near:
        first = between.near[0]
        notes.append(
            f"{len(between.near)} of the {len(names)} pictures are near copies of pictures in other folds "
            f"({in_words(between.near)}), such as {first.path.as_posix()} of {first.partner.as_posix()}: the "
            "cross-validated figures are too high; --groups copies keeps them in one fold"
        )
    if found.near:
        first = found.near[0]
        notes.append(
            f"{len(found.near)} of the {len(measured)} pictures measured on are near copies of training pictures "
            f"({in_words(found.near)}), such as {first.path.as_posix()} of {first.partner.as_posix()}: the figures are "
            "too high; mobilenets check shows them"
        )
    used = [sample for samples in dataset.halves.values() for sample in samples]
    twice = conflicts(looking.of(used, dataset.contents), used)
    if twice:
        first = twice[0]
        one, other = (relative(path, root) for path in (first.path, first.partner))
        notes.append(
            f"{len(twice)} picture{'s' * (len(twice) > 1)} with a copy in the folder of another class, such as {one} "
            f"and {other} ({first.how}): one of the two labels is wrong; mobilenets check shows them"
        )
    for note in notes:
        log.warning("%s: %s", root, note, extra={"detail": True})
    for limited in dict.fromkeys((found.limited, between.limited)):
        if limited is not None:
            notes.append(f"near copies were looked for {limited}")

    def keep(run: Path) -> None:
        if held_out:
            write_json(run / COPIES, {"limited": found.limited, "pairs": [_pair(pair) for pair in found.pairs]})
        if len(training) <= MOST_KEPT:
            _keep(run / THUMBNAILS, training, names)

    return tuple(notes), keep


def copies_of_run(run: Path, evaluation: Evaluation | DetectionEvaluation) -> dict[str, Any] | None:
    """Give the share of a run's measured pictures that have a copy in training, and the accuracy without them.

    None where that is not known: in a run that is older than this.
    """
    try:
        said = json.loads((run / COPIES).read_bytes())
        pairs = [Pair(Path(p["path"]), Path(p["partner"]), p["kind"], p["score"], p["how"]) for p in said["pairs"]]
        return to_json(Leaks(tuple(pairs), said["limited"]), evaluation)
    except _FAULTS:
        return None


def copies_in_training(
    model: Path,
    samples: Sequence[Sample],
    root: Path,
    looking: Looking,
    evaluation: Evaluation | DetectionEvaluation,
    contents: Mapping[Path, str],
) -> dict[str, Any] | None:
    """Give what ``copies_of_run`` gives for any labelled pictures, whose thumbnails ``looking`` has, with their hashes.

    The training pictures themselves need not be there. None where the model does not say what it learned from.
    """
    folder = find_bundle(model)
    seen, kept = read_seen(folder, root), _kept(folder / THUMBNAILS)
    if seen is None or not contents:  # without which nobody asked what the model had seen
        return None
    names = [Path(relative(sample.path, root)) for sample in samples]
    if kept is None:
        found = Leaks((), "only for the same files: this model has no thumbnails of its training pictures")
    else:
        found = leaks(looking.of(samples, contents), names, *kept)
    # An earlier model that this one began with learned from pictures too.
    known = {pair.path for pair in found.pairs}
    same = [
        Pair(name, Path(), "exact", 1.0, "same file")
        for name, sample in zip(names, samples, strict=True)
        if name not in known and seen.learned(contents[sample.path])
    ]
    return to_json(Leaks((*found.pairs, *same), found.limited), evaluation)


def to_json(found: Leaks, evaluation: Evaluation | DetectionEvaluation) -> dict[str, Any]:
    """Give the object ``copies`` of ``metrics.json`` and of ``evaluate --json``; fractions from 0 to 1."""
    copied = {pair.path.as_posix() for pair in found.pairs}
    alone = np.array([name not in copied for name in evaluation.images], np.bool_)
    return {
        "images": len(found.pairs),
        "share": len(found.pairs) / len(evaluation.images),
        "exact": len(found.pairs) - len(found.near),
        "near": len(found.near),
        "how": in_words(found.pairs),
        "without": _figures_of(evaluation, alone),
        "limited": found.limited,
        "pairs": [_pair(pair) for pair in found.pairs[:_SHOWN]],
    }


def _figures_of(evaluation: Evaluation | DetectionEvaluation, alone: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Give the main figure of some of the pictures alone, None where there are none."""
    count = int(alone.sum())
    if isinstance(evaluation, DetectionEvaluation):
        # Where nothing is left out the figures are known, and so are the resamples of their intervals.
        rest = evaluation if alone.all() else evaluation.taken(np.flatnonzero(alone).tolist()) if count else None
        figures = {} if rest is None else rest.to_json()
        return {"images": count, **{key: figures.get(key) for key in ("ap", "ap50", "ap50_interval")}}
    right = int((evaluation.ranks[alone] == 0).sum())
    return {
        "images": count,
        "top1": right / count if count else None,
        "top1_interval": list(wilson_interval(right, count)),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    partner = pair.partner.as_posix() if pair.partner.parts else None
    score = round(pair.score, 4)
    return {"path": pair.path.as_posix(), "partner": partner, "kind": pair.kind, "score": score, "how": pair.how}


def _keep(path: Path, small: Thumbnails, names: Sequence[Path]) -> None:
    written = io.BytesIO()
    contents = np.frombuffer(bytes.fromhex("".join(small.contents)), np.uint8).reshape(len(small), -1)
    listed = json.dumps([name.as_posix() for name in names]).encode("ascii")
    np.savez_compressed(
        written,
        contents=contents,
        luma=small.luma,
        chroma=small.chroma,
        shown=small.shown,
        names=np.frombuffer(listed, np.uint8),
    )
    write_bytes(path, written.getvalue())


def _kept(path: Path) -> tuple[Thumbnails, list[Path]] | None:
    """Read thumbnails with the names of their pictures; None where there are none, or the file is damaged."""
    if not path.is_file():
        return None
    with contextlib.suppress(*_FAULTS):
        with zipfile.ZipFile(path) as archive:  # a small file may claim to unpack to anything
            if sum(entry.file_size for entry in archive.infolist()) > MOST_KEPT * 8192:
                raise ValueError("too large")
        with np.load(path) as held:
            contents = tuple(row.tobytes().hex() for row in held["contents"])
            small = Thumbnails(contents, held["luma"], held["chroma"], held["shown"])
            names = [Path(name) for name in json.loads(held["names"].tobytes())]
        count = len(contents)
        shapes = (small.luma.shape, small.chroma.shape, small.shown.shape, len(names))
        kinds = small.luma.dtype.str + small.chroma.dtype.str + small.shown.dtype.str
        if shapes == ((count, SIDE, SIDE), (count, 2, COLOUR, COLOUR), (count,), count) and kinds == "|u1|u1|b1":
            return small, names
    log.warning("%s: damaged, so near copies of training pictures are not looked for", path)
    return None
