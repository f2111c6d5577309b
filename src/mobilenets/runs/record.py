"""What a run folder says of itself: ``recipe.json``, and the figures in ``metrics.json``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.base.shell import quote
from mobilenets.datasets.listing import Problem
from mobilenets.datasets.prepare import Dataset, counts
from mobilenets.datasets.shards.remote import address_of
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import find_bundle
from mobilenets.training.recipe import Recipe

RECIPE = "recipe.json"
SPLIT = "split.csv"
METRICS = "metrics.json"
# Marks the folder of several trainings, as recipe.json does that of one.
SEEDS = "seeds.json"
# Of a cross-validation: which fold each training picture is in, beside what the folds came to.
FOLDS, NUMBERS = "folds", "numbers.json"

_FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class DataRecord:
    """What a run learned from: its folder, classes, and pictures of each class by half.

    ``test`` is None where the folder had no test half. ``seen_by_source`` and ``copies`` are as in ``Dataset``;
    ``renamed`` has the source model's name of each class that is called otherwise now.
    """

    folder: str
    classes: tuple[str, ...]
    fingerprint: str
    train: Mapping[str, int]
    validation: Mapping[str, int]
    test: Mapping[str, int] | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    seen_by_source: int | None = None
    copies: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataRecord:
        """Read what ``dataclasses.asdict`` gave; raises ``LookupError`` or ``TypeError`` for anything else."""
        known = {entry.name for entry in dataclasses.fields(cls)}
        given = {name: entry for name, entry in value.items() if name in known}
        given |= {name: tuple(given[name]) for name in ("classes", "notes") if name in given}
        return cls(**given | {"problems": tuple(Problem(**problem) for problem in given.get("problems", ()))})


@dataclass(frozen=True)
class Record:
    """What a run depends on; ``weights`` says what was asked for, and why there are none where there should be.

    ``minutes`` has the settings that were ``chosen`` to fit the time, and the ``most_epochs`` that it may come to.
    ``teaching`` has the ``teachers`` by path and sha256, their ``top1`` on validation pictures as the student sees
    them, and what is ``unlabelled``. ``resumed`` says how the machine of a later part of the run differed, so that it
    ends in other bytes.
    """

    recipe: Recipe
    command: str
    data: DataRecord
    hardware: Mapping[str, str | int]
    versions: Mapping[str, str]
    weights: Mapping[str, str | None] = field(default_factory=dict)
    minutes: Mapping[str, Any] = field(default_factory=dict)
    resumed: tuple[str, ...] = ()
    teaching: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """Count the pictures of an epoch: those with a label, and those without."""
        more: int = self.teaching.get("unlabelled", {}).get("pictures", 0)
        return sum(self.data.train.values()) + more

    def write(self, run: Path) -> None:
        """Write ``recipe.json``, which marks a run as begun."""
        write_json(run / RECIPE, dataclasses.asdict(self))

    @classmethod
    def read(cls, run: Path) -> Record:
        """Read ``recipe.json``; raises ``InputError`` where it is missing or damaged."""
        try:
            value = _read(run / RECIPE)
            recipe, data = Recipe.from_json(value["recipe"]), DataRecord.from_json(value["data"])
            more = (value.get("weights", {}), value.get("minutes", {}), tuple(value.get("resumed", ())))
            teaching = value.get("teaching", {})
            return cls(recipe, value["command"], data, value["hardware"], value["versions"], *more, teaching)
        except (*_FAULTS, InputError) as error:
            raise InputError(f"{run / RECIPE}: damaged; train again with another --out") from error


def folder_of(data: Path) -> str:
    """Name DATA wherever one stands: by its whole path, or by the address of its shards."""
    return address_of(str(data)) or str(data.resolve())


def data_record(dataset: Dataset, renamed: Mapping[str, str]) -> DataRecord:
    """Say what a run that begins learns from."""
    return DataRecord(
        folder=folder_of(dataset.layout.root),
        classes=dataset.classes,
        fingerprint=dataset.fingerprint,
        train=counts(dataset.train, dataset.classes),
        validation=counts(dataset.validation, dataset.classes),
        test=None if dataset.test is None else counts(dataset.test, dataset.classes),
        problems=dataset.problems,
        notes=dataset.notes,
        seen_by_source=dataset.seen_by_source,
        copies=dataset.copies,
        renamed=renamed,
    )


def known_data(model: Path) -> DataRecord | None:
    """Return what a run says of its data; None for a model that says nothing, or whose record is damaged."""
    with contextlib.suppress(*_FAULTS, InputError):
        return DataRecord.from_json(_read(find_bundle(model) / RECIPE)["data"])
    return None


def data_folder(model: Path) -> Path | None:
    """Return the folder that a run learned from, if it is known and still there."""
    data = known_data(model)
    return Path(data.folder) if data is not None and Path(data.folder).is_dir() else None


def accuracy_of_run(run: Path) -> dict[str, Any]:
    """Return what a run was measured at, and on what: ``top1 top1_interval images data``.

    Raises ``InputError`` for a run that was not measured.
    """
    path = find_bundle(run) / METRICS
    folder = quote(str(path.parent))
    way = f"run mobilenets evaluate {folder} DATA --out {folder}"
    if not path.is_file():
        raise InputError(f"{path} is missing: {way}")
    data = known_data(run)
    of = "" if data is None else f" of {Path(data.folder).name}"
    try:
        metrics = _read(path)
        low, high = metrics["top1_interval"]
        return {
            "top1": float(metrics["top1"]),
            "top1_interval": [float(low), float(high)],
            "images": int(metrics["images"]),
            "data": f"{metrics['evaluated_on']}{of}",
        }
    except _FAULTS as error:
        raise InputError(f"{path}: damaged; {way}") from error


def total_seconds(run: Path) -> float | None:
    """Return how long a measured run took in all; None where ``metrics.json`` does not say."""
    with contextlib.suppress(*_FAULTS):
        return float(_read(run / METRICS)["total_seconds"])
    return None


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
