"""``test.json``: when and how often a model was measured on a test set, which is unseen only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import find_bundle

TEST = "test.json"

log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Opening:
    """One measurement on a test set: when (UTC), by which verb, on how many pictures, and a hash of their contents."""

    when: str
    verb: str
    images: int
    contents: str


@dataclass(frozen=True)
class TestSet:
    """How often a model was measured ``before`` on the same test pictures, and the day on which it first was."""

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

    def to_json(self) -> dict[str, Any]:
        """Return it as in ``evaluate --json``."""
        return asdict(self)


def open_test_set(model: Path, verb: str, contents: Iterable[str]) -> TestSet:
    """Write down that a model is measured on test pictures, given by the hashes of their bytes.

    A training that is measured again, because it was resumed, counts once. Where nothing can be written that is said.
    """
    file = find_bundle(model) / TEST
    pictures = sorted(contents)
    mark = hashlib.sha256("\n".join(pictures).encode()).hexdigest()
    now = Opening(datetime.now(UTC).isoformat(timespec="seconds"), verb, len(pictures), mark)
    known = _read(file)
    earlier = [one for one in known if one.contents == mark]
    if verb == "train":
        earlier = [one for one in earlier if one.verb != verb]
        known = [one for one in known if (one.contents, one.verb) != (mark, verb)]
    try:
        write_json(file, {"openings": [asdict(one) for one in [*known, now]]})
    except InputError as error:
        log.warning("that the test set was opened is not written down: %s", error)
    return TestSet(len(earlier), (earlier or [now])[0].when.partition("T")[0])


def _read(file: Path) -> list[Opening]:
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = json.loads(file.read_bytes())["openings"]
        return [Opening(str(one["when"]), str(one["verb"]), int(one["images"]), str(one["contents"])) for one in found]
    return []
