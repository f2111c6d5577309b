"""Chains of convolutions with their norms and activations, as one function of PyTorch's autograd.

Of every convolution in a chain only the raw output is stored; whoever reads it normalises, activates and gates it on
the way in. A wide map that a 1×1 expansion makes from a narrow one is not stored at all but computed again on the way
back. What BatchNorm needs of it follows from the narrow map: the mean of W·x is W·mean(x) and its variance
wᵀ·Cov(x)·w, so that a small matrix Σx·xᵀ stands for the whole map, and it gives the gradients behind that norm too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mobilenets.kernels import norms
from mobilenets.kernels.norms import NONE
from mobilenets.training.steppers import passes
from mobilenets.training.steppers.passes import Map, Read, Weights
from mobilenets.training.steppers.together import Slice, synchronised
from mobilenets.training.steppers.units import Unit

# Channels up to which reading a map costs more than computing it again from so many others.
NARROW = 32


class Chain(torch.autograd.Function):
    """Convolutions one after the other, and the sum with the input; see the module. There is no second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Sequence[Unit], residual: bool, *weights: Tensor) -> Tensor:
        """Return the output for N×C×H×W ``x`` in channels_last, and move the norms' running statistics.

        ``weights`` are those of each unit.
        """
        ctx.threads, ctx.part = torch.get_num_threads(), synchronised()
        with np.errstate(all="ignore"):  # what is not finite, the loss shows
            matrices = [Weights.of(unit, ctx.threads) for unit in units]
            maps, beside = _forward(_values(x), units, matrices, ctx.threads)
            last = maps[-1]
            out = np.empty(last.shape, last.values.dtype)
            added = maps[0].rows if residual else None
            norms.apply(last.rows, last.lines, last.activation, added, out.reshape(last.rows.shape), ctx.threads)
        # As saved tensors they are let go as soon as their gradient is known.
        ctx.save_for_backward(x, *(torch.from_numpy(map.values) for map in maps[1:] if map.values is not None))
        ctx.units, ctx.matrices, ctx.residual, ctx.beside = units, matrices, residual, beside
        ctx.maps = [map if map.values is None else map._replace(values=()) for map in maps[1:]]
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of the weights."""
        x, *stored = ctx.saved_tensors
        values = iter(stored)
        maps = [m if m.values is None else m._replace(values=next(values).numpy()) for m in ctx.maps]
        maps = [Read.raw(_values(x)), *maps]
        with np.errstate(all="ignore"):  # what is not finite, the loss shows
            gradient, found = _backward(
                _values(dout), ctx.units, ctx.matrices, maps, ctx.beside, ctx.residual, ctx.threads, ctx.part
            )
        dx = None if gradient is None else torch.from_numpy(gradient).permute(0, 3, 1, 2)
        return dx, None, None, *found


def _values(x: Tensor) -> Map:
    """Give a map as N×H×W×C."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()


def _recomputes(units: Sequence[Unit], index: int) -> bool:
    """Say whether a unit's output is not stored: an expansion of the chain's narrow input, which a filter reads."""
    unit = units[index]
    narrow = unit.conv.in_channels <= min(NARROW, unit.conv.out_channels // 2)
    plain = not unit.filters and not unit.dense
    return index == 0 and len(units) > 1 and plain and units[1].filters and narrow


def _forward(
    x: Map, units: Sequence[Unit], matrices: Sequence[Weights], threads: int
) -> tuple[list[Read], dict[int, Any]]:
    """Give the input and what each unit makes of it, and by unit what else the way back needs.

    That is Σx, Σx·xᵀ where the map is not stored, and what was in a gate.
    """
    maps = [Read.raw(x)]
    beside: dict[int, Any] = {}
    for index, unit in enumerate(units):
        before, weights = maps[-1], matrices[index]
        pictures, rows, columns, _ = before.shape
        shape = (pictures, unit.given(rows), unit.given(columns), unit.conv.out_channels)
        if _recomputes(units, index):
            beside[index] = passes.gram(before.rows, threads)
            maps.append(passes.unstored(shape, unit, weights, *beside[index]))
            continue
        if unit.gate is not None:
            beside[index] = passes.gates(unit.gate, before, threads)
        if unit.filters:
            expansion = matrices[index - 1] if before.values is None else None
            made = passes.filter(unit, weights, before, expansion, maps[index - 1], shape, threads)
        elif unit.dense:
            made = passes.convolve(unit, weights, before, shape, threads)
        else:
            made = passes.multiply(unit, weights, before, beside.get(index), shape, threads)
        maps.append(made)
    return maps, beside


def _backward(
    dout: Map, units: Sequence[Unit], matrices: Sequence[Weights], maps: Sequence[Read], beside: dict[int, Any],
    residual: bool, threads: int, part: Slice | None,
) -> tuple[Map | None, list[Tensor]]:  # fmt: skip
    """Give the gradient of the input, and those of what each unit learns."""
    dtype = dout.dtype
    last = maps[-1]
    sums = norms.gradient_sums(last.rows, dout.reshape(last.rows.shape), last.lines, last.activation, threads)
    sums = sums[None]
    gradient, closing, raw = dout, last.activation, None
    found: list[Map] = []
    for index in reversed(range(len(units))):
        unit, before, after, weights = units[index], maps[index], maps[index + 1], matrices[index]
        behind, *dnorm = passes.behind(unit, after, sums, part)
        dgate: Sequence[Map] = ()
        if after.values is None:
            dweights = passes.unexpand(weights, before, gradient, raw, beside[index], behind, threads)
        elif unit.dense:
            dweights = passes.unconvolve(unit, before, after, gradient, behind, closing, threads)
            gradient = None
        elif unit.filters:
            expansion = matrices[index - 1] if before.values is None else None
            source = before if expansion is None else maps[index - 1]
            gradient, dweights, sums, raw = passes.unfilter(
                unit, weights, expansion, source, before, after, gradient, behind, closing, threads
            )
        else:
            gradient, dweights, sums, dgates = passes.unmultiply(
                weights, before, after, beside.get(index), gradient, behind, closing, threads
            )
            if unit.gate is not None:
                sums, dgate = passes.ungate(unit.gate, before, beside[index], dgates, gradient, threads)
        closing = NONE
        found = [dweights, *dnorm, *dgate, *found]
    if residual and gradient is not None:
        rows = gradient.reshape(-1, gradient.shape[-1])
        norms.apply(rows, maps[0].lines, NONE, dout.reshape(rows.shape), rows, threads)
    flat = [weight for unit in units for weight in unit.weights]
    return gradient, [
        torch.from_numpy(np.ascontiguousarray(g, dtype)).reshape(weight.shape)
        for g, weight in zip(found, flat, strict=True)
    ]
