"""Squeeze-and-excitation (Hu et al. 2018): a map's mean a channel, two small layers, and the way back.

The gate is hard_sigmoid(W2·relu(W1·mean + b1) + b2), as MobileNetV3 has it. Maps are places×channels with ``places``
rows a picture; see ``mobilenets.kernels.pointwise``, whose kernels multiply by the gate.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.vectors import pool, pooled_slopes


@lru_cache
def squeeze(activation: int) -> Any:
    """Give the kernel of the means over a picture's places behind the activation."""

    @kernel
    def run(one, x, lines, places, low, high, means):
        """Write ``means`` of pictures ``low`` to ``high``."""
        channels, bytes = x.shape[1], x.itemsize
        for picture in range(low, high):
            means[picture] = 0
            pool(activation, one, places, channels,
                 (x.ctypes.data + picture * places * channels * bytes, lines[1].ctypes.data, lines[2].ctypes.data,
                  means[picture].ctypes.data))  # fmt: skip
            for c in range(channels):
                means[picture, c] /= places

    return run


@kernel
def excite(means, w1, b1, w2, b2, inner, before, gates):
    """Write ``inner`` = relu(W1·mean + b1), ``before`` = W2·inner + b2 and the gates, all pictures×channels."""
    zero, three, six = means.dtype.type(0), means.dtype.type(3), means.dtype.type(6)
    for n in range(means.shape[0]):
        for r in range(w1.shape[0]):
            total = b1[r]
            for c in range(w1.shape[1]):
                total += w1[r, c] * means[n, c]
            inner[n, r] = zero if total < zero else total
        for c in range(w2.shape[0]):
            total = b2[c]
            for r in range(w2.shape[1]):
                total += w2[c, r] * inner[n, r]
            before[n, c] = total
            moved = total + three
            moved = zero if moved < zero else moved
            gates[n, c] = (six if moved > six else moved) / six


@kernel
def unexcite(dgates, means, inner, before, w1, w2, dw1, db1, dw2, db2, dmeans):
    """Write the gradients of both layers, and of the means into ``dmeans``; ``dgates`` is written over."""
    zero, three, six = means.dtype.type(0), means.dtype.type(3), means.dtype.type(6)
    pictures = means.shape[0]
    dinner = np.zeros(inner.shape, means.dtype)
    for c in range(w2.shape[0]):
        dw2[c] = 0
        db2[c] = 0
        for n in range(pictures):
            inside = before[n, c] > -three and before[n, c] < three
            slope = dgates[n, c] / six if inside else zero
            db2[c] += slope
            for r in range(w2.shape[1]):
                dw2[c, r] += slope * inner[n, r]
                dinner[n, r] += slope * w2[c, r]
    dmeans[:] = 0
    for r in range(w1.shape[0]):
        dw1[r] = 0
        db1[r] = 0
        for n in range(pictures):
            slope = dinner[n, r] if inner[n, r] > zero else zero
            db1[r] += slope
            for c in range(w1.shape[1]):
                dw1[r, c] += slope * means[n, c]
                dmeans[n, c] += slope * w1[r, c]


@lru_cache
def unsqueeze(activation: int) -> Any:
    """Give the kernel that takes the gradient behind the activation, and that of the means, before it."""

    @kernel
    def run(one, x, lines, places, dmeans, dx, low, high, found):
        """Change ``dx`` in place; ``found`` gets Σdx and Σdx·(x − mean), ``dmeans`` is divided by ``places``."""
        channels, bytes = x.shape[1], x.itemsize
        sums, products = np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        found[:] = 0
        for picture in range(low, high):
            for c in range(channels):
                dmeans[picture, c] /= places
            move = picture * places * channels * bytes
            pooled_slopes(activation, one, places, channels,
                          (x.ctypes.data + move, lines[1].ctypes.data, lines[2].ctypes.data, lines[0].ctypes.data,
                           dmeans[picture].ctypes.data, dx.ctypes.data + move,
                           sums.ctypes.data, products.ctypes.data))  # fmt: skip
            for c in range(channels):
                found[0, c] += sums[c]
                found[1, c] += products[c]
                sums[c] = 0
                products[c] = 0

    return run
