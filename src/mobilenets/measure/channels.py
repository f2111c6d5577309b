"""What goes with channels that do nothing: kernels, the filters that make their inputs, the weights that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mobilenets.measure.kernels import Flags
from mobilenets.models.operations import Activation, Conv, Flatten, Linear, MaxPool, MeanPool, Operation, Scale
from mobilenets.models.plan import Plan


@dataclass(frozen=True)
class Removable:
    """How many channels do nothing, and what a network without them would not have."""

    channels: int
    parameters: int
    macs: int


def removable(plan: Plan, idle: Mapping[str, Flags]) -> Removable:
    """Count what goes with idle channels of depthwise layers.

    ``idle`` says by layer which of its channels are. With a channel goes its kernel, the filter that makes its input
    where nothing else reads that, the filter of a gate on it, and an input of every layer that reads it. Where both
    ends of a layer lose channels, what they share is counted once.
    """
    cut = _Cut(plan)
    for name, flags in idle.items():
        cut.remove(name, flags)
    layers = [part for part in plan.operations if isinstance(part, Conv | Linear)]
    lost = [cut.lost(part) for part in layers]
    channels = sum(int(flags.sum()) for flags in idle.values())
    return Removable(channels, sum(parameters for parameters, _ in lost), sum(macs for _, macs in lost))


class _Cut:
    """Which outputs and which inputs each layer loses."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._makers = {part.name: part for part in plan.operations}
        self._outputs: dict[str, Flags] = {}
        self._inputs: dict[str, Flags] = {}

    def remove(self, layer: str, flags: Flags) -> None:
        part = self._makers[layer]
        self._mark(self._outputs, part, flags)
        self._before(part.inputs[0], flags)
        self._behind(part, flags)

    def lost(self, part: Conv | Linear) -> tuple[int, int]:
        """Give the parameters and the MACs that a layer loses."""
        outputs, inputs = (
            int(lost[part.name].sum()) if part.name in lost else 0 for lost in (self._outputs, self._inputs)
        )
        made, taken = part.output_shape[0], part.input_shape[0]
        if isinstance(part, Linear):
            weights = inputs * made
            return weights, weights
        taken, inputs = (1, 0) if part.depthwise else (taken, inputs)
        weights = (made * taken - (made - outputs) * (taken - inputs)) * part.kernel**2
        places = part.output_shape[1] * part.output_shape[2]
        return weights + (part.bias + 2 * part.norm) * outputs, weights * places

    def _mark(self, lost: dict[str, Flags], part: Operation, flags: Flags) -> None:
        lost[part.name] = lost.get(part.name, np.zeros_like(flags)) | flags

    def _before(self, name: str, flags: Flags) -> None:
        """Take away what makes channels that nothing else reads."""
        part = self._makers.get(name)
        if part is None or len(self._plan.readers(name)) > 1:
            return
        if isinstance(part, Conv) and (part.depthwise or part.groups == 1):
            self._mark(self._outputs, part, flags)
        if _keeps_channels(part):
            for taken in part.inputs:
                self._before(taken, flags)

    def _behind(self, part: Operation, flags: Flags) -> None:
        """Take away what reads channels, through all that keeps them apart."""
        for reader in self._plan.readers(part.name):
            if isinstance(reader, Linear) or (isinstance(reader, Conv) and reader.groups == 1):
                self._mark(self._inputs, reader, flags)
            elif isinstance(reader, Flatten):
                self._behind(reader, np.repeat(flags, reader.output_shape[0] // len(flags)))
            elif _keeps_channels(reader):
                if isinstance(reader, Conv):
                    self._mark(self._outputs, reader, flags)
                for other in set(reader.inputs) - {part.name}:
                    self._before(other, flags)
                self._behind(reader, flags)


def _keeps_channels(part: Operation) -> bool:
    """Say whether each channel of the output comes of the same channel of the inputs, and of no other."""
    return isinstance(part, Activation | MaxPool | MeanPool | Scale) or (isinstance(part, Conv) and part.depthwise)
