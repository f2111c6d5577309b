"""Batch normalisation with its activation on maps of rows × channels, each pass as fast as the memory gives.

A map of N pictures in PyTorch's ``channels_last`` is such an array of N·H·W rows, float32 or float64 and C-contiguous.
The kernels take it as one long line: ``wide`` values, a whole number of rows, are read with the numbers of their
channels laid out beside them, so that a narrow map is computed as fast as a wide one. Sums are float32 over short tiles
and float64 over these. A range of rows goes to each thread by a fixed rule, and its sums are merged in the ranges'
order: the same map and the same number of threads always give the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import gcd
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mobilenets.kernels.compile import inlined, kernel
from mobilenets.kernels.threads import run, split

Map = NDArray[Any]

# Of a part of a map, by all who have parts of it: its sums and rows, and then those of the whole.
Merge: TypeAlias = Callable[[Map, int], tuple[Map, int]]

NONE, RELU, RELU6, HARD_SWISH = range(4)
ACTIVATIONS = {"none": NONE, "relu": RELU, "relu6": RELU6, "hard_swish": HARD_SWISH}

WIDE = 512  # values: the numbers beside them stay in the innermost cache
TILE = 64  # wide rows summed in float32
LEAST = 32768  # values a thread takes at least: for fewer it is not worth waking
SEEN = 16  # rows whose mean the others are measured from
LINE = 16  # values of a cache line


class Normalised(NamedTuple):
    """What is kept of a normalisation: per channel ``lines`` (mean, scale, shift) in the map's type.

    The output is the activation of ``y * scale + shift``; ``inverse`` is one over the deviation, in float64.
    """

    lines: Map
    inverse: Map


def normalise(
    y: Map,
    gamma: Map,
    beta: Map,
    epsilon: float,
    running: tuple[Map, Map],
    momentum: float,
    threads: int = 1,
    merge: Callable[[Map, Map], tuple[Map, Map]] | None = None,
) -> Normalised:
    """Measure a map's mean and variance a channel, and return what normalises it.

    ``running`` mean and variance are moved in place by ``momentum`` towards the map's, the variance towards the
    unbiased one, as ``torch.nn.BatchNorm2d`` does. The map is read once. Where it is a part of a larger one, ``merge``
    makes of the moments and counts of its parts those of the whole.
    """
    rows, channels = y.shape
    ranges = _ranges(rows, channels, threads)
    moments = np.empty((len(ranges), 2, channels))
    run(_moments, [(y, *ends, _wide(rows, channels), part) for ends, part in zip(ranges, moments, strict=True)])
    counts = np.array([last - first for first, last in ranges])
    if merge is not None:
        moments, counts = merge(moments, counts)
    return settled(moments, counts, gamma, beta, epsilon, running, momentum)


def settled(
    moments: Map, counts: Map, gamma: Map, beta: Map, epsilon: float, running: tuple[Map, Map], momentum: float
) -> Normalised:
    """Return what normalises a map, from its parts' moments and counts; see ``normalise``."""
    lines, inverse = np.empty((3, gamma.size), gamma.dtype), np.empty(gamma.size)
    finish_moments(moments, counts, gamma, beta, epsilon, *running, momentum, lines, inverse)
    return Normalised(lines, inverse)


def apply(
    y: Map, lines: Map, activation: int, residual: Map | None = None, out: Map | None = None, threads: int = 1
) -> Map:
    """Return ``activation(y * scale + shift)``, plus ``residual`` if there is one, both by channel from ``lines``."""
    out = np.empty_like(y) if out is None else out
    function = _apply(activation, residual is not None)
    wide, other = _wide(*y.shape), y if residual is None else residual
    run(function, [(y, lines, other, out, *ends, wide) for ends in _ranges(len(y), y.shape[1], threads)])
    return out


def gradient_sums(y: Map, dout: Map, lines: Map, activation: int, threads: int = 1) -> Map:
    """Return the sums Σg and Σg·(y − mean), float64 2×channels; g is ``dout`` behind the activation's derivative."""
    ranges = _ranges(len(y), y.shape[1], threads)
    parts = np.empty((len(ranges), 2, y.shape[1]))
    wide, function = _wide(*y.shape), _sums(activation)
    run(function, [(y, dout, lines, *ends, wide, part) for ends, part in zip(ranges, parts, strict=True)])
    sums: Map = parts[0] if len(ranges) == 1 else parts.sum(0)
    return sums


def gradient(
    y: Map,
    dout: Map,
    done: Normalised,
    gamma: Map,
    activation: int,
    out: Map | None = None,
    threads: int = 1,
    merge: Merge | None = None,
) -> tuple[Map, Map, Map]:
    """Return the gradients of the map, of gamma and of beta; see ``normalise`` and ``gradient_sums``.

    Where it is a part of a larger map, ``merge`` makes of its sums and rows those of the whole; the gradients of gamma
    and beta stay those of the part.
    """
    rows, channels = y.shape
    sums = gradient_sums(y, dout, done.lines, activation, threads)
    table, dgamma, dbeta = np.empty((5, channels), y.dtype), np.empty_like(gamma), np.empty_like(gamma)
    finished(sums[None], rows, (done.lines, done.inverse, gamma), table, dgamma, dbeta, merge)
    out = np.empty_like(y) if out is None else out
    wide, function = _wide(rows, channels), _gradient(activation)
    run(function, [(y, dout, table, out, *ends, wide) for ends in _ranges(rows, channels, threads)])
    return out, dgamma, dbeta


def finished(
    sums: Map, rows: int, known: tuple[Map, Map, Map], table: Map, dgamma: Map, dbeta: Map, merge: Merge | None
) -> None:
    """Call ``finish_sums``; ``known`` has lines, inverse and gamma. Of a part of a map, ``table`` is the whole's."""
    finish_sums(sums, rows, *known, table, dgamma, dbeta)
    if merge is not None:
        whole, count = merge(sums.sum(0), rows)
        finish_sums(whole[None], count, *known, table, np.empty_like(dgamma), np.empty_like(dbeta))


def _ranges(rows: int, channels: int, threads: int) -> list[tuple[int, int]]:
    return split(rows, threads, -(-LEAST // channels), LINE)


@functools.lru_cache(1024)
def _wide(rows: int, channels: int) -> int:
    """Count the values that are read with one set of numbers: whole rows, and whole cache lines where it can be."""
    step = LINE // gcd(LINE, channels)
    together = -(-WIDE // channels)
    return max(1, min(-(-together // step) * step, rows)) * channels


@kernel
def _moments(y, first, last, wide, out):
    """Write the mean, and the sum of squares about it, of the rows from ``first`` to before ``last``.

    Values are measured from the mean of a few rows, so that no large mean hides a small deviation.
    """
    channels = y.shape[1]
    flat = y.reshape(-1)
    guess = np.zeros(channels)
    step = max((last - first) // SEEN, 1)
    for row in range(first, last, step):
        for c in range(channels):
            guess[c] += y[row, c]
    origin, total, square = np.empty(wide, y.dtype), np.empty(wide, y.dtype), np.empty(wide, y.dtype)
    for j in range(wide):
        origin[j] = guess[j % channels] / len(range(first, last, step))
    out[:] = 0
    place = first * channels
    while place < last * channels:
        end = min(place + TILE * wide, last * channels)
        total[:] = 0
        square[:] = 0
        while place + 4 * wide <= end:
            u, v = flat[place : place + wide], flat[place + wide : place + 2 * wide]
            w, x = flat[place + 2 * wide : place + 3 * wide], flat[place + 3 * wide : place + 4 * wide]
            for j in range(wide):
                p, q, r, s = u[j] - origin[j], v[j] - origin[j], w[j] - origin[j], x[j] - origin[j]
                total[j] += (p + q) + (r + s)
                square[j] += (p * p + q * q) + (r * r + s * s)
            place += 4 * wide
        while place < end:
            u = flat[place : min(place + wide, end)]
            for j in range(u.size):
                p = u[j] - origin[j]
                total[j] += p
                square[j] += p * p
            place += u.size
        for start in range(0, wide, channels):
            for c in range(channels):
                out[0, c] += total[start + c]
                out[1, c] += square[start + c]
    for c in range(channels):
        away = out[0, c] / (last - first)
        out[1, c] -= out[0, c] * away
        out[0, c] = origin[c] + away


@kernel
def finish_moments(moments, counts, gamma, beta, epsilon, mean, variance, momentum, lines, inverse):
    """Merge the parts' moments (Chan, Golub and LeVeque 1979), move the running ones, and write what normalises."""
    for c in range(lines.shape[1]):
        count, middle, squares = counts[0], moments[0, 0, c], moments[0, 1, c]
        for part in range(1, counts.size):
            apart = moments[part, 0, c] - middle
            both = count + counts[part]
            middle += apart * (counts[part] / both)
            squares += moments[part, 1, c] + apart * apart * (count * (counts[part] / both))
            count = both
        squares = 0.0 if squares < 0 else squares
        mean[c] = (1 - momentum) * mean[c] + momentum * middle
        variance[c] = (1 - momentum) * variance[c] + momentum * (squares / max(count - 1, 1))
        inverse[c] = 1 / np.sqrt(squares / count + epsilon)
        scale = gamma[c] * inverse[c]
        lines[0, c] = middle
        lines[1, c] = scale
        lines[2, c] = beta[c] - middle * scale


@functools.cache
def _apply(activation: int, added: bool) -> Any:
    @kernel
    def apply(y, lines, residual, out, first, last, wide):
        channels = y.shape[1]
        number = y.dtype.type
        zero, three, six, sixth = number(0), number(3), number(6), number(1 / 6)
        a, b = np.empty(wide, y.dtype), np.empty(wide, y.dtype)
        for j in range(wide):
            a[j], b[j] = lines[1, j % channels], lines[2, j % channels]
        flat, into, beside = y.reshape(-1), out.reshape(-1), residual.reshape(-1)
        for place in range(first * channels, last * channels, wide):
            end = min(place + wide, last * channels)
            u, o, e = flat[place:end], into[place:end], beside[place:end]
            for j in range(u.size):
                z = u[j] * a[j] + b[j]
                # Comparisons that are false for what is not a number, so that it stays.
                if activation == RELU or activation == RELU6:  # noqa: SIM109
                    z = zero if z < zero else z
                if activation == RELU6:
                    z = six if z > six else z
                if activation == HARD_SWISH:
                    gate = z + three
                    gate = zero if gate < zero else gate
                    gate = six if gate > six else gate
                    z = z * gate * sixth
                if added:
                    z += e[j]
                o[j] = z

    return apply


@inlined
def derived(activation, d, z, zero, half, third, three, six):
    """Give one gradient times the activation's derivative at ``z``, as PyTorch has it."""
    if activation == RELU:
        return zero if z <= zero else d
    if activation == RELU6:
        return zero if (z <= zero) | (z >= six) else d
    if activation == HARD_SWISH:
        slope = d * (z * third + half)
        slope = d if z >= three else slope
        return zero if z <= -three else slope
    return d


@functools.cache
def _sums(activation: int) -> Any:
    @kernel
    def sums(y, dout, lines, first, last, wide, out):
        channels = y.shape[1]
        number = y.dtype.type
        zero, half, third, three, six = number(0), number(0.5), number(1 / 3), number(3), number(6)
        mean, a, b = np.empty(wide, y.dtype), np.empty(wide, y.dtype), np.empty(wide, y.dtype)
        for j in range(wide):
            c = j % channels
            mean[j], a[j], b[j] = lines[0, c], lines[1, c], lines[2, c]
        total, square = np.empty(wide, y.dtype), np.empty(wide, y.dtype)
        flat, given = y.reshape(-1), dout.reshape(-1)
        out[:] = 0
        place = first * channels
        while place < last * channels:
            stop = min(place + TILE * wide, last * channels)
            total[:] = 0
            square[:] = 0
            while place < stop:
                end = min(place + wide, stop)
                u, d = flat[place:end], given[place:end]
                for j in range(u.size):
                    g = derived(activation, d[j], u[j] * a[j] + b[j], zero, half, third, three, six)
                    total[j] += g
                    square[j] += g * (u[j] - mean[j])
                place = end
            for start in range(0, wide, channels):
                for c in range(channels):
                    out[0, c] += total[start + c]
                    out[1, c] += square[start + c]

    return sums


@kernel
def finish_sums(sums, rows, lines, inverse, gamma, table, dgamma, dbeta):
    """Merge the parts' sums Σg and Σg·(y − mean), and write the gradients of gamma and beta, and ``table``.

    That is the scale and shift of ``y`` before the activation, and k1, k2, k3: the map's gradient is k1·g + k2·y + k3.
    """
    for c in range(lines.shape[1]):
        total, products = 0.0, 0.0
        for part in range(sums.shape[0]):
            total += sums[part, 0, c]
            products += sums[part, 1, c]
        dbeta[c] = total
        dgamma[c] = products * inverse[c]
        scale = gamma[c] * inverse[c]
        along = -scale * inverse[c] * inverse[c] * products / rows
        table[0, c], table[1, c], table[2, c], table[3, c] = lines[1, c], lines[2, c], scale, along
        table[4, c] = -scale * total / rows - along * lines[0, c]


@functools.cache
def _gradient(activation: int) -> Any:
    @kernel
    def gradient(y, dout, table, out, first, last, wide):
        channels = y.shape[1]
        number = y.dtype.type
        zero, half, third, three, six = number(0), number(0.5), number(1 / 3), number(3), number(6)
        laid = np.empty((5, wide), y.dtype)
        for line in range(5):
            for j in range(wide):
                laid[line, j] = table[line, j % channels]
        a, b, k1, k2, k3 = laid[0], laid[1], laid[2], laid[3], laid[4]
        flat, given, into = y.reshape(-1), dout.reshape(-1), out.reshape(-1)
        for place in range(first * channels, last * channels, wide):
            end = min(place + wide, last * channels)
            u, d, o = flat[place:end], given[place:end], into[place:end]
            for j in range(u.size):
                g = derived(activation, d[j], u[j] * a[j] + b[j], zero, half, third, three, six)
                o[j] = k1[j] * g + k2[j] * u[j] + k3[j]

    return gradient
