"""Pictures without labels, of which a teacher says what they show: a folder of them beside DATA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.base.mounts import mounted
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample, content_hashes, fingerprint, pictures_below, relative
from mobilenets.datasets.listing import say
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.readable import check_readable
from mobilenets.errors import InputError
from mobilenets.training.distillation import UNLABELLED
from mobilenets.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """The pictures that are used with the hashes of their contents, what ``recipe.json`` keeps of them, and notes."""

    contents: Mapping[Path, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The pictures as samples, in order of their paths."""
        return tuple(Sample(path, UNLABELLED) for path in self.contents)


def begin_unlabelled(recipe: Recipe, dataset: Dataset) -> Unlabelled:
    """Read the pictures without labels: those that do not decode are named, and those of DATA left out.

    Raises ``InputError`` for a folder that cannot be used, and where more than ``max_unreadable`` do not decode.
    """
    if recipe.unlabelled is None:
        return Unlabelled()
    root = Path(recipe.unlabelled)
    _refuse(root, dataset)
    found = [Sample(path, UNLABELLED) for path in pictures_below(root)]
    with progress("checking pictures", len(found), "pictures") as shown:
        readable, problems = check_readable(found, recipe.workers, shown.advance)
    say(problems)
    if len(problems) > recipe.max_unreadable * len(found):
        raise InputError(
            f"{root}: {len(problems)} of {len(found)} pictures cannot be read, more than --max-unreadable "
            f"{recipe.max_unreadable:g} allows: repair or remove them; the first is {problems[0].path}"
        )
    contents = content_hashes([sample.path for sample in readable], recipe.workers)
    held = {dataset.contents[one.path] for half in ("validation", "test") for one in dataset.halves[half]}
    known = held | {dataset.contents[one.path] for one in dataset.train}
    used = {path: content for path, content in contents.items() if content not in known}
    if not used:
        raise InputError(f"{root}: no picture is left that is not one of DATA's; leave --unlabelled out")
    notes = []
    if problems:
        notes.append(
            f"{len(problems)} of the {len(found)} pictures without labels cannot be read and are left out, such as "
            f"{relative(Path(problems[0].path), root)}"
        )
    copies = sum(content in held for content in contents.values())
    for count, of in ((copies, "held-out"), (len(readable) - len(used) - copies, "labelled training")):
        if count:
            notes.append(f"{count} of the pictures without labels are copies of {of} pictures, and are left out")
    for note in notes:
        log.warning("%s: %s", root, note, extra={"detail": True})
    left_out = sorted(relative(sample.path, root) for sample in found if sample.path not in used)
    about = {"folder": str(root), "pictures": len(used), "left_out": left_out, "fingerprint": _mark(used, root)}
    return Unlabelled(used, about, tuple(notes))


def take_up_unlabelled(recipe: Recipe, about: Mapping[str, Any]) -> Unlabelled:
    """Read them again for a run that goes on; raises ``InputError`` where they are not what they were."""
    if recipe.unlabelled is None:
        return Unlabelled()
    root, left_out = Path(recipe.unlabelled), set(about["left_out"])
    used = [path for path in pictures_below(root) if relative(path, root) not in left_out]
    contents = content_hashes(used, recipe.workers)
    if _mark(contents, root) != about["fingerprint"]:
        raise InputError(
            f"{root}: the pictures have changed since this run began; train again with another --out, without --resume"
        )
    return Unlabelled(contents, about)


def _refuse(root: Path, dataset: Dataset) -> None:
    layout = dataset.layout
    if mounted(layout.root) is not None:
        raise InputError(
            "unlabelled: not beside shards yet; use a folder of pictures as DATA, or leave --unlabelled out"
        )
    for place in (layout.train, layout.validation, layout.test):
        if place is not None and root.resolve().is_relative_to(place.resolve()):
            raise InputError(f"{root} is inside the picture folder {place}, where it is a class: move it out of it")


def _mark(contents: Mapping[Path, str], root: Path) -> str:
    """Hash which file has which content."""
    return fingerprint([Sample(path, 0) for path in contents], root, contents=contents)
