"""Which channels to prune: those that are worth least for the time that they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mobilenets.models.cut import Flags

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Costed:
    """The channels of a group: what each is worth, and the milliseconds that each takes."""

    worth: Scores
    milliseconds: float


def least_worth(groups: Mapping[str, Costed], save: float, step: int = 8) -> dict[str, Flags]:
    """Flag channels that take at least ``save`` milliseconds together, by group.

    They go ``step`` at a time, the least worth of a group first, from the group whose next ones are worth least for
    the time that they take; what is left of a group is a multiple of ``step``, and at least ``step``: runtimes compute
    in vectors. Fewer go where no group has any left to give.

    >>> found = least_worth({"a": Costed(np.arange(16.0), 0.1), "b": Costed(np.arange(16.0) + 9, 0.4)}, 1.0)
    >>> {name: int(flags.sum()) for name, flags in found.items()}
    {'b': 8}
    """
    order = {name: np.argsort(group.worth, kind="stable") for name, group in groups.items()}
    taken = dict.fromkeys(groups, 0)
    left = save
    while left > 0:
        offers = []
        for name, group in groups.items():
            count = len(group.worth) - taken[name]
            going = count % step or step
            if count - going >= step and group.milliseconds > 0:
                worth = group.worth[order[name][taken[name] : taken[name] + going]].sum()
                offers.append((worth / (going * group.milliseconds), name, going))
        if not offers:
            break
        _, name, going = min(offers)
        taken[name] += going
        left -= going * groups[name].milliseconds
    gone = {}
    for name, count in taken.items():
        if count:
            gone[name] = np.zeros(len(groups[name].worth), bool)
            gone[name][order[name][:count]] = True
    return gone
