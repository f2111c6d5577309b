"""What a foreign graph does, operation by operation, in the one form that readers of graphs translate theirs to.

A reader appends to a list; each operation names what it takes by places in that list, all before its own. Maps are
N×C×H×W and weights lie as in PyTorch, whatever the file's layout. ``simplify`` makes units of the list, as our
networks have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.weights.layers import Layer, conv, linear, norm

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
"""Zeros before and after the rows, and before and after the columns."""

NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Operation:
    """``name`` is the file's; ``inputs`` are places in the list."""

    name: str
    inputs: tuple[int, ...]

    def __str__(self) -> str:
        """Name it for a user."""
        return repr(" ".join(self.name[:100].split()))


@dataclass(frozen=True)
class Picture(Operation):
    """What is fed: pictures with ``side`` (rows, columns), where the file tells.

    ``pixels``: whether as bytes; ``channels_last``: whether as H×W×C.
    """

    side: Pair | None = None
    pixels: bool = False
    channels_last: bool = False


@dataclass(frozen=True)
class BatchNorm:
    """BatchNorm's numbers, each (channels,)."""

    name: str
    scale: Array
    shift: Array
    mean: Array
    variance: Array
    epsilon: float


@dataclass(frozen=True)
class Norm(Operation):
    """BatchNorm with fixed statistics."""

    numbers: BatchNorm


@dataclass(frozen=True)
class Conv(Operation):
    """A convolution with ``weight`` (outputs, inputs / groups, rows, columns); padding None is TensorFlow's SAME.

    ``simplify`` adds ``norm`` and ``activation``, an empty text where none follows.
    """

    weight: Array
    bias: Array | None = None
    stride: Pair = (1, 1)
    padding: Padding | None = NO_PADDING
    groups: int = 1
    norm: BatchNorm | None = None
    activation: str = ""

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.groups > 1 and self.weight.shape[1] == 1


@dataclass(frozen=True)
class Linear(Operation):
    """A linear layer with ``weight`` (outputs, inputs) on vectors; ``activation`` as in ``Conv``."""

    weight: Array
    bias: Array | None = None
    activation: str = ""


@dataclass(frozen=True)
class Affine(Operation):
    """``x * scale + shift`` with constants of one number, or one a channel."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class Clip(Operation):
    """``min(max(x, low), high)``: ReLU and ReLU6 as well."""

    low: float
    high: float


@dataclass(frozen=True)
class Activation(Operation):
    """A function of each number, by the name that it has here: ``hard_swish``, ``sigmoid``; also ``softmax``."""

    function: str


@dataclass(frozen=True)
class Add(Operation):
    """The sum of two maps."""


@dataclass(frozen=True)
class Multiply(Operation):
    """The product of two maps, one of which may have a single pixel (squeeze-and-excite)."""


@dataclass(frozen=True)
class Pad(Operation):
    """Zeros around a map."""

    padding: Padding


@dataclass(frozen=True)
class MeanPool(Operation):
    """The mean of the whole map, as one pixel."""


@dataclass(frozen=True)
class AveragePool(Operation):
    """The means of squares of ``window`` pixels, ``stride`` apart; a window of 0 is none of these."""

    window: int
    stride: int


@dataclass(frozen=True)
class Join(Operation):
    """Several maps or vectors as one: ``how`` is ``concat``, ``average``, ``subtract``, or ``add`` of more than two."""

    how: str


@dataclass(frozen=True)
class MaxPool(Operation):
    """The maximum of windows; ``ceil``: a rest at the border is kept."""

    kernel: Pair
    stride: Pair
    padding: Padding = NO_PADDING
    ceil: bool = False


@dataclass(frozen=True)
class Flatten(Operation):
    """A map as one vector; ``channels_last``: in the order H, W, C rather than C, H, W."""

    channels_last: bool = False


@dataclass(frozen=True)
class Unknown(Operation):
    """What no network here has; ``what`` says so for the user, ``layer`` whether it holds a convolution's weights."""

    what: str
    layer: bool = False


Unit = Conv | Linear


def layers_of(unit: Unit, epsilon: float) -> list[Layer]:
    """Give the layers that a unit is, its BatchNorm as the same function under ``epsilon``. Raises InputError."""
    if isinstance(unit, Linear):
        return [linear(unit.name, unit.weight, unit.bias)]
    given = unit.norm
    if given is None:
        return [conv(unit.name, unit.weight, np.zeros(len(unit.weight)) if unit.bias is None else unit.bias)]
    spread = given.variance
    if given.epsilon != epsilon:
        spread = spread.astype(np.float64) + (given.epsilon - epsilon)
    layers = conv(unit.name, unit.weight, unit.bias), norm(given.name, given.scale, given.shift, given.mean, spread)
    return list(layers)


def needed_places(operations: Sequence[Operation], outputs: Sequence[int]) -> list[int]:
    """Give the places of all that operations take, and their own, in order."""
    wanted = set(outputs)
    for place in range(max(outputs, default=-1), -1, -1):
        if place in wanted:
            wanted.update(operations[place].inputs)
    return sorted(wanted)


def needed(operations: Sequence[Operation], outputs: Sequence[int]) -> tuple[list[Operation], list[int]]:
    """Keep what some operations need, in order; gives the list and the new places of these."""
    places = {old: new for new, old in enumerate(needed_places(operations, outputs))}
    return [renumbered(operations[old], places) for old in places], [places[output] for output in outputs]


def renumbered(operation: Operation, places: Mapping[int, int]) -> Operation:
    """Give the same operation with inputs at other places."""
    return replace(operation, inputs=tuple(places[place] for place in operation.inputs))
