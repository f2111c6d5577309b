"""What ``shrink`` tries: a run at smaller sizes, with fewer channels, and other networks trained anew."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mobilenets.measure.allotment import Costed, least_worth
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG, describe
from mobilenets.models.cut import Flags
from mobilenets.models.prune import Group, groups, narrowed

FLOAT, INT8 = "float32", "int8"
# The widths for which the papers give figures, and those between them.
WIDTHS: Mapping[str, Sequence[float]] = {
    "mobilenet_v1": (1.0, 0.75, 0.5, 0.25),
    "mobilenet_v2": (1.0, 0.75, 0.5, 0.35),
    "mobilenet_v3_large": (1.0, 0.75, 0.5),
    "mobilenet_v3_small": (1.0, 0.75, 0.5),
}
SIZES = (384, 320, 256, 224, 192, 160, 128, 96, 80, 64, 48, 40, 32, 28, 24)
# Of the run's size, what is tried as well; of its channels, and of its time.
SMALLER = (0.72, 0.5)
CUTS = (0.75, 0.5)
SHARES = (0.7, 0.5)
STEP = 8
# The least share of the time in float32 that int8 is hoped to take, before it is measured.
HOPED = 0.35


@dataclass(frozen=True)
class Candidate:
    """A network to try, at ``size`` pixels.

    ``how`` it comes to be: ``run`` is the run's own network with its weights; ``cut`` has ``share`` of the channels of
    every block, those that are worth most; ``pruned`` takes ``share`` of the run's time, by what channels are worth for
    their time; ``anew`` is the network of that name and ``width``, trained from the beginning. ``taught``: with the run
    as its teacher.
    """

    how: str
    network: str
    width: float
    size: int
    share: float = 1.0
    taught: bool = False

    @property
    def name(self) -> str:
        """What it is called in the table, and its folder."""
        own = f"{self.network.removeprefix('mobilenet_')}-{self.width:g}" if self.how == "anew" else "run"
        made = f"-{self.how}-{round(100 * self.share)}" if self.how in ("cut", "pruned") else ""
        return f"{own}-{self.size}{made}{'-taught' * self.taught}"

    @property
    def family(self) -> str:
        """What it is one of: candidates of all families are tried."""
        return self.network if self.how == "anew" else self.how

    @property
    def plain(self) -> Candidate:
        """The same without a teacher."""
        return replace(self, taught=False)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A candidate before it is trained: milliseconds of a picture here, bytes and multiply-accumulates, by precision.

    ``ms`` is on the device where one was given; ``estimated`` says that it was not timed itself.
    """

    candidate: Candidate
    precision: str
    ms: float
    bytes: int
    macs: int
    estimated: bool = False


def whole_of(run: Architecture) -> Candidate:
    """Give the run's own network, at its own size."""
    return Candidate("run", run.name, run.width, run.size)


def candidates(run: Architecture) -> list[Candidate]:
    """List what can be tried for a run; the first is its own network, as it is."""
    sizes, first = sizes_below(run.size), whole_of(run)
    found = [replace(first, size=size) for size in sizes]
    found += [replace(first, how="pruned", share=share) for share in SHARES]
    found += [replace(first, how="cut", size=size, share=share) for size in sizes[:2] for share in CUTS]
    names = dict.fromkeys([run.name, *WIDTHS]) if run.name in CATALOG else WIDTHS
    for name in names:
        for width, size in itertools.product(WIDTHS.get(name, (1.0, 0.75, 0.5)), sizes):
            if (name, width, size) != (run.name, run.width, run.size) or run.variant == "custom":
                found.append(Candidate("anew", name, width, size))
    return found


def sizes_below(size: int) -> list[int]:
    """Give the size, and the usual ones that are about 0.7 and 0.5 of it.

    >>> sizes_below(224)
    [224, 160, 96]
    """
    found = [size]
    for share in SMALLER:
        below = [one for one in SIZES if one <= share * size]
        found += below[:1]
    return list(dict.fromkeys(found))


def architecture_of(candidate: Candidate, run: Architecture, classes: int) -> Architecture:
    """Describe the network of a candidate, but of a pruned one, which is only known once channels were weighed."""
    variant = run.variant if run.variant in ("standard", "small") else "auto"
    if candidate.how == "anew":
        small = CATALOG[candidate.network].small is not None
        return describe(candidate.network, candidate.width, candidate.size, variant=variant if small else "auto")
    resized = replace(run, size=candidate.size)
    if candidate.how == "run":
        return resized
    plan = resized.plan(classes)
    counts = {group.name: kept(group.channels, candidate.share) for group in groups(resized, plan)}
    return narrowed(resized, plan, counts)


def kept(channels: int, share: float) -> int:
    """Say how many of the channels stay: about the share, in eights."""
    return min(channels, max(STEP, round(channels * share / STEP) * STEP))


def least_of_each(found: Sequence[Group], worth: Mapping[str, Any], share: float) -> dict[str, Flags]:
    """Flag the channels that go so that each group keeps ``share`` of its own, those worth most."""
    gone: dict[str, Flags] = {}
    for group in found:
        going = group.channels - kept(group.channels, share)
        if going > 0:
            gone |= least_worth({group.name: Costed(np.asarray(worth[group.name]), 1.0)}, going, STEP)
    return gone


def shortlist(offers: Sequence[Measured], most: int, control: Candidate | None, *, limited: bool) -> list[Candidate]:
    """Choose up to ``most`` of those that fit, from each family in turn; the ``control`` is always one.

    With a limit those that use most of the time come first, because larger networks learn more; without one they are
    spread over the time from the longest to the shortest.
    """
    families: dict[str, list[Candidate]] = {}
    for one in sorted(offers, key=lambda offer: -offer.ms):
        families.setdefault(one.candidate.family, []).append(one.candidate)
    turns = [own if limited else spread(own) for own in families.values()]
    turns.sort(key=lambda own: own[0].how == "anew")
    order = [one for turn in itertools.zip_longest(*turns) for one in turn if one is not None]
    if control is not None:
        order = [control, *(one for one in order if one != control)]
    return order[:most]


def spread(ordered: Sequence[Candidate]) -> list[Candidate]:
    """Order so that the first few of them are spread over all: first, last, middle, quarters, …"""
    left = list(range(len(ordered)))
    taken: list[int] = []
    while left:
        place = left[0] if not taken else max(left, key=lambda one: (min(abs(one - other) for other in taken), -one))
        taken.append(place)
        left.remove(place)
    return [ordered[place] for place in taken]


def control_of(offers: Sequence[Measured], run: Architecture, aim: float) -> Candidate | None:
    """Choose the plain narrower network that pruning has to beat: the run's own kind, of about ``aim`` milliseconds.

    One at the run's size and narrower than it, where there is one; else one that is smaller, and None where none is.
    """
    own = [
        one
        for one in offers
        if one.candidate.how == "anew"
        and one.candidate.network == run.name
        and one.candidate.width <= run.width
        and one.candidate.size <= run.size
    ]
    same = [one for one in own if one.candidate.size == run.size and one.candidate.width < run.width]
    return min(same or own, key=lambda one: abs(one.ms - aim)).candidate if own else None
