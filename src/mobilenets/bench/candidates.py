"""Networks that can be compared: by name, and runs. Nothing here loads PyTorch before a network is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenets.errors import InputError
from mobilenets.models.catalog import CATALOG, SMALL_UP_TO, describe

if TYPE_CHECKING:
    from torch import nn

    from mobilenets.models.architecture import Architecture

BASELINES = ("resnet18", "resnet50", "plain")
NAMES = (*CATALOG, *BASELINES)
USUAL = ("mobilenet_v1", "mobilenet_v2", *BASELINES)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to compare: how to build it and, for a run, where it is."""

    name: str
    width: float
    size: int
    classes: int
    variant: str
    build: Callable[[], nn.Module]
    run: Path | None = None


def candidates_named(name: str, size: int, widths: Sequence[float], classes: int) -> list[Candidate]:
    """Give the network of that name at each width; the baselines have one width. Raises ``InputError`` for no name."""
    if name not in NAMES:
        raise InputError(f"unknown network {name!r}: choose {', '.join(NAMES)}")
    if name in CATALOG:
        return [_mobilenet(describe(name, width, size), classes) for width in dict.fromkeys(widths)]

    from mobilenets.models.architecture import Architecture
    from mobilenets.models.peers import PLAIN, RESNETS
    from mobilenets.models.tables import small_pictures

    small = size <= SMALL_UP_TO and name == "plain"
    # A ResNet is described by its size alone, which is checked here.
    described = Architecture(
        name, 1.0, size, "small" if small else "standard", small_pictures(PLAIN) if small else PLAIN
    )
    if name == "plain":
        return [_mobilenet(described, classes)]
    if classes < 1:
        raise InputError(f"classes {classes}: give a whole number of at least 1")
    return [Candidate(name, 1.0, size, classes, "standard", partial(RESNETS[name], classes))]


def candidate_of_run(run: Path) -> Candidate:
    """Give the network of a run; raises ``InputError`` for a folder that holds no classifier."""
    from mobilenets.models.saved import load_classifier

    network = load_classifier(run).network
    return _mobilenet(network.architecture, network.classes, run)


def _mobilenet(described: Architecture, classes: int, run: Path | None = None) -> Candidate:
    def build() -> nn.Module:
        from mobilenets.models.network import Network

        return Network(described, classes)

    return Candidate(described.name, described.width, described.size, classes, described.variant, build, run)
