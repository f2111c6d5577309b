"""What a model has seen: the pictures that it and the models it began with learned from and held out, by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mobilenets.datasets.folder import Sample


@dataclass(frozen=True)
class SeenPictures:
    """Class and half of pictures by the hash of their bytes: ``train validation test``, or ``unreadable``.

    The class is empty where none was known.
    """

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

    def with_earlier(self, earlier: SeenPictures | None) -> SeenPictures:
        """Add what an earlier model saw, if anything is known of it; what either learned from counts as learned."""
        if earlier is None:
            return self
        taught = {content: about for content, about in earlier.pictures.items() if about[1] == "train"}
        return SeenPictures({**earlier.pictures, **self.pictures, **taught})

    def renamed(
        self, samples: Iterable[Sample], contents: Mapping[Path, str], classes: Sequence[str]
    ) -> dict[str, str]:
        """Give the earlier name of each class that is called otherwise now: the one that most of its pictures had."""
        before: dict[str, Counter[str]] = {}
        known = {name for name, _ in self.pictures.values()}
        for sample in samples:
            was = self.pictures.get(contents[sample.path], ("", ""))[0]
            if was:
                before.setdefault(classes[sample.label], Counter())[was] += 1
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
) -> SeenPictures:
    """Say what a run sees; ``halves`` go by ``train``, ``validation``, ``test``, ``unreadable`` are hashes."""
    found = dict.fromkeys(unreadable, ("", "unreadable"))
    for half in ("test", "validation", "train"):  # of copies in several, learned from wins
        found |= {contents[sample.path]: (classes[sample.label], half) for sample in halves.get(half, ())}
    return SeenPictures(found)


def copies_between(
    halves: Mapping[str, Sequence[Sample]], contents: Mapping[Path, str]
) -> dict[tuple[str, str], tuple[Sample, ...]]:
    """Give the pictures of each half whose very bytes are in an earlier half too, by both names.

    ``halves`` come in the order ``train``, ``validation``, ``test``; pairs without such pictures are left out.
    """
    known = {name: {contents[sample.path] for sample in half} for name, half in halves.items()}
    found = {
        (earlier, later): tuple(sample for sample in halves[later] if contents[sample.path] in known[earlier])
        for earlier, later in combinations(halves, 2)
    }
    return {pair: samples for pair, samples in found.items() if samples}
