"""What goes with channels that do nothing: kernels, the filters that make their inputs, the weights that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mobilenets.models.cut import Cut, Flags
from mobilenets.models.operations import Conv, Linear
from mobilenets.models.plan import Plan


@dataclass(frozen=True)
class Removable:
    """How many channels do nothing, and what a network without them would not have."""

    channels: int
    parameters: int
    macs: int


def removable(plan: Plan, idle: Mapping[str, Flags]) -> Removable:
    """Count what goes with idle channels of depthwise layers.

    ``idle`` says by layer which of its channels are. What goes with a channel says ``Cut.remove``; where both ends of
    a layer lose channels, what they share is counted once.
    """
    cut = Cut(plan)
    for name, flags in idle.items():
        cut.remove(name, flags)
    layers = [part for part in plan.operations if isinstance(part, Conv | Linear)]
    lost = [cut.lost(part) for part in layers]
    channels = sum(int(flags.sum()) for flags in idle.values())
    return Removable(channels, sum(parameters for parameters, _ in lost), sum(macs for _, macs in lost))
