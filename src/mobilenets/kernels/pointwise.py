"""1×1 convolutions with the normalisation and activation of what they read, forward and backward, in tiles.

Maps are places×channels, C-contiguous; ``address`` is ``products.product_address`` and ``one`` the number 1 in the
maps' type. A kernel works on the rows ``low`` to ``high`` and writes sums of its own, which are merged in the order of
the parts. With ``gated`` what is read is also multiplied by ``gates``, pictures×channels, of ``places`` rows each; the
rows are then those of whole pictures. Weights are given ``packed``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.norms import NONE
from mobilenets.kernels.products import following, following_both, multiply, outer
from mobilenets.kernels.vectors import activate, add, masked_slopes, moments, scaled, ungated, unnormalised

ROWS = 96  # of a tile at least
TILE = 1 << 17  # bytes of a tile: several fit into the second cache of a core


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
def tile_rows(values, bytes):
    """Give the rows of a tile, of ``values`` each."""
    return max(ROWS, TILE // (values * bytes) // ROWS * ROWS)


@kernel
def gram(address, one, x, low, high, sums, products):
    """Add Σx and Σx·xᵀ over rows ``low`` to ``high`` of a places×channels map, in float64."""
    channels, bytes = x.shape[1], x.itemsize
    tile = max(1, TILE // (channels * bytes))
    part = np.zeros((channels, channels), x.dtype)
    zero, total, square = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
    at = low
    while at < high:
        rows = min(tile, high - at)
        start = np.intp(x.ctypes.data) + at * channels * bytes
        outer(address, start, channels, start, channels, part.ctypes.data, channels, rows, channels, channels,
              following(x, channels * bytes, at + rows, rows, high))  # fmt: skip
        moments(NONE, one, rows, channels, (start, zero.ctypes.data, total.ctypes.data, square.ctypes.data))
        for i in range(channels):
            sums[i] += total[i]
            for j in range(channels):
                products[i, j] += part[i, j]
        part[:] = 0
        total[:] = 0
        at += rows


@lru_cache
def convolve(activation: int, gated: bool) -> Any:
    """Give the kernel that normalises, activates and multiplies by the weights."""

    @kernel
    def run(address, one, x, lines, gates, places, weights, out, low, high, found):
        """Write ``out`` from ``x``, whose ``lines`` are mean, scale and shift; ``found`` gets its mean and squares."""
        bytes, channels, outputs = x.itemsize, x.shape[1], out.shape[1]
        tile = tile_rows(max(channels, outputs), bytes)
        active = np.empty((tile, channels), x.dtype)
        shift, sums, squares = np.zeros(outputs, x.dtype), np.zeros(outputs, x.dtype), np.zeros(outputs, x.dtype)
        found[:] = 0
        at = low
        while at < high:
            rows = min(tile, high - at)
            read = np.intp(x.ctypes.data) + at * channels * bytes
            goal = np.intp(active.ctypes.data)
            activate(activation, one, rows, channels, (read, lines[1].ctypes.data, lines[2].ctypes.data, goal))
            if gated:
                done = 0
                while done < rows:
                    picture = (at + done) // places
                    count = min(rows - done, (picture + 1) * places - at - done)
                    start = goal + done * channels * bytes
                    scaled(NONE, one, count, channels, (start, gates[picture].ctypes.data, start))
                    done += count
            written = np.intp(out.ctypes.data) + at * outputs * bytes
            multiply(address, goal, channels, weights.ctypes.data, written, outputs, rows, outputs, channels,
                     following(x, channels * bytes, at + rows, rows, high))  # fmt: skip
            if at == low:
                shift[:] = out[low]
            moments(NONE, one, rows, outputs,
                    (written, shift.ctypes.data, sums.ctypes.data, squares.ctypes.data))  # fmt: skip
            collect(found, sums, squares)
            at += rows
        settle(found, shift, high - low)

    return run


@lru_cache
def unconvolve(activation: int, closing: int, gated: bool) -> Any:
    """Give the backward kernel of ``convolve``; ``closing`` is the activation behind the output's normalisation.

    It is ``NONE`` where the gradient that comes in has been taken through it already.
    """

    @kernel
    def run(address, one, dout, y, behind, x, lines, gates, places, weights, dx, dgates, low, high, dweights, found):
        """Write ``dx``, the gradient before the activation of ``x``, and ``dweights``.

        ``y`` is the output and ``behind`` its scale, shift, k1, k2, k3: its gradient is k1·g + k2·y + k3. ``found``
        gets Σdx and Σdx·(x − mean). With ``gated`` ``dx`` is the gradient behind the activation, ``dgates`` gets that
        of the gates, and ``found`` nothing.
        """
        bytes, channels, outputs = x.itemsize, x.shape[1], y.shape[1]
        tile = tile_rows(max(channels, outputs), bytes)
        active = np.empty((tile, channels), x.dtype)
        dy = np.empty((tile, outputs), x.dtype)
        sums, products = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        found[:] = 0
        dweights[:] = 0
        at = low
        while at < high:
            rows = min(tile, high - at)
            written = at * outputs * bytes
            read = np.intp(x.ctypes.data) + at * channels * bytes
            goal = np.intp(dx.ctypes.data) + at * channels * bytes
            unnormalised(closing, one, rows, outputs,
                         (dout.ctypes.data + written, y.ctypes.data + written, behind[0].ctypes.data,
                          behind[1].ctypes.data, behind[2].ctypes.data, behind[3].ctypes.data, behind[4].ctypes.data,
                          dy.ctypes.data))  # fmt: skip
            multiply(address, dy.ctypes.data, outputs, weights.ctypes.data, goal, channels, rows, channels, outputs,
                     following(x, channels * bytes, at + rows, rows, high))  # fmt: skip
            activate(activation, one, rows, channels,
                     (read, lines[1].ctypes.data, lines[2].ctypes.data, active.ctypes.data))  # fmt: skip
            if gated:
                done = 0
                while done < rows:
                    picture = (at + done) // places
                    count = min(rows - done, (picture + 1) * places - at - done)
                    move = done * channels * bytes
                    start = np.intp(active.ctypes.data) + move
                    ungated(NONE, one, count, channels,
                            (start, gates[picture].ctypes.data, goal + move,
                             dgates[picture].ctypes.data))  # fmt: skip
                    scaled(NONE, one, count, channels, (start, gates[picture].ctypes.data, start))
                    done += count
            outer(address, dy.ctypes.data, outputs, active.ctypes.data, channels, dweights.ctypes.data, channels,
                  rows, outputs, channels, following_both(dout, y, outputs * bytes, at + rows, rows, high))  # fmt: skip
            if not gated:
                masked_slopes(activation, one, rows, channels,
                              (read, lines[1].ctypes.data, lines[2].ctypes.data, lines[0].ctypes.data, goal,
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
        multiply(address, x.ctypes.data + move, channels, m.ctypes.data, extra.ctypes.data, channels, rows, channels,
                 channels, following_both(x, dx, channels * bytes, at + rows, rows, high))  # fmt: skip
        add(NONE, one, rows, channels, (extra.ctypes.data, shift.ctypes.data, dx.ctypes.data + move))
        at += rows
