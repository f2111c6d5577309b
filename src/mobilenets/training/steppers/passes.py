"""What a chain does with one of its units, forward and backward, by kernels on a team of threads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mobilenets.kernels import dense, depthwise, norms, pointwise
from mobilenets.kernels import gates as gating
from mobilenets.kernels.norms import NONE
from mobilenets.kernels.products import packed, product_address
from mobilenets.kernels.threads import run, split
from mobilenets.training.steppers.together import Slice, synchronised
from mobilenets.training.steppers.units import Gate, Unit

Map = Any


class Read(NamedTuple):
    """A map as the next convolution reads it: N×H×W×C values, ``lines`` (mean, scale, shift), and an activation.

    ``inverse`` is one over the deviation; None for the chain's own input. Of a map that is not stored ``values`` is
    None, and ``shape`` is what it would have.
    """

    values: Map
    shape: tuple[int, ...]
    lines: Map
    inverse: Map
    activation: int

    @staticmethod
    def raw(values: Map) -> Read:
        """Give a map that is read as it is."""
        lines = np.zeros((3, values.shape[-1]), values.dtype)
        lines[1] = 1
        return Read(values, values.shape, lines, None, NONE)

    @property
    def rows(self) -> Map:
        """The values as places×channels."""
        return self.values.reshape(-1, self.values.shape[-1])

    @property
    def places(self) -> int:
        """Places of one picture."""
        return self.shape[1] * self.shape[2]


class Weights(NamedTuple):
    """A convolution's weights: outputs×inputs, or places of the filter×channels, and as the forward pass reads them."""

    matrix: Map
    forward: Map

    @staticmethod
    def of(unit: Unit, threads: int) -> Weights:
        """Lay a unit's weights out; those of pictures in the order of their patches."""
        matrix = unit.arrays.weight
        if matrix is None:
            weight = unit.conv.weight.detach().permute(0, 2, 3, 1)
            matrix = weight.reshape(len(weight), -1).contiguous().numpy()
        if unit.filters:
            matrix = np.ascontiguousarray(matrix.T)
            return Weights(matrix, matrix)
        return Weights(matrix, packed(matrix.T, threads))


class Excited(NamedTuple):
    """What was in a gate, pictures×channels: its input, what is between its layers, and around its activation."""

    means: Map
    inner: Map
    before: Map
    gates: Map


def _matrices(gate: Gate) -> list[Map]:
    w1, b1, w2, b2 = (weight.detach() for weight in gate.weights)
    return [w1.reshape(len(w1), -1).numpy(), b1.numpy(), w2.reshape(len(w2), -1).numpy(), b2.numpy()]


def _given(values: Map) -> tuple[int, Any]:
    return product_address(values.dtype), values.dtype.type(1)


def _normalised(values: Map, shape: tuple[int, ...], unit: Unit, parts: Map, counts: Map) -> Read:
    """Make a map of a convolution's output from the moments of its parts, and move the running statistics."""
    norm, part, momentum = unit.arrays, synchronised(), unit.norm.momentum
    if part is not None:
        parts, counts = part.moments(parts, counts)
    running = norm.mean, norm.variance
    assert momentum is not None
    lines, inverse = norms.settled(parts, counts, norm.gamma, norm.beta, unit.norm.eps, running, momentum)
    norm.batches[()] += 1
    return Read(values, shape, lines, inverse, unit.activation)


def _measured(
    function: Any, given: tuple[Any, ...], ranges: list[tuple[int, int]], out: Map, unit: Unit, places: int
) -> Read:
    """Run a kernel that writes ``out`` and its moments; ``places`` of the output for each of what is divided."""
    parts = np.empty((len(ranges), 2, out.shape[-1]))
    run(function, [(*_given(out), *given, *ends, part) for ends, part in zip(ranges, parts, strict=True)])
    counts = np.array([(last - first) * places for first, last in ranges])
    return _normalised(out, out.shape, unit, parts, counts)


def convolve(unit: Unit, weights: Weights, before: Read, shape: tuple[int, ...], threads: int) -> Read:
    """Apply the first convolution to pictures."""
    pictures, rows, columns, inputs = before.shape
    out = np.empty(shape, before.values.dtype)
    function = dense.convolve(unit.size, unit.stride, inputs)
    given = before.values.reshape(pictures, rows, -1), weights.forward, unit.pads(rows)[0], unit.pads(columns)[0], out
    return _measured(function, given, split(pictures, threads), out, unit, shape[1] * shape[2])


def filter(
    unit: Unit, weights: Weights, before: Read, expansion: Weights | None, narrow: Read, shape: tuple[int, ...],
    threads: int,
) -> Read:  # fmt: skip
    """Apply a filter; with ``expansion`` to what that makes of ``narrow``."""
    pictures, rows, columns, _ = before.shape
    source = before if expansion is None else narrow
    out = np.empty(shape, source.values.dtype)
    function = depthwise.convolve(unit.size, unit.stride, before.activation, expansion is not None)
    given: tuple[Any, ...] = (source.values, (expansion or weights).forward, before.lines, weights.matrix)
    given = (*given, unit.pads(rows)[0], unit.pads(columns)[0], out)
    return _measured(function, given, split(pictures, threads), out, unit, shape[1] * shape[2])


def multiply(
    unit: Unit, weights: Weights, before: Read, excited: Excited | None, shape: tuple[int, ...], threads: int
) -> Read:
    """Apply a 1×1 convolution, to what gates leave where there are some."""
    out = np.empty(shape, before.values.dtype)
    function = pointwise.convolve(before.activation, excited is not None)
    gates = before.lines if excited is None else excited.gates
    given = before.rows, before.lines, gates, before.places, weights.forward, out.reshape(-1, shape[-1])
    return _measured(function, given, _rows(before, excited, threads), out, unit, 1)


def _rows(before: Read, excited: Excited | None, threads: int) -> list[tuple[int, int]]:
    """Divide the rows of a map; with gates by whole pictures."""
    if excited is None:
        return split(before.shape[0] * before.places, threads)
    return [(first * before.places, last * before.places) for first, last in split(before.shape[0], threads)]


def gram(rows: Map, threads: int) -> tuple[Map, Map]:
    """Give Σx and Σx·xᵀ of a places×channels map, in float64."""
    channels = rows.shape[1]
    ranges = split(rows.shape[0], threads)
    sums, products = np.zeros((len(ranges), channels)), np.zeros((len(ranges), channels, channels))
    given = *_given(rows), rows
    run(pointwise.gram, [(*given, *ends, *part) for ends, *part in zip(ranges, sums, products, strict=True)])
    return sums.sum(0), products.sum(0)


def unstored(shape: tuple[int, ...], unit: Unit, weights: Weights, sums: Map, products: Map) -> Read:
    """Make the map of an expansion whose moments follow from those of its input."""
    count = shape[0] * shape[1] * shape[2]
    matrix, mean = weights.matrix.astype(np.float64), sums / count
    covariance = products - np.outer(sums, mean)
    squares = np.maximum(((matrix @ covariance) * matrix).sum(1), 0)
    return _normalised(None, shape, unit, np.stack((matrix @ mean, squares))[None], np.array([count]))


def gates(gate: Gate, before: Read, threads: int) -> Excited:
    """Compute a gate from a map."""
    rows, (w1, b1, w2, b2) = before.rows, _matrices(gate)
    pictures, channels = before.shape[0], before.shape[-1]
    means, sides = np.empty((pictures, channels), rows.dtype), split(pictures, threads)
    run(
        gating.squeeze(before.activation),
        [(rows.dtype.type(1), rows, before.lines, before.places, *ends, means) for ends in sides],
    )
    inner = np.empty((pictures, len(w1)), rows.dtype)
    excited = Excited(means, inner, np.empty_like(means), np.empty_like(means))
    run(gating.excite, [(means, w1, b1, w2, b2, inner, excited.before, excited.gates)])
    return excited


def behind(unit: Unit, map: Read, sums: Map, part: Slice | None) -> tuple[Map, Map, Map]:
    """Give scale, shift, k1, k2, k3 of the gradient behind a norm, k1·g + k2·y + k3, and those of gamma and beta.

    ``sums`` are those of each range; ``part`` is the slice of a batch whose norms are synchronised.
    """
    channels, dtype = map.shape[-1], map.lines.dtype
    table = np.empty((5, channels), dtype if map.values is not None else np.float64)
    dgamma, dbeta = np.empty(channels, dtype), np.empty(channels, dtype)
    known, merge = (map.lines, map.inverse, unit.arrays.gamma), None if part is None else part.gradients
    norms.finished(sums, map.shape[0] * map.places, known, table, dgamma, dbeta, merge)
    return table, dgamma, dbeta


def _total(parts: Map) -> Map:
    """Sum parts up, in the place of the first."""
    for part in parts[1:]:
        parts[0] += part
    return parts[0]


def unconvolve(
    unit: Unit, before: Read, after: Read, gradient: Map, behind: Map, closing: int, threads: int
) -> Map:  # fmt: skip
    """Give the gradient of the first convolution's weights, in PyTorch's order."""
    pictures, rows, columns, inputs = before.shape
    ranges = split(pictures, threads)
    outputs, taps = after.shape[-1], unit.size * unit.size * inputs
    dweights = np.empty((len(ranges), outputs, dense.pitch(unit.size, inputs)), gradient.dtype)
    function = dense.unconvolve(unit.size, unit.stride, inputs, closing)
    given: tuple[Any, ...] = (gradient, after.values, behind, before.values.reshape(pictures, rows, -1))
    given = (*_given(gradient), *given, unit.pads(rows)[0], unit.pads(columns)[0])
    run(function, [(*given, *ends, part) for ends, part in zip(ranges, dweights, strict=True)])
    total = _total(dweights)[:, :taps].reshape(outputs, unit.size, unit.size, inputs)
    return total.transpose(0, 3, 1, 2)


def unmultiply(
    weights: Weights, before: Read, after: Read, excited: Excited | None, gradient: Map, behind: Map, closing: int,
    threads: int,
) -> tuple[Map, Map, Map, Map]:  # fmt: skip
    """Give the gradients before the activation of a 1×1 convolution's input, with their sums, of weights and gates.

    With gates the first is that behind the activation, and without sums.
    """
    dx = np.empty(before.shape, gradient.dtype)
    ranges = _rows(before, excited, threads)
    dweights = np.empty((len(ranges), *weights.matrix.shape), gradient.dtype)
    sums = np.empty((len(ranges), 2, before.shape[-1]))
    gates = before.lines if excited is None else excited.gates
    dgates = np.zeros(gates.shape, gates.dtype)
    given: tuple[Any, ...] = (gradient.reshape(after.rows.shape), after.rows, behind, before.rows, before.lines)
    given = (*_given(gradient), *given, gates, before.places, packed(weights.matrix, threads))
    given = (*given, dx.reshape(before.rows.shape), dgates)
    function = pointwise.unconvolve(before.activation, closing, excited is not None)
    run(function, [(*given, *ends, *part) for ends, *part in zip(ranges, dweights, sums, strict=True)])
    return dx, _total(dweights), sums, dgates


def ungate(
    gate: Gate, before: Read, excited: Excited, dgates: Map, gradient: Map, threads: int
) -> tuple[Map, list[Map]]:
    """Take a gradient in place before the activation of what was gated; gives its sums and the gate's gradients."""
    rows, (w1, b1, w2, b2) = before.rows, _matrices(gate)
    found = [np.empty_like(part) for part in (w1, b1, w2, b2)]
    dmeans = np.empty_like(dgates)
    run(gating.unexcite, [(dgates, excited.means, excited.inner, excited.before, w1, w2, *found, dmeans)])
    ranges = split(before.shape[0], threads)
    sums = np.empty((len(ranges), 2, before.shape[-1]))
    given = (rows.dtype.type(1), rows, before.lines, before.places, dmeans, gradient.reshape(rows.shape))
    run(gating.unsqueeze(before.activation), [(*given, *ends, part) for ends, part in zip(ranges, sums, strict=True)])
    return sums, found


def unfilter(
    unit: Unit, weights: Weights, expansion: Weights | None, source: Read, before: Read, after: Read, gradient: Map,
    behind: Map, closing: int, threads: int,
) -> tuple[Map, Map, Map, Map]:  # fmt: skip
    """Give the same for a filter; with ``expansion`` what it adds to the input's, and g1ᵀ·x."""
    dx = np.empty(source.shape, gradient.dtype)
    ranges = split(source.shape[0], threads)
    expanding = (1, 1) if expansion is None else expansion.matrix.shape
    scaled = weights.matrix
    if expansion is not None:
        scaled = packed(expansion.matrix * before.lines[1][:, None])
    dweights = np.zeros((len(ranges), *weights.matrix.shape))
    raw = np.zeros((len(ranges), *expanding), gradient.dtype)
    sums = np.empty((len(ranges), 2, after.shape[-1]))
    top, left = unit.pads(source.shape[1])[0], unit.pads(source.shape[2])[0]
    given: tuple[Any, ...] = (gradient, after.values, behind, source.values, (expansion or weights).forward)
    given = (*given, before.lines, scaled)
    given = (*_given(gradient), *given, weights.matrix, top, left, dx)
    normalised = before.inverse is not None
    function = depthwise.unconvolve(
        unit.size, unit.stride, before.activation, closing, expansion is not None, normalised
    )
    run(function, [(*given, *ends, *part) for ends, *part in zip(ranges, dweights, raw, sums, strict=True)])
    whole = raw.sum(0, dtype=np.float64)
    if expansion is not None:  # Σg1·y of the map that was not stored: y is W·x
        sums = _total(sums)[None]
        sums[0, 1] = (whole * expansion.matrix).sum(1) - before.lines[0].astype(np.float64) * sums[0, 0]
    return dx, _total(dweights).T, sums, whole


def unexpand(
    weights: Weights, before: Read, gradient: Map, raw: Map, gram: Any, behind: Map, threads: int
) -> Map:  # fmt: skip
    """Complete the input's gradient in place, and give that of the expansion's weights.

    The output y = W·x has the gradient k1·g + k2·y + k3; ``gradient`` holds the part of g, ``raw`` is gᵀ·x.
    """
    _, _, k1, k2, k3 = behind
    matrix = weights.matrix.astype(np.float64)
    sums, products = gram
    mix = packed((matrix.T @ (matrix * k2[:, None])).astype(gradient.dtype))
    shift = (k3 @ matrix).astype(gradient.dtype)
    into = gradient.reshape(before.rows.shape)
    given = *_given(gradient), before.rows, mix, shift, into
    run(pointwise.finish, [(*given, *ends) for ends in split(into.shape[0], threads)])
    return raw * k1[:, None] + (matrix @ products) * k2[:, None] + np.outer(k3, sums)
