"""The operations that networks are made of, each with names and shapes and without weights.

A plan (``mobilenets.models.plan``) is a list of these. An operation is called by what it gives, which is also where its
weights are in the state dictionary: ``body.inverted3.depthwise``. Shapes are those for one picture of the network's
size: (channels, height, width) for a map, (features,) for a vector. All maps are square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobilenets.models.padding import padded

ACTIVATIONS = ("relu6", "relu", "hard_swish", "hard_sigmoid", "none")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """What flows: the name of the operation that gives it, and its shape for one picture."""

    name: str
    shape: Shape

    @property
    def channels(self) -> int:
        """Channels of a map, or length of a vector."""
        return self.shape[0]

    @property
    def side(self) -> int:
        """Pixels per side of a map."""
        return self.shape[1]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One step: ``inputs`` are the names of what it takes, ``input_shape`` is that of the first of them."""

    name: str
    inputs: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape

    @property
    def label(self) -> str:
        """What it is, for people; empty for what no table of layers shows."""
        return ""

    @property
    def parameters(self) -> int:
        """Learned values."""
        return 0

    @property
    def stored(self) -> int:
        """Values on disk: the learned ones and BatchNorm's running statistics."""
        return self.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Window(Operation):
    """An operation that moves over a map; ``padding`` is ``symmetric``, ``same`` or ``after``."""

    kernel: int
    stride: int
    padding: str

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after each side."""
        return padded(self.input_shape[1], self.kernel, self.stride, self.padding)


@dataclass(frozen=True, kw_only=True)
class Conv(Window):
    """A convolution, its bias, its BatchNorm and its activation: the papers' unit of everything.

    Weights are under ``{name}.conv``, BatchNorm's under ``{name}.norm``; ``norm`` and ``bias`` say which there are.
    """

    groups: int = 1
    bias: bool = False
    norm: bool = True
    epsilon: float = 1e-3
    activation: str = "relu6"

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered alone."""
        return self.groups > 1 and self.groups == self.input_shape[0]

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(outputs, inputs a group, kernel, kernel)."""
        return self.output_shape[0], self.input_shape[0] // self.groups, self.kernel, self.kernel

    @property
    def label(self) -> str:
        """What it is, for people: ``depthwise 3×3 /2``; of activations all but ReLU6."""
        form = "pointwise" if self.kernel == 1 else "depthwise" if self.depthwise else "conv"
        stride = f" /{self.stride}" if self.stride > 1 else ""
        activation = {"relu6": "", "none": " linear"}.get(self.activation, f" {self.activation.replace('_', '-')}")
        return f"{form} {self.kernel}×{self.kernel}{stride}{activation}"

    @property
    def parameters(self) -> int:
        """Learned values: weights, bias, BatchNorm's scale and shift."""
        return math.prod(self.weight_shape) + (self.bias + 2 * self.norm) * self.output_shape[0]

    @property
    def stored(self) -> int:
        """Values on disk: the learned ones and BatchNorm's mean and variance."""
        return self.parameters + 2 * self.norm * self.output_shape[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution, without BatchNorm and activation."""
        return math.prod(self.weight_shape) * math.prod(self.output_shape[1:])


@dataclass(frozen=True, kw_only=True)
class MaxPool(Window):
    """The largest value of each window; what ``pads`` adds counts for nothing.

    Windows that do not overlap keep a rest at the border (``ceil_mode``), others are padded as convolutions are.
    """

    @property
    def ceil_mode(self) -> bool:
        """Whether a last window may stand over the border."""
        return self.stride == self.kernel

    @property
    def pads(self) -> tuple[int, int]:
        """Places added before and after each side."""
        return (0, 0) if self.ceil_mode else super().pads

    @property
    def label(self) -> str:
        """What it is, for people."""
        return f"max pool {self.kernel}×{self.kernel}"


@dataclass(frozen=True, kw_only=True)
class Activation(Operation):
    """An activation by itself, one of ``ACTIVATIONS``."""

    activation: str


@dataclass(frozen=True, kw_only=True)
class Add(Operation):
    """The sum of two maps of one shape."""


@dataclass(frozen=True, kw_only=True)
class Scale(Operation):
    """A map times a gate of one value a channel (C×1×1), the second input."""


@dataclass(frozen=True, kw_only=True)
class MeanPool(Operation):
    """The mean over all places of a map: C×1×1."""

    label = "average pool"


@dataclass(frozen=True, kw_only=True)
class Flatten(Operation):
    """A map as one vector, channel by channel."""


@dataclass(frozen=True, kw_only=True)
class Join(Operation):
    """Maps as rows of numbers: of each group of maps a row for each anchor of each place, place by place.

    A group has a map for each of ``columns``, which says how many of its channels belong to one anchor; a row has
    those of all of them side by side, and the rows of the groups stand below one another.
    """

    columns: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Linear(Operation):
    """A linear layer with bias; its weights (outputs, inputs) are under ``{name}``."""

    label = "linear"

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.macs + self.output_shape[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.input_shape[0] * self.output_shape[0]
