"""Depthwise filters, forward and backward, in vectors of eight channels that stay in registers over several places.

Written as LLVM code, because no loop that a compiler must analyse first keeps sums of nine or 25 filter weights in
registers. Rows lie in memory as places×channels, and the count of channels is a multiple of ``LANES``. They stand in a
ring, in which a row is made once and found at its number modulo the ring's length; ``table``, int64, has room for the
addresses of those that a filter meets.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import literally, types
from numba.extending import intrinsic

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.vectors import LANES, LINE, Vectors, ask, channel_loop, literal


def _row(builder: Any, table: Any, index: int) -> Any:
    """Load an address."""
    place = builder.add(table, ir.Constant(table.type, 8 * index))
    return builder.load(builder.inttoptr(place, table.type.as_pointer()))


def _ask_on(builder: Any, v: Vectors, ahead: Any, lines: int) -> None:
    """Ask for so many lines with each vector of channels."""
    first = builder.add(ahead, builder.mul(v.at, ir.Constant(ahead.type, lines * LINE // LANES)))
    for line in range(lines):
        ask(builder, builder.add(first, ir.Constant(ahead.type, line * LINE)))


@intrinsic(prefer_literal=True)
def _forward(
    context, size, stride, places, asked, number, table, move, weights, shift, out, channels, sums, squares, ahead
):
    """Filter ``places`` places of a row: at ``table`` lie the addresses of ``size`` rows, of which ``move`` is skipped.

    Adds Σ(y − shift) and Σ(y − shift)² of each channel to ``sums`` and ``squares``. With each vector ``asked`` lines
    from ``ahead`` on are asked for.
    """
    k, s, count = literal(size), literal(stride), literal(places)
    signature = types.void(size, stride, places, asked, number, *[types.intp] * 9)

    def codegen(context, builder, signature, args):
        table, move, weights, shift, out, channels, sums, squares, ahead = args[5:]
        v = Vectors(builder, signature.args[4])
        lines = [builder.add(_row(builder, table, kh), move) for kh in range(k)]
        with channel_loop(builder, channels) as (at, _):
            v.at = at
            _ask_on(builder, v, ahead, literal(asked))
            found = [v.constant(0)] * count
            for kh in range(k):
                seen: dict[int, Any] = {}
                for kw in range(k):
                    weight = v.load(weights, kh * k + kw, channels)
                    for place in range(count):
                        column = place * s + kw
                        if column not in seen:
                            seen[column] = v.load(lines[kh], column, channels)
                        found[place] = v.fma(seen[column], weight, found[place])
            moved, total, square = v.load(shift), v.load(sums), v.load(squares)
            for place, value in enumerate(found):
                v.store(value, out, place, channels)
                away = builder.fsub(value, moved)
                total = builder.fadd(total, away)
                square = v.fma(away, away, square)
            v.store(total, sums)
            v.store(square, squares)
        return context.get_dummy_value()

    return signature, codegen


# What the backward pass reads: values behind the norm, before it, or before it with the sums that its gradient needs.
PLAIN, NORMALISED, MEASURED = range(3)


@intrinsic(prefer_literal=True)
def _backward(
    context, size, stride, parity, lines, places, activation, reads, number, z, table, move, weights, slopes, out,
    channels, norm, sums, products, ahead, beside, apart,
):  # fmt: skip
    """Give the gradient at ``places`` places of an input row, and add to that of the weights and to ``sums``.

    ``z`` are the row's values before their activation; with ``reads`` before the norm too, whose lines (mean, scale,
    shift, one after the other) ``norm`` is, and as ``MEASURED`` ``products`` grows by Σg·(z − mean). At ``table``
    lie the addresses of the gradient's rows, from that which the last of the filter's rows meets; ``move`` leads to the
    place that its last column meets. ``lines`` is the parity of the row, ``parity`` that of the first column, both
    counted from the padded corner. At stride 1 both are 0.
    Unless ``z`` is in the cache, as ``NORMALISED``, as much as is read of it is asked for from ``ahead`` on, and of the
    gradient's rows at ``beside`` and ``apart`` from it.
    """
    k, s, odd, line, count = (literal(value) for value in (size, stride, parity, lines, places))
    act, read = literal(activation), literal(reads)
    signature = types.void(size, stride, parity, lines, places, activation, reads, number, *[types.intp] * 13)

    def codegen(context, builder, signature, args):
        z, table, move, weights, slopes, out, channels, norm, sums, products, ahead, beside, apart = args[8:]
        v = Vectors(builder, signature.args[7])
        # (row i, column j) of the padded input meets filter (kh, kw) at output ((i − kh)/s, (j − kw)/s).
        heights = [kh for kh in range(k) if (line - kh) % s == 0]
        first = (line - heights[-1]) // s
        leftmost = min((odd - kw) // s for kw in range(k) if (odd - kw) % s == 0)
        if count > 1 and s > 1:
            leftmost = min(leftmost, *((odd + 1 - kw) // s for kw in range(k) if (odd + 1 - kw) % s == 0))
        met_rows = {kh: builder.add(_row(builder, table, (line - kh) // s - first), move) for kh in heights}
        with channel_loop(builder, channels) as (at, _):
            v.at = at
            if read != NORMALISED and count > 1:
                _ask_on(builder, v, ahead, 2)
                if line == 0:
                    _ask_on(builder, v, beside, 2 // s)
                    _ask_on(builder, v, builder.add(beside, apart), 2 // s)
            raw = [v.load(z, place, channels) for place in range(count)]
            mean, scale, shift = (v.load(norm, line, channels) for line in range(3)) if read else (None, None, None)
            before = [v.fma(value, scale, shift) for value in raw] if read else raw
            active = [v.activated(value, act) for value in before]
            found = [v.constant(0)] * count
            for kh in heights:
                seen: dict[int, Any] = {}
                for kw in range(k):
                    met = [place for place in range(count) if (odd + place - kw) % s == 0]
                    if not met:
                        continue
                    tap = kh * k + kw
                    weight, slope = v.load(weights, tap, channels), v.load(slopes, tap, channels)
                    for place in met:
                        column = (odd + place - kw) // s - leftmost
                        if column not in seen:
                            seen[column] = v.load(met_rows[kh], column, channels)
                        found[place] = v.fma(seen[column], weight, found[place])
                        slope = v.fma(seen[column], active[place], slope)
                    v.store(slope, slopes, tap, channels)
            total, product = v.load(sums), v.load(products)
            for place, value in enumerate(found):
                value = v.masked(value, before[place], act)
                v.store(value, out, place, channels)
                total = builder.fadd(total, value)
                if read == MEASURED:
                    product = v.fma(value, builder.fsub(raw[place], mean), product)
            v.store(total, sums)
            if read == MEASURED:
                v.store(product, products)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def filter_row(
    size, stride, asked, number, bytes, ring, long, pitch, first, table, weights, shift, out, channels, places, sums,
    squares, ahead,
):  # fmt: skip
    """Filter ``places`` places of an output row with ``size``×``size`` weights, from padded row ``first`` on.

    ``ring`` is the address of ``long`` rows, ``pitch`` values apart; meanwhile what lies at ``ahead`` is asked for,
    ``asked`` lines for eight channels of four places.
    """
    literally(asked)
    literally(size)
    literally(stride)
    for line in range(size):
        table[line] = ring + (first + line) % long * pitch * bytes
    rows = table.ctypes.data
    at = 0
    while at + 4 <= places:
        move, end = at * stride * channels * bytes, out + at * channels * bytes
        _forward(size, stride, 4, asked, number, rows, move, weights, shift, end, channels, sums, squares,
                 ahead + at // 4 * asked * channels // LANES * LINE)  # fmt: skip
        at += 4
    while at < places:
        move, end = at * stride * channels * bytes, out + at * channels * bytes
        _forward(size, stride, 1, 0, number, rows, move, weights, shift, end, channels, sums, squares, 0)
        at += 1


@kernel
def unfilter_row(
    size, stride, activation, reads, number, bytes, line, column, z, ring, long, pitch, table, weights, slopes, out,
    channels, places, norm, sums, products, ahead, beside, apart,
):  # fmt: skip
    """Go through ``places`` places of an input row; see ``_backward``.

    ``line`` is the row and ``column`` the first place's, both in the padded input; ``ring`` is the address of the
    output's gradient at (0, 0) in ``long`` rows with a margin of zeros, ``pitch`` values apart. The last three are the
    addresses of what is asked for.
    """
    literally(size)
    literally(stride)
    literally(activation)
    literally(reads)
    at = 0
    value = channels * bytes
    last = size - 1 if (line - size + 1) % stride == 0 else size - 2
    above = (line - last) // stride
    for index in range((size - 1) // stride + 1):
        table[index] = ring + (above + index) % long * pitch * bytes
    rows = table.ctypes.data
    while at < places:
        place = column + at
        odd = place % stride
        many = 4 if places - at >= 4 and odd == 0 else 1
        left = (place - size + 1) // stride if many == 1 or stride == 1 else place // stride - (size - 1) // 2
        if many == 1 and stride > 1 and (place - size + 1) % stride != 0:
            left = (place - size + 2) // stride
        move, start, end = left * value, z + at * value, out + at * value
        after, other = ahead + at * value, beside + at // stride * value
        if stride == 1:
            if many == 4:
                _backward(size, stride, 0, 0, 4, activation, reads, number, start, rows, move, weights,
                          slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
            else:
                _backward(size, stride, 0, 0, 1, activation, reads, number, start, rows, move, weights,
                          slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
        elif line % stride == 0:
            if many == 4:
                _backward(size, stride, 0, 0, 4, activation, reads, number, start, rows, move, weights,
                          slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
            elif odd == 0:
                _backward(size, stride, 0, 0, 1, activation, reads, number, start, rows, move, weights,
                          slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
            else:
                _backward(size, stride, 1, 0, 1, activation, reads, number, start, rows, move, weights,
                          slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
        elif many == 4:
            _backward(size, stride, 0, 1, 4, activation, reads, number, start, rows, move, weights,
                      slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
        elif odd == 0:
            _backward(size, stride, 0, 1, 1, activation, reads, number, start, rows, move, weights,
                      slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
        else:
            _backward(size, stride, 1, 1, 1, activation, reads, number, start, rows, move, weights,
                      slopes, end, channels, norm, sums, products, after, other, apart)  # fmt: skip
        at += many
