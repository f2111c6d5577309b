"""Times of another device, from the JSON that ``bench.py`` prints there."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json
from mobilenets.errors import InputError
from mobilenets.models.prune import Group
from mobilenets.shrinking.candidates import FLOAT, INT8

HINT = "give what `python bench.py MODEL.onnx` printed on the device (mobilenets shrink RUN --data DATA --write DIR)"
RUNTIME = "onnxruntime"
# How large the file of the same network may be, by its size here. An export also holds what finds "none of these".
SAME, SAME_EXPORT = (0.9, 1.1), (0.8, 2.0)


@dataclass(frozen=True)
class Layers:
    """Milliseconds of each layer of the run's own network on a device, by name, which sum up to ``whole``."""

    whole: float
    parts: Mapping[str, float]

    def a_channel(self, groups: Sequence[Group]) -> dict[str, float]:
        """Give what one channel of each group takes: its part of the layers that make, filter and read it."""
        return {group.name: sum(map(self._layer, group.layers)) / group.channels for group in groups}

    def without(self, groups: Sequence[Group], left: Mapping[str, int]) -> float:
        """Give the milliseconds with so many channels ``left`` of the groups, by name."""
        # A layer may read the channels of one group and make those of the next: then both shares of it are left.
        shares: dict[str, float] = {}
        for group in groups:
            for name in group.layers:
                shares[name] = shares.get(name, 1.0) * left[group.name] / group.channels
        return self.whole - sum((1 - share) * self._layer(name) for name, share in shares.items())

    def refuse_others(self, groups: Sequence[Group], place: Path) -> None:
        """Raise ``InputError`` where a layer of the groups has no time: else it would be taken to cost nothing."""
        wanted = dict.fromkeys(name for group in groups for name in group.layers)
        lacking = [name for name in wanted if not any(part in self.parts for part in _called(name))]
        if lacking:
            raise InputError(
                f"{place}: has layers, but no time of {lacking[0]} ({len(lacking)} of {len(wanted)} are missing), so "
                "they are another network's: run bench.py --layers on this run's file, or without --layers"
            )

    def _layer(self, name: str) -> float:
        return sum(self.parts.get(part, 0.0) for part in _called(name))


def _called(name: str) -> tuple[str, ...]:
    """Give what a layer may be called in a profile: what an activation was joined to is ``NAME.conv``."""
    return ("logits",) if name == "classifier" else (name, f"{name}.conv")


@dataclass(frozen=True)
class Times:
    """What a device took: milliseconds of a picture by the name and precision of a model, and perhaps of its layers."""

    place: Path
    timed: Mapping[tuple[str, str], float]
    layers: Mapping[tuple[str, str], Layers]
    threads: int
    sizes: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def beside(
        self, here: Mapping[tuple[str, str], float], run: str, sizes: Mapping[tuple[str, str], int] | None = None
    ) -> Device:
        """Set the times beside those ``here``, of candidates by name and precision.

        ``run`` is what the run's own network is called among them, and ``sizes`` are the bytes of their files here.
        Rows of no candidate's name are taken for the run, where all such rows are of one file. Raises ``InputError``
        where none is of what is known, or a file is of another size there: of another network under the same name.
        """
        known = {name for name, _ in here}
        strangers = {name for name, _ in self.timed if name not in known}
        called = {name: name for name in known}
        if not any(name in known for name, _ in self.timed) and len(strangers) == 1:
            called = dict.fromkeys(strangers, run)
        named = {(called[name], precision): ms for (name, precision), ms in self.timed.items() if name in called}
        ratios: dict[str, list[float]] = {}
        for key, ms in named.items():
            if key in here:
                ratios.setdefault(key[1], []).append(ms / here[key])
        if not ratios:
            raise InputError(
                f"{self.place}: times {', '.join(sorted(strangers)) or 'nothing'}, which is none of what is tried "
                "here: time the run's own export there, or the files that --write wrote"
            )
        for (name, precision), size in self.sizes.items():
            own = (sizes or {}).get((called.get(name, ""), precision))
            low, high = SAME if name in known else SAME_EXPORT
            if own is not None and not low * own <= size <= high * own:
                raise InputError(
                    f"{self.place}: the file of {said([(name, precision)])} has {size / 1e6:.3g} MB there and "
                    f"{own / 1e6:.3g} MB here, so it is another network: time what --write writes for this run"
                )
        factors = {precision: statistics.median(found) for precision, found in ratios.items()}
        layers = next((one for key, one in self.layers.items() if (called.get(key[0]), key[1]) == (run, FLOAT)), None)
        return Device(named, factors, said(named), self.threads, layers)


@dataclass(frozen=True)
class Device:
    """Milliseconds of a picture by the name and precision of a model, and how much slower than here, by precision.

    ``layers`` are those of the run's own network, where they were timed.
    """

    timed: Mapping[tuple[str, str], float]
    factors: Mapping[str, float]
    known: str
    threads: int
    layers: Layers | None = field(default=None)

    def ms(self, name: str, precision: str, here: float) -> tuple[float, bool]:
        """Give a model's time there, and whether that is an estimate: what it takes ``here``, as much slower."""
        if (name, precision) in self.timed:
            return self.timed[name, precision], False
        return here * self.factors.get(precision, next(iter(self.factors.values()))), True


def names_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Give the candidate and the precision that a row of a device is of, by its file: ``run-96.onnx``, ``…-int8.onnx``.

    Of a ``model.onnx``, as ``export`` calls it, the folder's name counts.
    """
    path = Path(row["model"].replace("\\", "/"))
    stem = path.parent.name if path.stem == "model" else path.stem
    given = row.get("precision")
    precision = INT8 if given == INT8 or stem.endswith(f"-{INT8}") else FLOAT if given in (None, FLOAT) else str(given)
    return stem.removesuffix(f"-{INT8}"), precision


def read_times(path: Path, threads: int) -> Times:
    """Read what ``bench.py`` printed on a device; raises ``InputError`` for what is no such file."""
    rows = read_json(path, HINT)
    try:
        single = [row for row in rows if int(row["batch"]) == 1 and row.get("runtime", RUNTIME) == RUNTIME]
        counts = sorted({int(row["threads"]) for row in single})
        if not counts:
            raise InputError(
                f"{path}: has no time of a single picture in ONNX Runtime: run bench.py on .onnx files, with --batch 1"
            )
        count = threads if threads in counts else counts[0]
        counted = [(names_of(row), row) for row in single if int(row["threads"]) == count]
        timed = {key: float(row["p50_ms"]) for key, row in counted}
        sizes = {key: int(row["bytes"]) for key, row in counted if "bytes" in row}
        parts = {key: {str(name): float(ms) for name, ms in row.get("layers", {}).items()} for key, row in counted}
    except (AttributeError, TypeError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not the times of a device; {HINT}") from error
    if len(timed) < len(counted):
        twice = [key for key, count in Counter(key for key, _ in counted).items() if count > 1]
        raise InputError(f"{path}: times {said(twice)} more than once: time each file once, under a name of its own")
    if not all(0 < ms < 1e9 for ms in timed.values()) or not all(
        0 <= ms < 1e9 for own in parts.values() for ms in own.values()
    ):
        raise InputError(f"{path}: a time is not above 0; {HINT}")
    layers = {}
    for key, own in parts.items():
        if whole := sum(own.values()):  # timing each takes time itself
            layers[key] = Layers(timed[key], {name: ms / whole * timed[key] for name, ms in own.items()})
    return Times(path, timed, layers, count, sizes)


def said(named: Sequence[tuple[str, str]] | Mapping[tuple[str, str], float]) -> str:
    """Name what was timed on the device."""
    return ", ".join(name if precision == FLOAT else f"{name}-{precision}" for name, precision in named)
