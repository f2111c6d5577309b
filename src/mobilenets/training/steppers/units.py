"""The parts of a chain: convolutions with their norms and activations, and gates before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn

from mobilenets.kernels import norms
from mobilenets.kernels.vectors import LANES
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.padding import padded
from mobilenets.training.steppers.norms import MODULES, fits, is_rows
from mobilenets.training.steppers.together import NORMS

# Input channels up to which a convolution that is neither 1×1 nor depthwise is one of pictures.
FEW = 4


@dataclass(frozen=True)
class Gate:
    """Squeeze-and-excitation of what a 1×1 convolution reads: its two layers."""

    reduce: ConvNorm
    expand: ConvNorm

    @cached_property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and bias of the first layer and of the second."""
        first, second = self.reduce.conv, self.expand.conv
        return first.weight, first.bias, second.weight, second.bias  # type: ignore[return-value]


class Arrays(NamedTuple):
    """The tensors of a convolution and its norm as arrays of the same memory.

    ``weight`` is outputs × places·inputs; None where it lies in memory in another order.
    """

    weight: Any
    gamma: Any
    beta: Any
    mean: Any
    variance: Any
    batches: Any


@dataclass(frozen=True)
class Unit:
    """One convolution of a chain, its norm and its activation's number, and the gate before it."""

    module: ConvNorm
    activation: int
    gate: Gate | None = None

    @cached_property
    def conv(self) -> nn.Conv2d:
        """The convolution."""
        return self.module.conv

    @cached_property
    def norm(self) -> nn.BatchNorm2d:
        """The norm."""
        norm: nn.BatchNorm2d = self.module.norm  # type: ignore[assignment]
        return norm

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """What is learned: the convolution, gamma, beta, and the gate's."""
        own = self.conv.weight, self.norm.weight, self.norm.bias
        return own if self.gate is None else (*own, *self.gate.weights)

    @property
    def arrays(self) -> Arrays:
        """The tensors as arrays; looked up anew only where they lie elsewhere than before."""
        norm, weight, kept = self.norm, self.conv.weight, self._kept
        where = weight.data_ptr(), norm.weight.data_ptr(), norm.running_mean.data_ptr()  # type: ignore[union-attr]
        if where not in kept:
            kept.clear()
            laid = weight.detach().permute(0, 2, 3, 1)
            matrix = laid.reshape(len(laid), -1).numpy() if laid.is_contiguous() else None
            tensors = norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.num_batches_tracked
            kept[where] = Arrays(matrix, *(tensor.detach().numpy() for tensor in tensors))  # type: ignore[union-attr]
        return kept[where]

    @cached_property
    def _kept(self) -> dict[tuple[int, int, int], Arrays]:
        return {}

    @cached_property
    def size(self) -> int:
        """Places a side of the filter."""
        return self.conv.kernel_size[0]

    @cached_property
    def stride(self) -> int:
        """Places from one output to the next."""
        return self.conv.stride[0]

    @cached_property
    def filters(self) -> bool:
        """Whether it is depthwise."""
        return self.conv.groups > 1

    @cached_property
    def dense(self) -> bool:
        """Whether it is a whole convolution of pictures; where neither, it is 1×1."""
        return not self.filters and self.size > 1

    def pads(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side of the map."""
        return padded(side, self.size, self.stride, self.module.padding)

    def given(self, side: int) -> int:
        """Places a side of the output."""
        return (side + sum(self.pads(side)) - self.size) // self.stride + 1


def unit_of(module: nn.Module) -> Unit | None:
    """Return the unit for a module that a chain can hold, or None."""
    if not isinstance(module, ConvNorm) or type(module.norm) not in NORMS or module.conv.bias is not None:
        return None
    conv, activation = module.conv, norms.ACTIVATIONS.get(MODULES.get(type(module.activation), ""))
    size, stride = conv.kernel_size[0], conv.stride[0]
    plain = conv.groups == 1 and size == 1 and stride == 1
    odd = stride in (1, 2) and size % 2 == 1 and size > 1
    depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1 and odd
    dense = conv.groups == 1 and conv.in_channels <= FEW and odd
    whole = conv.out_channels % LANES == 0 and (dense or conv.in_channels % LANES == 0)
    return Unit(module, activation) if activation is not None and whole and (plain or depthwise or dense) else None


def gate_of(reduce: nn.Module, expand: nn.Module) -> Gate | None:
    """Return the gate of two layers that kernels compute, or None."""
    for module, activation in ((reduce, nn.ReLU), (expand, nn.Hardsigmoid)):
        if not isinstance(module, ConvNorm) or type(module.norm) is not nn.Identity or module.conv.bias is None:
            return None
        if type(module.activation) is not activation or module.conv.kernel_size != (1, 1) or module.conv.groups > 1:
            return None
    return Gate(reduce, expand)  # type: ignore[arg-type]


def fitting(units: Sequence[Unit], x: Tensor) -> bool:
    """Say whether the kernels take ``x`` and these norms; of one value a channel PyTorch says that it cannot."""
    if not is_rows(x) or not all(fits(unit.norm) and unit.conv.weight.dtype is x.dtype for unit in units):
        return False
    if units[0].dense and x.requires_grad:  # nobody asks for the gradient of pictures
        return False
    rows, columns = x.shape[2:]
    for unit in units:
        rows, columns = unit.given(rows), unit.given(columns)
        if x.shape[0] * rows * columns < 2 or min(rows, columns) < 1:
            return False
    return True
