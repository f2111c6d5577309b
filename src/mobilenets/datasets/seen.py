"""What a model has seen: the pictures that it and the models it began with learned from and held out, by content."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base.files import nfc, read_text, write_text
from mobilenets.datasets.folder import Sample, content_hashes, fingerprint
from mobilenets.datasets.split import read_split
from mobilenets.errors import InputError

FILE = "seen.csv"
_HEADER = ["content", "class", "split"]


@dataclass(frozen=True)
class Seen:
    """Class and half of pictures by the hash of their bytes: ``train validation test``, or ``unreadable``."""

    pictures: Mapping[str, tuple[str, str]]

    def learned(self, content: str) -> bool:
        """Whether a picture was learned from."""
        return self.pictures.get(content, ("", ""))[1] == "train"

    def held(self, content: str) -> bool:
        """Whether a picture was held out, and never learned from."""
        return self.pictures.get(content, ("", ""))[1] in ("validation", "test")

    def sides(
        self, samples: Sequence[Sample], contents: Mapping[Path, str]
    ) -> tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]:
        """Part samples into those learned from, those held out, and new ones."""
        taught = tuple(sample for sample in samples if self.learned(contents[sample.path]))
        held = tuple(sample for sample in samples if self.held(contents[sample.path]))
        known = {*taught, *held}
        return taught, held, tuple(sample for sample in samples if sample not in known)

    def with_earlier(self, earlier: Seen | None) -> Seen:
        """Add what an earlier model saw, if anything is known of it; what either learned from counts as learned."""
        if earlier is None:
            return self
        taught = {content: about for content, about in earlier.pictures.items() if about[1] == "train"}
        return Seen({**earlier.pictures, **self.pictures, **taught})

    def renamed(
        self, samples: Iterable[Sample], contents: Mapping[Path, str], classes: Sequence[str]
    ) -> dict[str, str]:
        """Give the earlier name of each class that is called otherwise now: the one that most of its pictures had."""
        before: dict[str, Counter[str]] = {}
        known = {name for name, _ in self.pictures.values()}
        for sample in samples:
            if (about := self.pictures.get(contents[sample.path])) is not None:
                before.setdefault(classes[sample.label], Counter())[about[0]] += 1
        found: dict[str, str] = {}
        for name, names in before.items():
            old, number = names.most_common(1)[0]
            if name not in known and old not in classes and 2 * number > names.total() and old not in found.values():
                found[name] = old
        return found


def seen_of(
    halves: Mapping[str, Iterable[Sample]],
    classes: Sequence[str],
    contents: Mapping[Path, str],
    unreadable: Iterable[str] = (),
) -> Seen:
    """Say what a run sees; ``halves`` go by ``train``, ``validation``, ``test``, ``unreadable`` are hashes."""
    found = dict.fromkeys(unreadable, ("", "unreadable"))
    for half in ("test", "validation", "train"):  # of copies in several, learned from wins
        found |= {contents[sample.path]: (classes[sample.label], half) for sample in halves.get(half, ())}
    return Seen(found)


def write_seen(run: Path, seen: Seen) -> None:
    """Write ``seen.csv`` into a run folder, sorted by content."""
    text = io.StringIO(newline="")
    rows = ([content, *about] for content, about in sorted(seen.pictures.items()))
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *rows])
    write_text(run / FILE, text.getvalue())


def read_seen(run: Path, data: Path | None = None) -> Seen | None:
    """Read what a model has seen.

    Of a run that is older than ``seen.csv`` the pictures themselves tell, in ``data`` or where they lay then. None
    where that cannot be known. Raises ``InputError`` for a damaged file.
    """
    path = run / FILE
    if not path.is_file():
        return _of_pictures(run, data)
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not rows or rows[0] != _HEADER or any(len(row) != 3 for row in rows):
        raise InputError(f"{path}: damaged; it must hold lines of {','.join(_HEADER)}")
    return Seen({content: (nfc(name), half) for content, name, half in rows[1:]})


def _of_pictures(run: Path, data: Path | None) -> Seen | None:
    try:
        record = json.loads((run / "recipe.json").read_bytes())["data"]
        folder, classes, mark = Path(record["folder"]), tuple(record["classes"]), record["fingerprint"]
        tested = record["test"] is not None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for root in filter(None, (data, folder)):
        try:
            halves = read_split(run / "split.csv", root, classes)
            samples = [*halves.train, *halves.validation]
            contents = content_hashes([sample.path for sample in samples])
        except InputError:
            continue
        if tested or fingerprint(samples, root, contents=contents) == mark:
            return seen_of({"train": halves.train, "validation": halves.validation}, classes, contents)
    return None
