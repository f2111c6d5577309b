"""``test.json``: when and how often a model was measured on a test set, which is unseen only once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import find_bundle

TEST = "test.json"
# A set of pictures is known again by the smallest of the hashes of their bytes, of which so many hexadecimal digits.
SKETCH = 64
DIGITS = 16


@dataclass(frozen=True)
class Opening:
    """One measurement on a test set: when (UTC), by which verb, on how many pictures, a sketch of their contents."""

    when: str
    verb: str
    images: int
    contents: tuple[str, ...]

    def same_set(self, other: Opening) -> bool:
        """Whether at least half of the pictures of both together are in both, as far as the sketches tell.

        The share of the smallest hashes of both together that are in both estimates it (Broder 1997); of sets that are
        smaller than a sketch it is exact.
        """
        one, two = set(self.contents), set(other.contents)
        lowest = sorted(one | two)[:SKETCH]
        return 2 * sum(name in one and name in two for name in lowest) >= len(lowest)


@dataclass(frozen=True)
class TestSet:
    """How often a model was measured ``before`` on these test pictures, or most of them, and the day of the first."""

    __test__ = False  # pytest takes it for tests

    before: int
    first: str

    @property
    def note(self) -> str | None:
        """Say so where the test set was opened before."""
        if not self.before:
            return None
        times = "once" if self.before == 1 else f"{self.before} times"
        return (
            f"measured on this test set {times} before, first on {self.first}: the figure is no longer unseen, and too "
            "high if anything was chosen by the earlier ones"
        )


def open_test_set(model: Path, verb: str, contents: Iterable[str]) -> TestSet:
    """Write down that a model is measured on test pictures, given by the hashes of their bytes.

    A training that is measured again, because it was resumed, counts once. Where nothing can be written that is said.
    """
    file = find_bundle(model) / TEST
    pictures = sorted(contents)
    sketch = tuple(name[:DIGITS] for name in dict.fromkeys(pictures))[:SKETCH]
    now = Opening(datetime.now(UTC).isoformat(timespec="seconds"), verb, len(pictures), sketch)
    known = [one for one in _read(file) if verb != "train" or one.verb != verb or not one.same_set(now)]
    earlier = [one for one in known if one.same_set(now)]
    try:
        write_json(file, {"openings": [asdict(one) for one in [*known, now]]})
    except InputError as error:
        log.warning("that the test set was opened is not written down: %s", error)
    return TestSet(len(earlier), (earlier or [now])[0].when.partition("T")[0])


def opened_by_evaluate(
    model: Path, which: str, samples: Sequence[Sample], contents: Mapping[Path, str]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Write down that ``evaluate`` opened a test set; gives its ``test_set``, and a note where it was open before.

    Nothing is done for another half.
    """
    if which != "test":
        return None, []
    opened = open_test_set(model, "evaluate", [contents[sample.path] for sample in samples])
    notes = [opened.note] if opened.note is not None else []
    for note in notes:
        log.info("%s", note, extra={"noted": True})
    return asdict(opened), notes


def opened_by_compare(models: Sequence[Path], which: str, contents: Sequence[str]) -> list[str]:
    """Write down that ``compare`` opened a test set for each model; gives notes on those that it was open for before.

    Nothing is done for another half.
    """
    notes = []
    for model in dict.fromkeys(models) if which == "test" else ():
        if (note := open_test_set(model, "compare", contents).note) is not None:
            notes.append(f"{model}: {note}")
            log.info("%s", notes[-1], extra={"noted": True})
    return notes


def _read(file: Path) -> list[Opening]:
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = json.loads(file.read_bytes())["openings"]
        return [
            Opening(str(one["when"]), str(one["verb"]), int(one["images"]), tuple(map(str, one["contents"])))
            for one in found
        ]
    return []
