"""How a data set is laid out in its folder: one folder per class, or halves that hold one folder per class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base.shell import quote
from mobilenets.datasets.listing import Problem, entries, folders, has_pictures, is_run, names, pictures
from mobilenets.datasets.parts import HALVES, USUAL, Part, half_of, has_halves, holding_in, part_of, share
from mobilenets.datasets.refuse import (
    refuse_file,
    refuse_flat_train,
    refuse_lone_half,
    refuse_named_halves,
    refuse_no_classes,
    refuse_no_folders,
    refuse_same,
)
from mobilenets.errors import InputError


@dataclass(frozen=True)
class Layout:
    """Which folders of DATA hold the classes; without ``validation``, ``train`` is to be split by seed.

    ``test`` is set only where there is a test folder besides a validation folder. ``root`` is DATA, or the folder in it
    that holds everything. ``notes`` are sentences on what was assumed or left out.
    """

    root: Path
    train: Path
    validation: Path | None = None
    test: Path | None = None
    notes: tuple[str, ...] = ()


def find_data(root: Path, known: Callable[[str], str | None] | None = None) -> Layout:
    """Recognise DATA: ``train/`` with ``validation/`` (or ``val``, ``dev``, ``test``, …), or one folder per class.

    Names of halves are known in any case and with additions (``Training``, ``training_set``, ``seg_train``). A half, or
    DATA, that holds nothing but one folder with everything in it is gone through. ``train`` is a class like any other
    (as among cars and planes) where it has no class folders inside. ``known`` gives the class that a folder stands for,
    or None: a folder of a known class is not gone through.

    Raises InputError in one line: no such folder, a file, no class folders, folders that are halves by what they hold
    but not by their names.
    """
    refuse_file(root)
    notes: list[str] = []
    root = _unwrapped(root, known, notes)
    listed = [Path(entry.path) for entry in folders(root)]
    parts = [part_of(path) for path in listed if not is_run(path)]
    train = _training(parts)
    if train is None:
        refuse_flat_train(parts)
        refuse_named_halves(root, parts)
        refuse_lone_half(root, parts)
        refuse_same(root, parts)
        refuse_no_classes(root, parts)
        refuse_no_folders(root)
        return Layout(root, root, notes=(*notes, *_alike(parts)))
    chosen = {"train": train}
    for half in ("validation", "test"):
        fitting = [part for part in parts if part.half == half and part.classes and (part.plain or share(part, train))]
        if fitting:
            chosen[half] = min(fitting, key=lambda part: (not part.plain, _rank(part, half)))
    rest = [part for part in parts if part not in chosen.values()]
    if len(chosen) == 1:
        notes.append(
            f"there is no validation/ beside {train.path.name}/: some of its pictures are held out for validation"
        )
    if "validation" not in chosen and "test" in chosen:
        chosen["validation"] = chosen.pop("test")
        notes.append(f"there is no validation/, so {chosen['validation'].path.name}/ is used for validation")
    notes += [*_taken(root, chosen), *_left(rest)]
    places = {half: part.classes or part.path for half, part in chosen.items()}
    return Layout(root, places["train"], places.get("validation"), places.get("test"), tuple(notes))


def _unwrapped(root: Path, known: Callable[[str], str | None] | None, notes: list[str]) -> Path:
    """Go through folders that hold nothing but one folder with everything in it, as archives unpack."""
    top = root
    while not has_pictures(top):
        inside = [name for name in holding_in(top) if not is_run(top / name)]
        # Halves in one folder, with unlabelled pictures in another beside it.
        halved = [name for name in inside if half_of(name)[0] is None and has_halves(part_of(top / name))]
        if len(inside) > 1 and len(halved) == 1 and not any(half_of(name) == ("train", True) for name in inside):
            inside = halved
        if len(inside) != 1 or half_of(inside[0])[1] or (known is not None and known(inside[0]) is not None):
            break
        only = top / inside[0]
        if has_pictures(only) or not _forks(only):
            break
        beside = [entry.name for entry in entries(top) if entry.name != only.name]
        left = f"; not used: {names(beside)} beside it" if beside else ""
        notes.append(f"the class folders were found in {only}{left}")
        top = only
    return top


def _forks(folder: Path) -> bool:
    """Whether there are two folders with pictures below, side by side, with no picture on the way."""
    while not has_pictures(folder) and (inside := holding_in(folder)):
        if len(inside) > 1:
            return True
        folder /= inside[0]
    return False


def _training(parts: Sequence[Part]) -> Part | None:
    """The part that is the training half, or None; a name such as ``train_station`` needs another half beside it."""
    found = [part for part in parts if part.half == "train" and part.classes]
    others = [part for part in parts if part.half in ("validation", "test")]
    fitting = [part for part in found if part.plain] or [
        part for part in found if any(share(part, other) or not other.classes for other in others)
    ]
    fitting = [part for part in fitting if part.path.name.lower() == "train"] or fitting
    if len(fitting) > 1:
        both = " and ".join(f"{part.path.name}/" for part in fitting)
        raise InputError(f"{fitting[0].path.parent} has several training folders, {both}: leave one of them there")
    # train/, car/ and plane/, each with kinds of its own.
    if not others and any(part.half is None and part.classes for part in parts):
        fitting = [part for part in fitting if any(share(part, other) for other in parts if other is not part)]
    for part in fitting:
        refuse_same(part.path, [part_of((part.classes or part.path) / name) for name in part.inside])
    return fitting[0] if fitting else None


def _rank(part: Part, half: str) -> int:
    order = HALVES[half].split()
    return next((place for place, word in enumerate(order) if part.path.name.lower().startswith(word)), len(order))


def _taken(root: Path, chosen: Mapping[str, Part]) -> list[str]:
    """Say which folders were taken as halves, where their names or places are not the usual ones."""
    places = {half: part.classes.relative_to(root).as_posix() for half, part in chosen.items() if part.classes}
    if all(place.lower() in USUAL for place in places.values()):
        return []
    return ["used as " + ", ".join(f"{half} pictures: {place}/" for half, place in places.items())]


def _left(rest: Sequence[Part]) -> list[str]:
    """Say what beside the halves is not used."""
    said, empty = [], []
    for part in rest:
        name = f"{part.path.name}/"
        if part.classes:
            said.append(f"{name} was not used, although it has class folders ({names(part.inside)})")
            continue
        problems: list[Problem] = []
        number = sum(1 for _ in pictures(part.path, problems))
        closed = next((problem.detail for problem in problems if problem.path == str(part.path)), None)
        if closed:
            said.append(f"{name} was not used: {closed}")
        elif number:
            said.append(
                f"{name} was not used: its {number} pictures are not in class folders; predict them with: "
                f"mobilenets predict RUN {quote(str(part.path))}"
            )
        else:
            empty.append(name)
    return [*said, f"not used, as there are no pictures in them: {names(empty)}"] if empty else said


def _alike(parts: Sequence[Part]) -> list[str]:
    """Say where class folders all hold folders of the same names, and others beside these."""
    holding = [part for part in parts if part.inside]
    common = set.intersection(*(set(part.inside) for part in holding)) if len(holding) > 1 else set()
    if len(common) < 2 or any(has_pictures(part.path) for part in parts):
        return []
    tops = names([f"{part.path.name}/" for part in holding])
    return [
        f"{tops} were used as classes, although all of them contain {names(sorted(common))}; if they are "
        "splits, call them train/ and val/"
    ]
