"""Depthwise convolutions with the expansion before them, or the normalisation of what they read, in tiles.

Maps are N×H×W×C, C-contiguous; see ``mobilenets.kernels.pointwise``. A kernel works on pictures ``low`` to ``high``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.filters import MEASURED, NORMALISED, PLAIN, filter_row, unfilter_row
from mobilenets.kernels.pointwise import TILE, collect, settle
from mobilenets.kernels.products import following, following_both, multiply, outer
from mobilenets.kernels.vectors import activate, unnormalised


@kernel
def _last_of(row, rows, high):
    """Say from where on ``rows`` rows are asked for: from ``row``, or the last before ``high`` where it has no more."""
    return max(0, min(row, high - rows))


@lru_cache
def convolve(size: int, stride: int, activation: int, expand: bool) -> Any:
    """Give the kernel that multiplies by expansion weights (with ``expand``), normalises, activates and filters."""
    # What is expanded is read by the product, which asks for it.
    asked = 0 if expand else 2 * stride * stride

    @kernel
    def run(address, one, x, expansion, lines, weights, top, left, y, low, high, found):
        """Write ``y`` from ``x``, whose ``lines`` (or its expansion's) are mean, scale, shift; ``found`` as for 1×1."""
        bytes = x.itemsize
        height, width, inputs = x.shape[1:]
        rows_out, columns_out, channels = y.shape[1:]
        padded = (columns_out - 1) * stride + size
        real = min(width, padded - left)
        band = max(1, TILE // (padded * channels * bytes) // stride)
        band = min(band, rows_out)
        # The padded rows of a picture; they stay until others take their place.
        long = (band - 1) * stride + size
        buffer = np.zeros((long, padded, channels), x.dtype)
        table = np.empty(size, np.int64)
        raw = np.empty((long * width if expand else 1, channels), x.dtype)
        shift = np.zeros(channels, x.dtype)
        found[:] = 0
        sums, squares = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        pitch = padded * channels
        started = False
        for picture in range(low, high):
            have = 0
            for first in range(0, rows_out, band):
                last = min(first + band, rows_out)
                made, end = have, (last - 1) * stride + size
                # Zeros above and below the picture.
                for line in range(made, end):
                    if line < top or line >= top + height:
                        buffer[line % long] = 0
                bottom, above = min(end, top + height), max(made, top)
                if bottom > above:
                    source = x.ctypes.data + ((picture * height + above - top) * width) * inputs * bytes
                    if expand:
                        multiply(address, source, inputs, expansion.ctypes.data, raw.ctypes.data, channels,
                                 (bottom - above) * width, channels, inputs,
                                 following(x, width * inputs * bytes, picture * height + bottom - top, band * stride,
                                           high * height))  # fmt: skip
                        source = raw.ctypes.data
                    for line in range(above, bottom):
                        goal = buffer.ctypes.data + (line % long * padded + left) * channels * bytes
                        given = source + (line - above) * width * channels * bytes
                        activate(
                            activation, one, real, channels, (given, lines[1].ctypes.data, lines[2].ctypes.data, goal)
                        )
                have = end
                after = _last_of(picture * height + min(end - top, height), band * stride, high * height)
                ahead = x.ctypes.data + after * width * inputs * bytes
                for row in range(first, last):
                    goal = y.ctypes.data + ((picture * rows_out + row) * columns_out) * channels * bytes
                    if not started:
                        filter_row(size, stride, asked, one, bytes, buffer.ctypes.data, long, pitch, row * stride,
                                   table, weights.ctypes.data, shift.ctypes.data, goal, channels, 1,
                                   sums.ctypes.data, squares.ctypes.data, ahead)  # fmt: skip
                        shift[:] = y[picture, 0, 0]
                        sums[:] = 0
                        squares[:] = 0
                        started = True
                    filter_row(size, stride, asked, one, bytes, buffer.ctypes.data, long, pitch, row * stride, table,
                               weights.ctypes.data, shift.ctypes.data, goal, channels, columns_out,
                               sums.ctypes.data, squares.ctypes.data,
                               ahead + (row - first) * stride * width * inputs * bytes)  # fmt: skip
                collect(found, sums, squares)
        settle(found, shift, (high - low) * rows_out * columns_out)

    return run


@lru_cache
def unconvolve(size: int, stride: int, activation: int, closing: int, expand: bool, normalised: bool) -> Any:
    """Give the backward kernel of ``convolve``; ``closing`` as for 1×1.

    ``normalised``: the input is a convolution's output, with lines of its own, as it is with ``expand``.
    """
    reads = NORMALISED if expand else MEASURED if normalised else PLAIN

    @kernel
    def run(address, one, dout, y, behind, x, expansion, lines, scaled, weights, top, left, dx, low, high, dweights,
            dexpansion, found):  # fmt: skip
        """Write ``dx``, the gradient before the activation of ``x``, and add to ``dweights``.

        With ``expand`` it is g1·``scaled``, where g1 is the gradient before the expanded map's activation, and
        ``dexpansion`` grows by g1ᵀ·x. ``found`` gets Σg1 and, without, Σdx·(x − mean).
        """
        bytes = x.itemsize
        height, width, inputs = x.shape[1:]
        rows_out, columns_out, channels = y.shape[1:]
        margin = size - 1
        wide = columns_out + 2 * margin
        pitch = wide * channels
        band = min(height, max(1, TILE // (width * channels * bytes)))
        long = (band + margin) // stride + 2
        grads = np.zeros((long, wide, channels), x.dtype)
        table = np.empty(size, np.int64)
        tile = np.empty((band * width if expand else 1, channels), x.dtype)
        filters = np.zeros(weights.shape, x.dtype)
        sums, products = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        found[:] = 0
        for picture in range(low, high):
            have = (top - margin) // stride
            for first in range(0, height, band):
                last = min(first + band, height)
                # Rows of the output's gradient that these rows of the input meet, and those before did not.
                end = (last - 1 + top) // stride + 1
                for line in range(have, end):
                    if line < 0 or line >= rows_out:
                        grads[line % long] = 0
                        continue
                    goal = grads.ctypes.data + (line % long * wide + margin) * channels * bytes
                    move = ((picture * rows_out + line) * columns_out) * channels * bytes
                    unnormalised(closing, one, columns_out, channels,
                                 (dout.ctypes.data + move, y.ctypes.data + move, behind[0].ctypes.data,
                                  behind[1].ctypes.data, behind[2].ctypes.data, behind[3].ctypes.data,
                                  behind[4].ctypes.data, goal))  # fmt: skip
                # And what is read next, in rows of all pictures.
                have, after, below = end, picture * height + last, picture * rows_out + min(end, rows_out)
                rows = (last - first) * width
                source = x.ctypes.data + ((picture * height + first) * width) * inputs * bytes
                goal = dx.ctypes.data + ((picture * height + first) * width) * inputs * bytes
                out, before = goal, source
                if expand:
                    out = before = tile.ctypes.data
                    multiply(address, source, inputs, expansion.ctypes.data, out, channels, rows, channels, inputs,
                             following_both(dout, y, columns_out * channels * bytes, below, band // stride + 1,
                                            high * rows_out))  # fmt: skip
                origin = grads.ctypes.data + margin * channels * bytes
                ahead = x.ctypes.data + _last_of(after, band, high * height) * width * inputs * bytes
                after = _last_of(below, (band + 1) // stride, high * rows_out)
                beside = dout.ctypes.data + after * columns_out * channels * bytes
                for row in range(first, last):
                    move = (row - first) * width * channels * bytes
                    unfilter_row(size, stride, activation, reads, one, bytes, row + top, left, before + move, origin,
                                 long, pitch, table, weights.ctypes.data, filters.ctypes.data, out + move, channels,
                                 width, lines.ctypes.data, sums.ctypes.data, products.ctypes.data,
                                 ahead + move, beside + (row - first) // stride * columns_out * channels * bytes,
                                 y.ctypes.data - dout.ctypes.data)  # fmt: skip
                if expand:
                    outer(address, out, channels, source, inputs, dexpansion.ctypes.data, inputs,
                          rows, channels, inputs,
                          following(x, width * inputs * bytes, after, band, high * height))  # fmt: skip
                    multiply(address, out, channels, scaled.ctypes.data, goal, inputs, rows, inputs, channels,
                             (0, 0, 0))  # fmt: skip
                dweights += filters
                filters[:] = 0
                collect(found, sums, products)

    return run
