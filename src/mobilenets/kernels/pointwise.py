"""1×1 convolutions with the normalisation and activation of what they read, forward and backward, in tiles.

Maps are places×channels, C-contiguous; ``address`` is ``blas.gemm_address`` and ``one`` the number 1 in the maps' type.
A kernel works on the rows ``low`` to ``high`` and writes sums of its own, which are merged in the order of the parts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mobilenets.kernels.blas import product
from mobilenets.kernels.compile import kernel
from mobilenets.kernels.norms import NONE
from mobilenets.kernels.vectors import activate, add, masked_slopes, moments, unnormalised

ROWS = 256  # of a tile at least: BLAS packs the weights anew for each
TILE = 1 << 18  # bytes of a tile: several fit into the second cache of a core


@kernel
def collect(found, first, second):
    """Add sums of a tile to the two rows of ``found`` in float64, and empty them."""
    for c in range(first.size):
        found[0, c] += first[c]
        found[1, c] += second[c]
        first[c] = 0
        second[c] = 0


@kernel
def settle(found, shift, count):
    """Turn Σ(y − shift) and Σ(y − shift)² of ``count`` values into their mean and the sum of squares about it."""
    for c in range(shift.size):
        away = found[0, c] / count
        found[1, c] = max(found[1, c] - found[0, c] * away, 0.0)
        found[0, c] = shift[c] + away


@kernel
def gram(address, one, x, low, high, sums, products):
    """Add Σx and Σx·xᵀ over rows ``low`` to ``high`` of a places×channels map, in float64."""
    channels, bytes = x.shape[1], x.itemsize
    tile = max(1, TILE // (channels * bytes))
    part = np.empty((channels, channels), x.dtype)
    ones = np.ones(tile, x.dtype)
    row = np.empty((1, channels), x.dtype)
    at = low
    while at < high:
        rows = min(tile, high - at)
        start = x.ctypes.data + at * channels * bytes
        product(address, start, channels, True, start, channels, False, part.ctypes.data, channels,
                channels, channels, rows, one, one - one)  # fmt: skip
        product(address, ones.ctypes.data, rows, False, start, channels, False, row.ctypes.data, channels,
                1, channels, rows, one, one - one)  # fmt: skip
        for i in range(channels):
            sums[i] += row[0, i]
            for j in range(channels):
                products[i, j] += part[i, j]
        at += rows


@lru_cache
def convolve(activation: int) -> Any:
    """Give the kernel that normalises, activates and multiplies by the weights."""

    @kernel
    def run(address, one, x, lines, weights, out, low, high, found):
        """Write ``out`` from ``x``, whose ``lines`` are mean, scale and shift; ``found`` gets its mean and squares."""
        bytes, channels, outputs = x.itemsize, x.shape[1], out.shape[1]
        tile = max(ROWS, TILE // (max(channels, outputs) * bytes))
        active = np.empty((tile, channels), x.dtype)
        shift, sums, squares = np.zeros(outputs, x.dtype), np.zeros(outputs, x.dtype), np.zeros(outputs, x.dtype)
        found[:] = 0
        at = low
        while at < high:
            rows = min(tile, high - at)
            activate(activation, one, rows, channels,
                     (x.ctypes.data + at * channels * bytes, lines[1].ctypes.data, lines[2].ctypes.data,
                      active.ctypes.data))  # fmt: skip
            goal = out.ctypes.data + at * outputs * bytes
            product(address, active.ctypes.data, channels, False, weights.ctypes.data, channels, True, goal, outputs,
                    rows, outputs, channels, one, one - one)  # fmt: skip
            if at == low:
                shift[:] = out[low]
            moments(NONE, one, rows, outputs, (goal, shift.ctypes.data, sums.ctypes.data, squares.ctypes.data))
            collect(found, sums, squares)
            at += rows
        settle(found, shift, high - low)

    return run


@lru_cache
def unconvolve(activation: int, closing: int) -> Any:
    """Give the backward kernel of ``convolve``; ``closing`` is the activation behind the output's normalisation.

    It is ``NONE`` where the gradient that comes in has been taken through it already.
    """

    @kernel
    def run(address, one, dout, y, behind, x, lines, weights, dx, low, high, dweights, found):
        """Write ``dx``, the gradient before the activation of ``x``, and add to ``dweights``.

        ``y`` is the output and ``behind`` its scale, shift, k1, k2, k3: its gradient is k1·g + k2·y + k3. ``found``
        gets Σdx and Σdx·(x − mean).
        """
        bytes, channels, outputs = x.itemsize, x.shape[1], y.shape[1]
        tile = max(ROWS, TILE // (max(channels, outputs) * bytes))
        active = np.empty((tile, channels), x.dtype)
        dy = np.empty((tile, outputs), x.dtype)
        sums, products = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        found[:] = 0
        at = low
        while at < high:
            rows = min(tile, high - at)
            read, written = at * channels * bytes, at * outputs * bytes
            unnormalised(closing, one, rows, outputs,
                         (dout.ctypes.data + written, y.ctypes.data + written, behind[0].ctypes.data,
                          behind[1].ctypes.data, behind[2].ctypes.data, behind[3].ctypes.data, behind[4].ctypes.data,
                          dy.ctypes.data))  # fmt: skip
            activate(activation, one, rows, channels,
                     (x.ctypes.data + read, lines[1].ctypes.data, lines[2].ctypes.data,
                      active.ctypes.data))  # fmt: skip
            product(address, dy.ctypes.data, outputs, True, active.ctypes.data, channels, False, dweights.ctypes.data,
                    channels, outputs, channels, rows, one, one)  # fmt: skip
            goal = dx.ctypes.data + read
            product(address, dy.ctypes.data, outputs, False, weights.ctypes.data, channels, False, goal, channels,
                    rows, channels, outputs, one, one - one)  # fmt: skip
            masked_slopes(activation, one, rows, channels,
                          (x.ctypes.data + read, lines[1].ctypes.data, lines[2].ctypes.data, lines[0].ctypes.data, goal,
                           sums.ctypes.data, products.ctypes.data))  # fmt: skip
            collect(found, sums, products)
            at += rows

    return run


@kernel
def finish(address, one, x, m, shift, dx, low, high):
    """Add x·m + shift to ``dx``, of places×channels maps: what of the gradient follows from the input alone."""
    channels, bytes = x.shape[1], x.itemsize
    tile = max(1, TILE // (channels * bytes))
    extra = np.empty((tile, channels), x.dtype)
    at = low
    while at < high:
        rows = min(tile, high - at)
        move = at * channels * bytes
        product(address, x.ctypes.data + move, channels, False, m.ctypes.data, channels, False, extra.ctypes.data,
                channels,
                rows, channels, channels, one, one - one)  # fmt: skip
        add(NONE, one, rows, channels, (extra.ctypes.data, shift.ctypes.data, dx.ctypes.data + move))
        at += rows
