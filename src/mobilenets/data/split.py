"""Which pictures are learned from and which are held out: stratified, repeatable, without leaks."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.data.folder import Problem, Sample, content_hash, relative
from mobilenets.errors import InputError
from mobilenets.runtime.files import write_bytes

_HEADER = ["image", "class", "split"]
_HALVES = ("train", "validation")
_log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Split:
    """Both halves, in the order the samples had; ``copies`` pictures were kept with a byte-identical one."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    copies: int = 0


def identical(samples: Sequence[Sample], root: Path) -> list[tuple[Sample, ...]]:
    """Group the samples by content: byte-identical files together, every other file by itself.

    Members and groups are in order of relative path. Only files that share their size are read.
    """
    ordered = sorted(samples, key=lambda sample: relative(sample.path, root))
    try:
        sizes = [sample.path.stat().st_size for sample in ordered]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    shared = Counter(sizes)
    groups: dict[object, list[Sample]] = defaultdict(list)
    for place, (sample, size) in enumerate(zip(ordered, sizes, strict=True)):
        groups[(size, content_hash(sample.path)) if shared[size] > 1 else place].append(sample)
    return [tuple(group) for group in groups.values()]


def split(samples: Sequence[Sample], classes: Sequence[str], share: float, seed: int, root: Path) -> Split:
    """Hold out ``share`` of each class (rounded; at least one picture is held out, and one is left).

    Pictures are drawn in order of a hash of seed and relative path, so the split depends on these alone: not
    on the order on the disk, on the system, on where ``root`` lies, or on a library's random numbers.
    Byte-identical files stay on one side, across classes too. A class that cannot be on both sides, with one
    picture or only copies of one, is left to training, with a Problem ``tiny_class``.

    Raises InputError for a share that is not between 0 and 1, or a file that cannot be read.
    """
    if not 0 < share < 1:
        raise InputError(f"the share held out for validation must be between 0 and 1, not {share}")
    sizes = Counter(sample.label for sample in samples)
    target = {label: min(max(1, round(share * size)), size - 1) for label, size in sizes.items()}
    groups = sorted(identical(samples, root), key=lambda group: _draw(seed, relative(group[0].path, root)))
    counts = [Counter(sample.label for sample in group) for group in groups]
    places: dict[int, list[int]] = defaultdict(list)
    for place, count in enumerate(counts):
        for label in count:
            places[label].append(place)
    held: set[int] = set()
    done: Counter[int] = Counter()

    def take(place: int) -> None:
        held.add(place)
        done.update(counts[place])

    for place, count in enumerate(counts):
        if all(done[label] + number <= target[label] for label, number in count.items()):
            take(place)
    problems = []
    for label in sorted(sizes):
        if done[label]:
            continue
        # No group was small enough for the share; take the smallest that leaves every class something.
        fitting = [
            place
            for place in places[label]
            if all(done[own] + number < sizes[own] for own, number in counts[place].items())
        ]
        if fitting:
            take(min(fitting, key=lambda place: sum(counts[place].values())))
            continue
        pictures = "one picture" if sizes[label] == 1 else f"{sizes[label]} pictures, but too many are copies"
        problems.append(Problem("tiny_class", classes[label], f"{pictures}: none could be held out for validation"))
    validation = {sample for place in held for sample in groups[place]}
    copies = sum(len(group) for group in groups if len(group) > 1)
    if copies:
        _log.info("%d pictures are byte-identical copies; copies were kept in the same half", copies)
    return Split(
        tuple(sample for sample in samples if sample not in validation),
        tuple(sample for sample in samples if sample in validation),
        tuple(problems),
        copies,
    )


def write_split(
    path: Path, root: Path, classes: Sequence[str], train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    """Write ``image,class,split``: one line a picture, its path relative to ``root``, sorted by it."""
    rows = sorted(
        [relative(sample.path, root), classes[sample.label], half]
        for half, samples in zip(_HALVES, (train, validation), strict=True)
        for sample in samples
    )
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *rows])
    # File names need not be valid Unicode; the odd bytes are written as they are.
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_split(path: Path, root: Path, classes: Sequence[str]) -> Split:
    """Read what ``write_split`` wrote, with pictures below ``root``.

    Raises InputError in one line for a malformed file, an unknown class, a picture named twice or outside
    ``root``, and a picture that is no longer there.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not rows or rows[0] != _HEADER:
        raise InputError(f"{path} must begin with the line {','.join(_HEADER)}")
    labels = {name: label for label, name in enumerate(classes)}
    halves: dict[str, list[Sample]] = {half: [] for half in _HALVES}
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path}, entry {number}"
        if len(row) != 3 or row[2] not in halves:
            raise InputError(f"{where}: expected image,class,split with split {' or '.join(_HALVES)}")
        name, label, half = row
        if label not in labels:
            raise InputError(f"{where}: unknown class {label!r}")
        picture = root / name
        inside = picture != root and picture.is_relative_to(root) and ".." not in Path(name).parts
        if name in seen or not inside:
            raise InputError(f"{where}: {name!r} is named twice or does not lie below {root}")
        if not picture.is_file():
            raise InputError(f"{where}: the picture {picture} is no longer there")
        seen.add(name)
        halves[half].append(Sample(picture, labels[label]))
    return Split(tuple(halves["train"]), tuple(halves["validation"]))


def _draw(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
