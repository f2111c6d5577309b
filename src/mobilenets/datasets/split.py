"""Which pictures are learned from and which are held out: stratified, repeatable, without leaks."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mobilenets.base import mounts
from mobilenets.base.cells import read_cells, text_of_table, write_cells
from mobilenets.base.files import nfc, write_bytes
from mobilenets.base.notes import log
from mobilenets.datasets.folder import Sample, content_hash, relative
from mobilenets.datasets.listing import Problem
from mobilenets.errors import InputError

_HEADER = ["image", "class", "split"]
_HALVES = ("train", "validation")
MOST = 1 << 36  # bytes of a split.csv, of a billion pictures
Name = TypeVar("Name", int, str, Path)


@dataclass(frozen=True)
class Split:
    """Both halves, in the order the samples had; ``copies`` pictures were kept with a byte-identical one."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    copies: int = 0


def identical(
    samples: Sequence[Sample], root: Path, contents: Mapping[Path, str] | None = None
) -> list[tuple[Sample, ...]]:
    """Group the samples by content: byte-identical files together, every other file by itself.

    Members and groups are in order of relative path. ``contents`` has the hash of each file's bytes; without, those
    files are read that share their size.
    """
    ordered = sorted(samples, key=lambda sample: relative(sample.path, root))
    groups: dict[object, list[Sample]] = defaultdict(list)
    if contents:
        for sample in ordered:
            groups[contents[sample.path]].append(sample)
        return [tuple(group) for group in groups.values()]
    try:
        sizes = [mounts.file_size(sample.path) for sample in ordered]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    shared = Counter(sizes)
    for place, (sample, size) in enumerate(zip(ordered, sizes, strict=True)):
        groups[(size, content_hash(sample.path)) if shared[size] > 1 else place].append(sample)
    return [tuple(group) for group in groups.values()]


def split(
    samples: Sequence[Sample],
    classes: Sequence[str],
    share: float,
    seed: int,
    root: Path,
    taught: Collection[Sample] = (),
    held: Collection[Sample] = (),
    together: Mapping[Path, str] | None = None,
    contents: Mapping[Path, str] | None = None,
) -> Split:
    """Hold out ``share`` of each class (rounded; at least one picture is held out, and one is left).

    Pictures are drawn in order of a hash of seed and relative path, so the split depends on these alone: not
    on the order on the disk, on the system, on where ``root`` lies, or on a library's random numbers.
    Byte-identical files stay on one side, across classes too. A class that cannot be on both sides, with one
    picture or only copies of one, is left to training, with a Problem ``tiny_class``.

    ``taught`` stay in training and ``held`` are held out whatever the share; they are samples too, with all their
    copies, and only the others are drawn, in the same share.

    ``together`` names the groups of pictures; the members of a group stay on one side, as copies do. Then shares are
    met as nearly as whole groups allow. ``contents`` is that of ``identical``.

    Raises InputError for a share that is not between 0 and 1, or a file that cannot be read.
    """
    if not 0 < share < 1:
        raise InputError(f"the share held out for validation must be between 0 and 1, not {share}")
    known = {*taught, *held}
    new = [sample for sample in samples if sample not in known]
    sizes = Counter(sample.label for sample in new)
    learned, measured = ({sample.label for sample in some} for some in (taught, held))
    # A class that has training pictures already need not be left one, and one that has others need not give one.
    most = {label: size - (label not in learned) for label, size in sizes.items()}
    least = {label: int(label not in measured) for label in sizes}
    target = {label: min(max(least[label], round(share * size)), most[label]) for label, size in sizes.items()}
    alike = identical(new, root, contents)
    groups = sorted(
        joined(alike, together) if together else alike,
        key=lambda group: _draw(seed, nfc(relative(group[0].path, root))),
    )
    counts = [Counter(sample.label for sample in group) for group in groups]
    taken, lacking = _choose(counts, target, least, most)
    if together:
        _come_nearer(taken, counts, target, most)
    problems = []
    for label in lacking:
        one_side = "copies" if not together else "of one group"
        pictures = "one picture" if sizes[label] == 1 else f"{sizes[label]} pictures, but too many are {one_side}"
        problems.append(Problem("tiny_class", classes[label], f"{pictures}: none could be held out for validation"))
    validation = {*held, *(sample for place in taken for sample in groups[place])}
    copies = sum(len(group) for group in alike if len(group) > 1)
    if copies:
        log.info("%d pictures are byte-identical copies; all copies of a picture were kept in the same split", copies)
    return Split(
        tuple(sample for sample in samples if sample not in validation),
        tuple(sample for sample in samples if sample in validation),
        tuple(problems),
        copies,
    )


def _choose(
    counts: Sequence[Counter[int]], target: Mapping[int, int], least: Mapping[int, int], most: Mapping[int, int]
) -> tuple[set[int], list[int]]:
    """Choose groups, whose pictures are counted by label, until each label has its ``target``, in order.

    Returns the places of the groups, and the labels that cannot have their ``least``.
    """
    taken: set[int] = set()
    done: Counter[int] = Counter()

    def take(place: int) -> None:
        taken.add(place)
        done.update(counts[place])

    def fits(place: int, limit: Mapping[int, int]) -> bool:
        return all(done[label] + number <= limit[label] for label, number in counts[place].items())

    for place in range(len(counts)):
        if fits(place, target):
            take(place)
    lacking = []
    for label in sorted(target):
        if done[label] >= least[label]:
            continue
        # No group was small enough for the share; take the smallest that leaves every class something.
        fitting = [place for place, count in enumerate(counts) if label in count and fits(place, most)]
        if fitting:
            take(min(fitting, key=lambda place: sum(counts[place].values())))
        else:
            lacking.append(label)
    return taken, lacking


def joined(alike: Sequence[tuple[Sample, ...]], together: Mapping[Path, str]) -> list[tuple[Sample, ...]]:
    """Join sets of copies that share a group, also by way of others; members stay in order of path."""
    first: dict[str, int] = {}
    whole = clusters(
        (place, first.setdefault(together[sample.path], place))
        for place, samples in enumerate(alike)
        for sample in samples
        if sample.path in together
    )
    groups: dict[int, list[Sample]] = defaultdict(list)
    for place, samples in enumerate(alike):
        groups[whole.get(place, place)] += samples
    return [tuple(samples) for samples in groups.values()]


def clusters(pairs: Iterable[tuple[Name, Name]]) -> dict[Name, Name]:
    """Join pairs into clusters; returns the first member, in their order, of each member's cluster.

    >>> clusters([("b", "c"), ("a", "c"), ("x", "y")])
    {'b': 'a', 'c': 'a', 'a': 'a', 'x': 'x', 'y': 'x'}

    """
    above: dict[Name, Name] = {}

    def top(name: Name) -> Name:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for pair in pairs:
        one, other = sorted(map(top, pair))
        above[other] = one
    return {name: top(name) for name in above}


def _come_nearer(
    taken: set[int], counts: Sequence[Counter[int]], target: Mapping[int, int], most: Mapping[int, int]
) -> None:
    """Take more groups, in order, while that brings the classes nearer to their targets altogether."""
    done: Counter[int] = Counter()
    for place in taken:
        done.update(counts[place])
    for place, count in enumerate(counts):
        if place in taken or any(done[label] + number > most[label] for label, number in count.items()):
            continue
        gain = sum(
            abs(target[label] - done[label]) - abs(target[label] - done[label] - number)
            for label, number in count.items()
        )
        if gain > 0:
            taken.add(place)
            done.update(count)


def write_split(
    path: Path, root: Path, classes: Sequence[str], train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    """Write ``image,class,split``: one line a picture, its path relative to ``root``, sorted by it."""
    halves = dict(zip(_HALVES, (train, validation), strict=True))
    paths = [relative(sample.path, root) for samples in halves.values() for sample in samples]
    forms = Counter(map(nfc, paths))
    rows = sorted(
        # Two names that differ in their Unicode form only keep it.
        [nfc(name) if forms[nfc(name)] == 1 else name, classes[sample.label], half]
        for half, samples in halves.items()
        for sample in samples
        for name in [relative(sample.path, root)]
    )
    # File names need not be valid Unicode; the odd bytes are written as they are.
    write_bytes(path, write_cells([_HEADER, *rows]).encode("utf-8", "surrogateescape"))


def read_split(path: Path, root: Path, classes: Sequence[str]) -> Split:
    """Read what ``write_split`` wrote, with pictures below ``root``, also as a spreadsheet saved it again.

    Raises InputError in one line for a malformed file, an unknown class, a picture named twice or outside
    ``root``, and a picture that is no longer there.
    """
    rows = _rows(path)
    labels = {nfc(name): label for label, name in enumerate(classes)}
    halves: dict[str, list[Sample]] = {half: [] for half in _HALVES}
    seen: set[str] = set()
    listed: dict[Path, dict[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path}, entry {number}"
        if len(row) < 3 or row[2] not in halves:
            raise InputError(f"{where}: expected image,class,split with split {' or '.join(_HALVES)}")
        name, label, half = row[0], nfc(row[1]), row[2]
        if label not in labels:
            raise InputError(f"{where}: unknown class {label!r}")
        picture = root / name
        inside = picture != root and picture.is_relative_to(root) and ".." not in Path(name).parts
        if name in seen or not inside:
            raise InputError(f"{where}: {name!r} is listed twice or is not inside {root}")
        if not mounts.is_file(picture):
            picture = _on_disk(root, Path(name), listed)
        if not mounts.is_file(picture):
            raise InputError(
                f"{where}: the picture {picture} no longer exists: put it back, or train into another folder"
            )
        seen.add(name)
        halves[half].append(Sample(picture, labels[label]))
    return Split(tuple(halves["train"]), tuple(halves["validation"]))


def _rows(path: Path) -> list[list[str]]:
    """Read a split file's rows, of which the first begins with ``_HEADER``; empty lines are left out."""
    text = text_of_table(path, _HEADER, MOST)
    first = text.split("\n", 1)[0].strip()
    delimiter = next((mark for mark in ",;\t" if first.split(mark)[:3] == _HEADER), None)
    if delimiter is None:
        raise InputError(f"{path} must begin with the line {','.join(_HEADER)}")
    try:
        return read_cells(text, delimiter)
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error


def _on_disk(root: Path, name: Path, listed: dict[Path, dict[str, str]]) -> Path:
    """Find a file whose name lies on the disk in another Unicode form; ``listed`` keeps what was looked up."""
    place = root
    for part in name.parts:
        if place not in listed:
            listed[place] = (
                {nfc(entry.name): entry.name for entry in mounts.scan(place)} if mounts.is_folder(place) else {}
            )
        place /= listed[place].get(nfc(part), part)
    return place


def _draw(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
