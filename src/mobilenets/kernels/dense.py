"""The first convolution: few input channels, every output reads all of them, by patches laid side by side in a tile.

Maps are N×H×W×C, C-contiguous; see ``mobilenets.kernels.pointwise``. A kernel works on pictures ``low`` to ``high``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mobilenets.kernels.compile import inlined, kernel
from mobilenets.kernels.norms import NONE
from mobilenets.kernels.pointwise import TILE, collect, settle
from mobilenets.kernels.products import following_both, multiply, outer
from mobilenets.kernels.vectors import moments, unnormalised


def pitch(size: int, inputs: int) -> int:
    """Count the values a patch takes in memory: ``size``·``size``·``inputs``, and zeros up to a multiple of 8."""
    return -(-size * size * inputs // 8) * 8


@inlined
def _lay(size, stride, inputs, lines, top, left, first, last, columns, patches):
    """Lay the patches of output rows ``first`` to ``last`` of a picture, H×(W·inputs), as rows of ``patches``."""
    height, width = lines.shape
    span = size * inputs
    for row in range(first, last):
        for kh in range(size):
            line = row * stride + kh - top
            inside = line >= 0 and line < height
            source = lines[line if inside else 0]
            for column in range(columns):
                goal = patches[(row - first) * columns + column]
                begin = (column * stride - left) * inputs
                if inside and begin >= 0 and begin + span <= width:
                    for j in range(span):
                        goal[kh * span + j] = source[begin + j]
                else:
                    for j in range(span):
                        there = inside and begin + j >= 0 and begin + j < width
                        goal[kh * span + j] = source[begin + j] if there else 0


@lru_cache
def convolve(size: int, stride: int, inputs: int) -> Any:
    """Give the kernel of the convolution."""
    deep = pitch(size, inputs)
    depth = size * size * inputs

    @kernel
    def run(address, one, x, weights, top, left, y, low, high, found):
        """Write ``y`` from ``x``, N×H×(W·inputs); ``weights`` are packed, ``found`` as for 1×1."""
        bytes = x.itemsize
        rows_out, columns_out, channels = y.shape[1:]
        band = min(rows_out, max(1, TILE // (columns_out * (deep + channels) * bytes)))
        patches = np.zeros((band * columns_out, deep), x.dtype)
        shift, sums, squares = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        found[:] = 0
        started = False
        for picture in range(low, high):
            for first in range(0, rows_out, band):
                last = min(first + band, rows_out)
                _lay(size, stride, inputs, x[picture], top, left, first, last, columns_out, patches)
                rows = (last - first) * columns_out
                goal = np.intp(y.ctypes.data) + (picture * rows_out + first) * columns_out * channels * bytes
                multiply(address, patches.ctypes.data, deep, weights.ctypes.data, goal, channels, rows, channels, depth,
                         (0, 0, 0))  # fmt: skip
                if not started:
                    shift[:] = y[picture, 0, 0]
                    started = True
                moments(NONE, one, rows, channels,
                        (goal, shift.ctypes.data, sums.ctypes.data, squares.ctypes.data))  # fmt: skip
                collect(found, sums, squares)
        settle(found, shift, (high - low) * rows_out * columns_out)

    return run


@lru_cache
def unconvolve(size: int, stride: int, inputs: int, closing: int) -> Any:
    """Give the kernel of the weights' gradient; ``closing`` as for 1×1. Pictures need none."""
    deep = pitch(size, inputs)

    @kernel
    def run(address, one, dout, y, behind, x, top, left, low, high, dweights):
        """Write ``dweights``, outputs×``pitch``."""
        bytes = x.itemsize
        rows_out, columns_out, channels = y.shape[1:]
        band = min(rows_out, max(1, TILE // (columns_out * (deep + channels) * bytes)))
        patches = np.zeros((band * columns_out, deep), x.dtype)
        dy = np.empty((band * columns_out, channels), x.dtype)
        dweights[:] = 0
        for picture in range(low, high):
            for first in range(0, rows_out, band):
                last = min(first + band, rows_out)
                rows = (last - first) * columns_out
                move = (picture * rows_out + first) * columns_out * channels * bytes
                unnormalised(closing, one, rows, channels,
                             (dout.ctypes.data + move, y.ctypes.data + move, behind[0].ctypes.data,
                              behind[1].ctypes.data, behind[2].ctypes.data, behind[3].ctypes.data,
                              behind[4].ctypes.data, dy.ctypes.data))  # fmt: skip
                _lay(size, stride, inputs, x[picture], top, left, first, last, columns_out, patches)
                outer(address, dy.ctypes.data, channels, patches.ctypes.data, deep, dweights.ctypes.data, deep,
                      rows, channels, deep,
                      following_both(dout, y, columns_out * channels * bytes, picture * rows_out + last, band,
                                     high * rows_out))  # fmt: skip

    return run
