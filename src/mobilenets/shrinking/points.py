"""``points.jsonl``: one line for all that was found, added at the end; a line that was cut off is not one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mobilenets.base.files import explaining
from mobilenets.errors import InputError

POINTS = "points.jsonl"


class Lines:
    """The lines of a file, each a JSON object with its ``kind``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: list[dict[str, Any]] = []
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            if line.endswith(b"\n"):
                self._known.append(_read(line, path))
                whole += len(line)
        if path.is_file() and path.stat().st_size > whole:
            os.truncate(path, whole)

    def add(self, kind: str, value: dict[str, Any]) -> None:
        """Add a line, and have it on the disk."""
        line = {"kind": kind} | value
        with explaining(self.path), self.path.open("ab") as file:
            file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known.append(line)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Give the lines of a kind, the oldest first."""
        return [
            {name: value for name, value in line.items() if name != "kind"}
            for line in self._known
            if line["kind"] == kind
        ]


def _read(line: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
        if isinstance(value, dict) and "kind" in value:
            return value
    except ValueError:
        pass
    raise InputError(f"{path}: damaged; remove {path.parent}, and begin again")
