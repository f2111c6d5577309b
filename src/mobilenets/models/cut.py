"""What goes with channels that go: the filters that make them and the weights that read them, all over a plan."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mobilenets.models.operations import Activation, Conv, Flatten, Linear, MaxPool, MeanPool, Operation, Scale
from mobilenets.models.plan import Plan

Flags = npt.NDArray[np.bool_]


class Cut:
    """Which outputs and which inputs each layer of ``plan`` loses: ``outputs`` and ``inputs``, by its name."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outputs: dict[str, Flags] = {}
        self.inputs: dict[str, Flags] = {}
        self._makers = {part.name: part for part in plan.operations}

    def remove(self, layer: str, flags: Flags) -> None:
        """Take channels of what ``layer`` gives away, a boolean a channel.

        With a channel goes its filter, the filter that makes its input where nothing else reads that, the filter of a
        gate on it, and an input of every layer that reads it.
        """
        part = self._makers[layer]
        self._mark(self.outputs, part, flags)
        if _keeps_channels(part):
            self._before(part.inputs[0], flags)
        self._behind(part, flags)

    def lost(self, part: Conv | Linear) -> tuple[int, int]:
        """Give the parameters and the MACs that a layer loses."""
        outputs, inputs = (
            int(lost[part.name].sum()) if part.name in lost else 0 for lost in (self.outputs, self.inputs)
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
        if part is None or len(self.plan.readers(name)) > 1:
            return
        if isinstance(part, Conv) and (part.depthwise or part.groups == 1):
            self._mark(self.outputs, part, flags)
        if _keeps_channels(part):
            for taken in part.inputs:
                self._before(taken, flags)

    def _behind(self, part: Operation, flags: Flags) -> None:
        """Take away what reads channels, through all that keeps them apart."""
        for reader in self.plan.readers(part.name):
            if isinstance(reader, Linear) or (isinstance(reader, Conv) and reader.groups == 1):
                self._mark(self.inputs, reader, flags)
            elif isinstance(reader, Flatten):
                self._behind(reader, np.repeat(flags, reader.output_shape[0] // len(flags)))
            elif _keeps_channels(reader):
                if isinstance(reader, Conv):
                    self._mark(self.outputs, reader, flags)
                for other in set(reader.inputs) - {part.name}:
                    self._before(other, flags)
                self._behind(reader, flags)


def reached(plan: Plan, name: str) -> Iterator[Operation]:
    """Give all that reads the channels of ``name``, through all that keeps them apart; the last of each way too."""
    for reader in plan.readers(name):
        yield reader
        if _keeps_channels(reader) or isinstance(reader, Flatten):
            yield from reached(plan, reader.name)


def _keeps_channels(part: Operation) -> bool:
    """Say whether each channel of the output comes of the same channel of the inputs, and of no other."""
    return isinstance(part, Activation | MaxPool | MeanPool | Scale) or (isinstance(part, Conv) and part.depthwise)
