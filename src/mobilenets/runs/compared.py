"""Which pictures of DATA two models may be compared on: those that neither learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobilenets.base.notes import log
from mobilenets.datasets.folder import Folder, Sample, content_hashes, read_folder
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import InputError
from mobilenets.runs.held_out import finder
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import find_bundle


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
