"""The folder of a job: what was asked, which parts are answered for, and what that came to.

``job.json`` ties the answers to a model, settings and a source; ``answers/`` has one file a part; ``done.jsonl`` has a
line for each of them, added once the file stands; ``summary.json`` adds the lines up.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.base.files import explaining, read_json, write_bytes, write_json
from mobilenets.base.leftovers import occupants
from mobilenets.base.lock import holding
from mobilenets.bulk.parts import Part
from mobilenets.errors import InputError

JOB, DONE, SUMMARY, ANSWERS, LOCK = "job.json", "done.jsonl", "summary.json", "answers", ".lock"
FORMAT, VERSION = "mobilenets answers", 1
# Parts that failed, and bad pictures, which the summary names.
NAMED = 100


@dataclass(frozen=True)
class Answered:
    """The rows of a part, as the bytes of a file, and what ``counted`` says of them."""

    content: bytes
    counts: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A part that nobody could answer for, and why."""

    reason: str


class Job:
    """A folder of answers that is being filled. Raises ``InputError`` where it holds anything else."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.done: dict[str, dict[str, Any]] = {}
        self.firsts: dict[str, str] = {}
        self._file = folder / DONE
        before = earlier(folder)
        if before is None:
            if folder.exists() and [name for name in occupants(folder) if name != LOCK]:
                raise InputError(f"{folder}: holds something else; give --out a new or empty folder")
            return
        _refuse_other(folder, before, about)
        self.firsts = dict(before.get("firsts", {}))
        for line in _lines(self._file):
            if self._stands(line):
                self.done[line["part"]] = line
            else:
                self.done.pop(line["part"], None)

    @property
    def suffix(self) -> str:
        """How the names of the files of answers end."""
        return f".{self.about['settings']['format']}"

    def begin(self, parts: Sequence[Part]) -> list[Part]:
        """Say what the job consists of now; gives the parts that are still to be answered, or again.

        The answers of parts that are no more, or not as they were, are removed.
        """
        firsts = {part.name: part.first for part in parts}
        write_json(self.folder / JOB, {**self.about, "firsts": firsts})
        (self.folder / ANSWERS).mkdir(exist_ok=True)
        now = {part.name: part.inputs for part in parts}
        self.done = {name: line for name, line in self.done.items() if line["inputs"] == now.get(name)}
        for file in (self.folder / ANSWERS).glob(f"*{self.suffix}"):
            if file.stem not in self.done and not file.name.startswith("."):
                file.unlink()
        # Whole again, where the one before was killed within a line.
        write_bytes(self._file, "".join(map(_line, self.done.values())).encode())
        return [part for part in parts if part.name not in self.done]

    def keep(self, part: Part, found: Answered) -> None:
        """Keep the answers of a part: first the file, then the line that makes it count."""
        write_bytes(self._answers(part.name), found.content)
        seconds = round(found.seconds, 3)
        line = {"part": part.name, "inputs": part.inputs, "bytes": len(found.content), "seconds": seconds}
        self.done[part.name] = line | dict(found.counts)
        with explaining(self._file), self._file.open("ab") as file:
            file.write(_line(self.done[part.name]).encode())
            file.flush()
            os.fsync(file.fileno())

    def summary(self, failed: Mapping[str, str], **more: Any) -> dict[str, Any]:
        """Add up all parts that are answered for, and write that down."""
        lines = [self.done[name] for name in sorted(self.done)]
        bad = [one for line in lines for one in line["first_bad"]]
        result = {
            "pictures": sum(line["pictures"] for line in lines),
            "bad": sum(line["bad"] for line in lines),
            "classes": _sum(line["classes"] for line in lines),
            "none_of_these": sum(line["none_of_these"] for line in lines),
            "reasons": _sum(line["reasons"] for line in lines),
            "first_bad": [{"image": image, "error": error} for image, error in bad[:NAMED]],
            "parts": len(lines),
            "failed": [{"part": name, "reason": failed[name]} for name in sorted(failed)[:NAMED]],
            "failed_parts": len(failed),
            "worker_seconds": round(sum(line["seconds"] for line in lines), 3),
            "answers": str(self.folder / ANSWERS),
            **self.about,
            **more,
        }
        write_json(self.folder / SUMMARY, result)
        return result

    def _answers(self, name: str) -> Path:
        return self.folder / ANSWERS / f"{name}{self.suffix}"

    def _stands(self, line: Mapping[str, Any]) -> bool:
        try:
            return bool(self._answers(line["part"]).stat().st_size == line["bytes"])
        except OSError:
            return False


def earlier(folder: Path) -> dict[str, Any] | None:
    """Read what a folder of answers says of its job; None where there is none."""
    if not (folder / JOB).is_file():
        return None
    found = read_json(folder / JOB, "give --out a new folder")
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise InputError(f"{folder / JOB}: not that of a job of this release; give --out a new folder")
    return found


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a folder, which is made; raises ``InputError`` where somebody else does."""
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with holding(folder / LOCK) as held:
        if not held:
            raise InputError(f"{folder}: another predict is writing there; wait for it, or give another --out")
        yield


def _refuse_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a folder that was begun with another model, source or setting: its answers would be of two kinds."""
    way = "go on as it was begun, or give another --out"
    if before["model"]["sha256"] != now["model"]["sha256"]:
        raise InputError(f"{folder}: holds the answers of another model ({before['model']['path']}); {way}")
    if before["source"] != now["source"]:
        raise InputError(f"{folder}: holds the answers for another source ({before['source']['path']}); {way}")
    for name, value in now["settings"].items():
        there = before["settings"].get(name)
        if there != value:
            raise InputError(f"{folder}: was begun with {name} {_said(there)}, not {_said(value)}; {way}")


def _said(value: Any) -> str:
    return "by default" if value is None else str(value)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Give the whole lines; one that was cut short when its writer was killed counts as never written."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "part" in entry:
            yield entry


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items(), key=lambda entry: (-entry[1], entry[0])))
