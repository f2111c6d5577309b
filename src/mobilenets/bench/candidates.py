"""Networks that can be compared: by name, and those of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.baselines import BASELINES, RESNETS
from mobilenets.models.catalog import CATALOG, SMALL_UP_TO, describe
from mobilenets.models.tables import small_pictures
from mobilenets.runtime.bundle import CLASSIFICATION

NAMES = (*CATALOG, *BASELINES)
# What is compared where nothing is named.
USUAL = ("mobilenet_v1", "mobilenet_v2", *BASELINES)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to compare and, for a run, where it is."""

    network: Architecture
    classes: int
    run: Path | None = None

    @property
    def exports(self) -> bool:
        """Whether ``export`` writes it."""
        return self.network.name not in RESNETS


def candidates_named(name: str, size: int, widths: Sequence[float], classes: int) -> list[Candidate]:
    """Give the network of that name at each width; the baselines have one width. Raises ``InputError`` for no name."""
    if name not in NAMES:
        raise InputError(f"unknown network {name!r}: choose {', '.join(NAMES)}")
    if name in CATALOG:
        return [Candidate(describe(name, width, size), classes) for width in dict.fromkeys(widths)]
    if name in RESNETS and classes < 1:
        raise InputError(f"classes {classes}: give a whole number of at least 1")
    small = size <= SMALL_UP_TO and name == "plain"
    table = small_pictures(BASELINES[name]) if small else BASELINES[name]
    return [Candidate(Architecture(name, 1.0, size, "small" if small else "standard", table), classes)]


def candidate_of_run(run: Path) -> Candidate:
    """Give the network of a run; raises ``InputError`` for a folder that holds no classifier."""
    from mobilenets.models.saved import load_classifier  # PyTorch, which the names above do without

    saved = load_classifier(run)
    if saved.bundle.task != CLASSIFICATION:
        raise InputError(
            f"{run}: only classifiers stand beside networks; two detectors: mobilenets compare RUN RUN DATA"
        )
    return Candidate(saved.network.architecture, saved.network.classes, run)
