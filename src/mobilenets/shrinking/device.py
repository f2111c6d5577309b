"""Times of another device, from the JSON that ``benchmark --device-script`` prints there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json
from mobilenets.errors import InputError
from mobilenets.shrinking.candidates import FLOAT, INT8

HINT = "give what `python bench.py MODEL.onnx` printed on the device (mobilenets benchmark --device-script bench.py)"


@dataclass(frozen=True)
class Device:
    """Milliseconds of a picture by the name and precision of a model, and how much slower than here, by precision."""

    timed: Mapping[tuple[str, str], float]
    factors: Mapping[str, float]
    known: str
    threads: int

    def ms(self, name: str, precision: str, here: float) -> tuple[float, bool]:
        """Give a model's time there, and whether that is an estimate: what it takes ``here``, as much slower."""
        if (name, precision) in self.timed:
            return self.timed[name, precision], False
        return here * self.factors.get(precision, next(iter(self.factors.values()))), True


def names_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Give the candidate and the precision that a row of a device is of, by its file: ``run-96.onnx``, ``…-int8.onnx``.

    Of a ``model.onnx``, as ``export`` calls it, the folder's name counts.
    """
    path = Path(str(row["model"]).replace("\\", "/"))
    stem = path.parent.name if path.stem == "model" else path.stem
    given = row.get("precision")
    precision = INT8 if given == INT8 or stem.endswith(f"-{INT8}") else FLOAT if given in (None, FLOAT) else str(given)
    return stem.removesuffix(f"-{INT8}"), precision


def read_device(path: Path, here: Mapping[tuple[str, str], float], run: str, threads: int) -> Device:
    """Read the times of a device.

    ``here`` has the milliseconds of candidates on this machine, by name and precision; ``run`` is what the run's own
    network is called among them. A row of no candidate's name is taken for the run, where all such rows are of one
    file. Raises ``InputError`` for what is no such file, or names nothing that is known.
    """
    rows = read_json(path, HINT)
    try:
        single = [row for row in rows if int(row["batch"]) == 1]
        counts = sorted({int(row["threads"]) for row in single})
        if not counts:
            raise InputError(f"{path}: has no time of a single picture: run bench.py with --batch 1")
        count = threads if threads in counts else counts[0]
        times = {names_of(row): float(row["p50_ms"]) for row in single if int(row["threads"]) == count}
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not the times of a device; {HINT}") from error
    if not all(0 < ms < 1e9 for ms in times.values()):
        raise InputError(f"{path}: a time is not above 0; {HINT}")
    known = {name for name, _ in here}
    strangers = {name for name, _ in times if name not in known}
    named = {key: ms for key, ms in times.items() if key[0] in known}
    if not named and len(strangers) == 1:
        named = {(run, precision): ms for (_, precision), ms in times.items()}
    ratios: dict[str, list[float]] = {}
    for (name, precision), ms in named.items():
        if (name, precision) in here:
            ratios.setdefault(precision, []).append(ms / here[name, precision])
    if not ratios:
        raise InputError(
            f"{path}: times {', '.join(sorted(strangers)) or 'nothing'}, which is none of what is tried here: time the "
            "run's own export there, or the files that --write wrote"
        )
    factors = {precision: statistics.median(found) for precision, found in ratios.items()}
    return Device(named, factors, said(named), count)


def said(named: Sequence[tuple[str, str]] | Mapping[tuple[str, str], float]) -> str:
    """Name what was timed on the device."""
    return ", ".join(name if precision == FLOAT else f"{name}-{precision}" for name, precision in named)
