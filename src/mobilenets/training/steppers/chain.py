"""Chains of 1×1 and depthwise convolutions with their norms and activations, as one function of PyTorch's autograd.

Of every convolution in a chain only the raw output is stored; whoever reads it normalises and activates on the way in.
A wide map that a 1×1 expansion makes from a narrow one is not stored at all but computed again on the way back. What
BatchNorm needs of it follows from the narrow map: the mean of W·x is W·mean(x) and its variance wᵀ·Cov(x)·w, so that a
small matrix Σx·xᵀ stands for the whole map, and it gives the gradients behind that norm too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilenets.kernels import depthwise, norms, pointwise
from mobilenets.kernels.blas import gemm_address, one_thread
from mobilenets.kernels.norms import NONE
from mobilenets.kernels.threads import run, split
from mobilenets.kernels.vectors import LANES
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.padding import padded
from mobilenets.training.steppers.norms import MODULES, fits, is_rows, rows_of

# Channels up to which reading a map costs more than computing it again from so many others.
NARROW = 32

Map = Any


@dataclass(frozen=True)
class Unit:
    """One convolution of a chain, its norm and its activation's number."""

    module: ConvNorm
    activation: int

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
    def filters(self) -> bool:
        """Whether it is depthwise; 1×1 otherwise."""
        return self.conv.groups > 1

    def pads(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side of the map."""
        size, stride = self.conv.kernel_size[0], self.conv.stride[0]
        return padded(side, size, stride, self.module.padding)

    def given(self, side: int) -> int:
        """Places a side of the output."""
        return (side + sum(self.pads(side)) - self.conv.kernel_size[0]) // self.conv.stride[0] + 1


def unit_of(module: nn.Module) -> Unit | None:
    """Return the unit for a module that a chain can hold, or None."""
    if not isinstance(module, ConvNorm) or type(module.norm) is not nn.BatchNorm2d or module.conv.bias is not None:
        return None
    conv, activation = module.conv, norms.ACTIVATIONS.get(MODULES.get(type(module.activation), ""))
    plain = conv.groups == 1 and conv.kernel_size == (1, 1) and conv.stride == (1, 1)
    depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1
    depthwise = depthwise and conv.stride[0] in (1, 2) and conv.kernel_size[0] % 2 == 1 and conv.kernel_size[0] > 1
    whole = conv.in_channels % LANES == conv.out_channels % LANES == 0
    return Unit(module, activation) if activation is not None and whole and (plain or depthwise) else None


def fitting(units: Sequence[Unit], x: Tensor) -> bool:
    """Say whether the kernels take ``x`` and these norms; of one value a channel PyTorch says that it cannot."""
    if not is_rows(x) or not all(fits(unit.norm) and unit.conv.weight.dtype is x.dtype for unit in units):
        return False
    rows, columns = x.shape[2:]
    for unit in units:
        rows, columns = unit.given(rows), unit.given(columns)
        if x.shape[0] * rows * columns < 2 or min(rows, columns) < 1:
            return False
    return True


class _Map(NamedTuple):
    """A map as the next convolution reads it: N×H×W×C values, ``lines`` (mean, scale, shift), and an activation.

    ``inverse`` is one over the deviation; None for the chain's own input. Of a map that is not stored ``values`` is
    None, and ``shape`` is what it would have.
    """

    values: Map
    shape: tuple[int, ...]
    lines: Map
    inverse: Map
    activation: int

    @property
    def rows(self) -> Map:
        """The values as places×channels."""
        return self.values.reshape(-1, self.values.shape[-1])


class Chain(torch.autograd.Function):
    """Convolutions one after the other, and the sum with the input; see the module. There is no second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Sequence[Unit], residual: bool, *weights: Tensor) -> Tensor:
        """Return the output for N×C×H×W ``x`` in channels_last, and move the norms' running statistics.

        ``weights`` are each unit's convolution, gamma and beta.
        """
        ctx.threads = torch.get_num_threads()
        with one_thread(), np.errstate(all="ignore"):  # what is not finite, the loss shows
            matrices = [_weights(unit) for unit in units]
            maps, gram = _forward(_values(x), units, matrices, ctx.threads)
            last = maps[-1]
            out = np.empty(last.shape, last.values.dtype)
            beside = maps[0].rows if residual else None
            norms.apply(last.rows, last.lines, last.activation, beside, out.reshape(last.rows.shape), ctx.threads)
        # As saved tensors they are let go as soon as their gradient is known.
        ctx.save_for_backward(x, *(torch.from_numpy(map.values) for map in maps[1:] if map.values is not None))
        ctx.units, ctx.matrices, ctx.residual, ctx.gram = units, matrices, residual, gram
        ctx.maps = [map if map.values is None else map._replace(values=()) for map in maps[1:]]
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of the weights."""
        x, *stored = ctx.saved_tensors
        values = iter(stored)
        maps = [m if m.values is None else m._replace(values=next(values).numpy()) for m in ctx.maps]
        maps = [_input(_values(x)), *maps]
        with one_thread(), np.errstate(all="ignore"):  # what is not finite, the loss shows
            found = _backward(_values(dout), ctx.units, ctx.matrices, maps, ctx.gram, ctx.residual, ctx.threads)
        return found[0], None, None, *found[1:]


def _values(x: Tensor) -> Map:
    """Give a map as N×H×W×C."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()


def _input(values: Map) -> _Map:
    channels = values.shape[-1]
    lines = np.zeros((3, channels), values.dtype)
    lines[1] = 1
    return _Map(values, values.shape, lines, None, NONE)


def _weights(unit: Unit) -> Map:
    """Give the weights as the kernels read them: outputs×inputs, or places of the filter×channels."""
    weight = unit.conv.weight.detach()
    flat = weight.reshape(weight.shape[0], -1)
    return (flat.t() if unit.filters else flat).contiguous().numpy()


def _normalised(values: Map, shape: tuple[int, ...], unit: Unit, parts: Map, counts: Map) -> _Map:
    """Make a map of a convolution's output from the moments of its parts, and move the running statistics."""
    norm = unit.norm
    scale = rows_of(norm.weight)
    lines, inverse = np.empty((3, shape[-1]), scale.dtype), np.empty(shape[-1])
    mean, variance = rows_of(norm.running_mean), rows_of(norm.running_var)  # type: ignore[arg-type]
    momentum: float = norm.momentum  # type: ignore[assignment]
    norms.finish_moments(parts, counts, scale, rows_of(norm.bias), norm.eps, mean, variance, momentum, lines, inverse)
    norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    return _Map(values, shape, lines, inverse, unit.activation)


def _recomputes(units: Sequence[Unit], index: int) -> bool:
    """Say whether a unit's output is not stored: an expansion of the chain's narrow input, which a filter reads."""
    unit = units[index]
    narrow = unit.conv.in_channels <= min(NARROW, unit.conv.out_channels // 2)
    return index == 0 and len(units) > 1 and not unit.filters and units[1].filters and narrow


def _forward(x: Map, units: Sequence[Unit], matrices: Sequence[Map], threads: int) -> tuple[list[_Map], Any]:
    """Give the input and what each unit makes of it, and Σx, Σx·xᵀ where the first map is not stored."""
    address, one = gemm_address(x.dtype), x.dtype.type(1)
    maps, gram = [_input(x)], None
    for index, unit in enumerate(units):
        before = maps[-1]
        pictures, rows, columns, _ = before.shape
        shape = (pictures, unit.given(rows), unit.given(columns), unit.conv.out_channels)
        if _recomputes(units, index):
            gram = _gram(before.rows, threads)
            maps.append(_unstored(shape, unit, matrices[index], *gram))
            continue
        weights, out = matrices[index], np.empty(shape, x.dtype)
        if unit.filters:
            ranges = split(pictures, threads)
            expand = before.values is None
            source = maps[-2] if expand else before
            expansion = matrices[index - 1] if expand else weights
            top, left = unit.pads(rows)[0], unit.pads(columns)[0]
            function = depthwise.convolve(unit.conv.kernel_size[0], unit.conv.stride[0], before.activation, expand)
            given: tuple[Any, ...] = (source.values, expansion, before.lines, weights, top, left, out)
            places = shape[1] * shape[2]
        else:
            ranges = split(pictures * rows * columns, threads)
            function = pointwise.convolve(before.activation)
            given, places = (before.rows, before.lines, weights, out.reshape(-1, shape[-1])), 1
        parts = np.empty((len(ranges), 2, shape[-1]))
        run(function, [(address, one, *given, *ends, part) for ends, part in zip(ranges, parts, strict=True)])
        counts = np.array([(last - first) * places for first, last in ranges])
        maps.append(_normalised(out, shape, unit, parts, counts))
    return maps, gram


def _gram(rows: Map, threads: int) -> tuple[Map, Map]:
    """Give Σx and Σx·xᵀ of a places×channels map, in float64."""
    channels = rows.shape[1]
    ranges = split(rows.shape[0], threads)
    sums, products = np.zeros((len(ranges), channels)), np.zeros((len(ranges), channels, channels))
    given = gemm_address(rows.dtype), rows.dtype.type(1), rows
    run(pointwise.gram, [(*given, *ends, *part) for ends, *part in zip(ranges, sums, products, strict=True)])
    return sums.sum(0), products.sum(0)


def _unstored(shape: tuple[int, ...], unit: Unit, matrix: Map, sums: Map, products: Map) -> _Map:
    """Make the map of an expansion whose moments follow from those of its input."""
    count = shape[0] * shape[1] * shape[2]
    weights, mean = matrix.astype(np.float64), sums / count
    covariance = products - np.outer(sums, mean)
    squares = np.maximum(((weights @ covariance) * weights).sum(1), 0)
    return _normalised(None, shape, unit, np.stack((weights @ mean, squares))[None], np.array([count]))


def _behind(unit: Unit, map: _Map, sums: Map, dtype: Any) -> tuple[Map, Map, Map]:
    """Give scale, shift, k1, k2, k3 of the gradient behind a norm, k1·g + k2·y + k3, and those of gamma and beta."""
    channels = map.shape[-1]
    count = map.shape[0] * map.shape[1] * map.shape[2]
    table, dgamma, dbeta = np.empty((6, channels)), np.empty(channels), np.empty(channels)
    lines = map.lines.astype(np.float64)
    norms.finish_sums(sums, count, lines, map.inverse, rows_of(unit.norm.weight), table, dgamma, dbeta)
    table[5] -= table[4] * table[0]
    return table[1:].astype(dtype), dgamma.astype(map.lines.dtype), dbeta.astype(map.lines.dtype)


def _backward(
    dout: Map, units: Sequence[Unit], matrices: Sequence[Map], maps: Sequence[_Map], gram: Any, residual: bool,
    threads: int,
) -> list[Tensor | None]:  # fmt: skip
    """Give the gradients of the input and of each unit's convolution, gamma and beta."""
    dtype = dout.dtype
    last = maps[-1]
    sums = norms.gradient_sums(last.rows, dout.reshape(last.rows.shape), last.lines, last.activation, threads)
    gradient, closing = dout, last.activation
    raw = None
    found: list[Tensor | None] = []
    for index in reversed(range(len(units))):
        unit, before, after, matrix = units[index], maps[index], maps[index + 1], matrices[index]
        behind, dgamma, dbeta = _behind(unit, after, sums, dtype if after.values is not None else np.float64)
        if after.values is None:
            dweights = _unexpand(matrix, before, gradient, raw, gram, behind, threads)
        elif unit.filters:
            expand = before.values is None
            gradient, dweights, sums, raw = _unfilter(
                matrices[index - 1] if expand else None, matrix, unit, maps[index - 1] if expand else before, before,
                after, gradient, behind, closing, threads,
            )  # fmt: skip
        else:
            gradient, dweights, sums = _unmultiply(matrix, before, after, gradient, behind, closing, threads)
        closing = NONE
        weight = unit.conv.weight
        dweights = dweights.T if unit.filters else dweights
        dconv = torch.from_numpy(np.ascontiguousarray(dweights, dtype)).reshape(weight.shape)
        found = [dconv, torch.from_numpy(dgamma), torch.from_numpy(dbeta), *found]
    if residual:
        gradient += dout
    return [torch.from_numpy(gradient).permute(0, 3, 1, 2), *found]


def _unmultiply(
    weights: Map, before: _Map, after: _Map, gradient: Map, behind: Map, closing: int, threads: int
) -> tuple[Map, Map, Map]:
    """Give the gradients before the activation of a 1×1 convolution's input, with their sums, and of its weights."""
    address, one = gemm_address(gradient.dtype), gradient.dtype.type(1)
    dx = np.empty(before.shape, gradient.dtype)
    ranges = split(before.rows.shape[0], threads)
    dweights = np.zeros((len(ranges), *weights.shape), gradient.dtype)
    sums = np.empty((len(ranges), 2, before.shape[-1]))
    given = (gradient.reshape(after.rows.shape), after.rows, behind, before.rows, before.lines, weights)
    into = dx.reshape(before.rows.shape)
    function = pointwise.unconvolve(before.activation, closing)
    run(
        function,
        [(address, one, *given, into, *ends, *part) for ends, *part in zip(ranges, dweights, sums, strict=True)],
    )
    return dx, dweights.sum(0), sums.sum(0)


def _unfilter(
    expansion: Map | None, weights: Map, unit: Unit, source: _Map, before: _Map, after: _Map, gradient: Map,
    behind: Map, closing: int, threads: int,
) -> tuple[Map, Map, Map, Map]:  # fmt: skip
    """Give the same for a filter; with ``expansion`` what it adds to the input's, and g1ᵀ·x."""
    address, one = gemm_address(gradient.dtype), gradient.dtype.type(1)
    dx = np.empty(source.shape, gradient.dtype)
    expanding = weights if expansion is None else expansion
    scaled = expanding if expansion is None else expanding * before.lines[1][:, None]
    ranges = split(source.shape[0], threads)
    dweights = np.zeros((len(ranges), *weights.shape))
    raw = np.zeros((len(ranges), *(expanding.shape if expansion is not None else (1, 1))), gradient.dtype)
    sums = np.empty((len(ranges), 2, after.shape[-1]))
    top, left = unit.pads(source.shape[1])[0], unit.pads(source.shape[2])[0]
    given = (gradient, after.values, behind, source.values, expanding, before.lines, scaled, weights, top, left, dx)
    size, stride = unit.conv.kernel_size[0], unit.conv.stride[0]
    normalised = before.inverse is not None
    function = depthwise.unconvolve(size, stride, before.activation, closing, expansion is not None, normalised)
    parts = zip(ranges, dweights, raw, sums, strict=True)
    run(function, [(address, one, *given, *ends, *part) for ends, *part in parts])
    total = sums.sum(0)
    if expansion is not None:  # Σg1·y of the map that was not stored: y is W·x
        total[1] = (raw.sum(0, dtype=np.float64) * expanding).sum(1) - before.lines[0].astype(np.float64) * total[0]
    return dx, dweights.sum(0), total, raw.sum(0, dtype=np.float64)


def _unexpand(matrix: Map, before: _Map, gradient: Map, raw: Map, gram: Any, behind: Map, threads: int) -> Map:
    """Complete the input's gradient in place, and give that of the expansion's weights.

    The output y = W·x has the gradient k1·g + k2·y + k3; ``gradient`` holds the part of g, ``raw`` is gᵀ·x.
    """
    _, _, k1, k2, k3 = behind
    weights = matrix.astype(np.float64)
    sums, products = gram
    mix = (weights.T @ (weights * k2[:, None])).astype(gradient.dtype)
    shift = (k3 @ weights).astype(gradient.dtype)
    into = gradient.reshape(before.rows.shape)
    given = gemm_address(gradient.dtype), gradient.dtype.type(1), before.rows, mix, shift, into
    run(pointwise.finish, [(*given, *ends) for ends in split(into.shape[0], threads)])
    return raw * k1[:, None] + (weights @ products) * k2[:, None] + np.outer(k3, sums)
