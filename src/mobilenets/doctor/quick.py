"""The part of the doctor that costs next to nothing: copies across the halves, and copies with two labels.

Pictures are decoded before training in any case, to see that they can be; their thumbnails are made on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.doctor.confirm import Match, matches
from mobilenets.doctor.copies import Pair, named
from mobilenets.doctor.hashes import Thumbnail, Thumbnails, thumbnail

MOST_PICTURES = 200_000
"""Of more pictures no thumbnails are kept: 1.2 kB each."""

# Comparisons of one picture with another, of which a core makes about 2·10⁸ a second; with crops each is 26.
MOST_WHOLE, MOST_CROPPED = 1_000_000_000, 20_000_000


class Looking:
    """Makes the thumbnail of every picture that is shown to it; from several threads."""

    def __init__(self) -> None:
        self.made: dict[Path, Thumbnail] = {}

    def __call__(self, sample: Sample, image: Image.Image) -> None:
        """Take in a decoded picture."""
        if len(self.made) < MOST_PICTURES:
            self.made[sample.path] = thumbnail(image)

    def of(self, samples: Sequence[Sample], contents: Mapping[Path, str]) -> Thumbnails:
        """Give the thumbnails of samples whose hashes are known, in their order."""
        made = ((contents[sample.path], self.made.get(sample.path)) for sample in samples)
        return Thumbnails.of(made, len(samples))


@dataclass(frozen=True)
class Leaks:
    """Which pictures have a copy among those that a model learned from.

    ``pairs`` has one for each such picture, the surest, ``partner`` being the training picture. ``limited`` says what
    was not looked for, None where nothing was left out.
    """

    pairs: tuple[Pair, ...]
    limited: str | None = None

    @property
    def near(self) -> tuple[Pair, ...]:
        """Those that are not the same file."""
        return tuple(pair for pair in self.pairs if pair.kind == "near")


def leaks(measured: Thumbnails, names: Sequence[Path], training: Thumbnails, partners: Sequence[Path]) -> Leaks:
    """Find the measured pictures that have a copy among training pictures; both with their names.

    How much is compared depends on how many there are, and on nothing else, so that the answer is always the same.
    """
    count = len(measured) * len(training)
    if count > MOST_WHOLE:
        found = _same_files(measured, training)
    else:
        found = matches(measured.joined(training), len(measured), crops=count <= MOST_CROPPED)
    return Leaks(_surest(found, [*names, *partners]), _limited(count))


def across_folds(small: Thumbnails, names: Sequence[Path], folds: Sequence[int]) -> Leaks:
    """Find the pictures that have a near copy in another fold, whose model learned from it; as ``leaks`` does."""
    count = len(small) ** 2
    found = matches(small, crops=count <= MOST_CROPPED) if count <= MOST_WHOLE else []
    apart = [match for match in found if folds[match.one] != folds[match.other]]
    turned = [match._replace(one=match.other, other=match.one) for match in apart]
    return Leaks(_surest([*apart, *turned], names), _limited(count))


def _limited(count: int) -> str | None:
    """Say what is not looked for with so many comparisons."""
    if count > MOST_WHOLE:
        return "only for the same files, because there are so many pictures: mobilenets check looks for all copies"
    if count > MOST_CROPPED:
        return "not for crops, because there are so many pictures: mobilenets check looks for all copies"
    return None


def _surest(found: Sequence[Match], names: Sequence[Path]) -> tuple[Pair, ...]:
    """Name the surest match of each picture."""
    best: dict[int, Match] = {}
    for match in found:
        if match.one not in best or (match.exact, match.score) > (best[match.one].exact, best[match.one].score):
            best[match.one] = match
    return tuple(named(match, names) for _, match in sorted(best.items()))


def _same_files(measured: Thumbnails, training: Thumbnails) -> list[Match]:
    first = {content: place for place, content in reversed(list(enumerate(training.contents)))}
    return [
        Match(place, len(measured) + first[content], True, 1.0, "same file")
        for place, content in enumerate(measured.contents)
        if content in first
    ]


def conflicts(small: Thumbnails, samples: Sequence[Sample]) -> list[Pair]:
    """Find copies that lie in the folders of two classes: the same files, and where that is quick near ones.

    Crops are left to ``find_copies``.
    """
    paths = [sample.path for sample in samples]
    if len(samples) ** 2 > MOST_WHOLE:
        first: dict[str, int] = {}
        found = []
        for place, content in enumerate(small.contents):
            partner = first.setdefault(content, place)
            found.append(Match(place, partner, True, 1.0, "same file"))
    else:
        found = matches(small, crops=False)
    return [named(match, paths) for match in found if samples[match.one].label != samples[match.other].label]


def in_words(pairs: Sequence[Pair]) -> str:
    """Count pairs by what was done, the surest first: ``2 same file, 3 mirrored``."""
    exact_first = sorted(pairs, key=lambda pair: pair.kind)
    counted = Counter(pair.how for pair in exact_first)
    return ", ".join(f"{number} {how}" for how, number in counted.items())
