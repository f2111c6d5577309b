"""Products of matrices inside compiled kernels, on tiles that stay in cache.

A block of C, ``PLACES`` rows of ``PANEL`` eights of values, stays in registers while the sum runs (Goto and van de
Geijn 2008). The first factor is read where it lies; the second is packed once for a whole map, so that few rows at a
time cost nothing. Written for our shapes, where one side of a matrix has often 16 to 32 values only.

While a product is computed the memory has nothing to do. So a block first asks for the lines that it will write, and
with each term of a sum for two lines of what the kernel will read next: ``ahead`` is a tuple of an address, the
distance from it to a second one, and how many bytes are wanted from each.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mobilenets.kernels.compile import function_of, kernel
from mobilenets.kernels.norms import LEAST
from mobilenets.kernels.threads import run, split
from mobilenets.kernels.vectors import LINE, Vectors, ask, literal

EIGHT = 8
# With 32 registers of 16 numbers a block is 12 rows of two registers; with 16 of eight 6 rows of two, or 4.
_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if _WIDE else EIGHT
PANEL = 4 if _WIDE else 2
PLACES = 12 if _WIDE else 6
OUTER = 12 if _WIDE else 4  # divides, with fours, every number of channels that kernels take
ARGUMENTS = 13


@intrinsic(prefer_literal=True)
def _block(context, places, eights, outer, number, a, lda, b, ldb, c, ldc, depth, ahead, apart, step):
    """Compute ``places`` rows of ``eights``·8 columns of C: A·B written, or with ``outer`` Aᵀ·B added.

    ``a``, ``b``, ``c`` are addresses of row-major matrices, ``lda`` … their values a row, ``depth`` terms (at least
    one) are summed. With each term the lines at ``ahead`` and ``apart`` from it are asked for, then those ``step`` on.
    """
    count, crossed = literal(places), bool(literal(outer))
    signature = types.void(places, eights, outer, number, *[types.intp] * 10)
    widths = [min(LANES, EIGHT * literal(eights) - at) for at in range(0, EIGHT * literal(eights), LANES)]

    def codegen(context, builder, signature, args):
        a, lda, b, ldb, c, ldc, depth, ahead, apart, step = args[4:]
        double = signature.args[3] == types.float64
        scalar, size = (ir.DoubleType(), 8) if double else (ir.FloatType(), 4)
        kinds = [ir.VectorType(scalar, width) for width in widths]
        whole = a.type

        def at(address: Any, kind: Any) -> Any:
            return builder.inttoptr(address, kind.as_pointer())

        def moved(address: Any, values: int) -> Any:
            return builder.add(address, ir.Constant(whole, values * size)) if values else address

        row = builder.mul(lda, ir.Constant(whole, size))
        rows = [a]
        for _ in range(count - 1):
            rows.append(moved(rows[-1], 1) if crossed else builder.add(rows[-1], row))
        long = builder.mul(ldc, ir.Constant(whole, size))
        goals = [c]
        for _ in range(count - 1):
            goals.append(builder.add(goals[-1], long))
        for goal in goals:  # or each store would wait for its line
            for line in range(0, EIGHT * literal(eights) * size, LINE):
                ask(builder, moved(goal, line // size))
        entry, loop, done = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        term, along, below, asked = (builder.phi(whole) for _ in range(4))
        for phi, start in ((term, ir.Constant(whole, 0)), (along, ir.Constant(whole, 0)), (below, b), (asked, ahead)):
            phi.add_incoming(start, entry)
        sums = [[builder.phi(kind) for kind in kinds] for _ in rows]
        for address in (asked, builder.add(asked, apart)):
            ask(builder, address)
        right = []
        for index, kind in enumerate(kinds):
            right.append(builder.load(at(moved(below, index * LANES), kind), align=size))
        for of_row, start in zip(sums, rows, strict=True):
            value = builder.load(at(builder.add(start, along), scalar), align=size)
            for index, (kind, phi) in enumerate(zip(kinds, of_row, strict=True)):
                name = f"llvm.fma.v{kind.count}f{8 * size}"
                fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
                first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
                spread = builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)
                total = builder.call(fma, (spread, right[index], phi))
                phi.add_incoming(ir.Constant(kind, [ir.Constant(scalar, 0.0)] * kind.count), entry)
                phi.add_incoming(total, loop)
                of_row[index] = total
        asked.add_incoming(builder.add(asked, step), loop)
        after = builder.add(term, ir.Constant(whole, 1))
        term.add_incoming(after, loop)
        along.add_incoming(builder.add(along, row if crossed else ir.Constant(whole, size)), loop)
        below.add_incoming(builder.add(below, builder.mul(ldb, ir.Constant(whole, size))), loop)
        builder.cbranch(builder.icmp_signed("<", after, depth), loop, done)
        builder.position_at_end(done)
        for goal, of_row in zip(goals, sums, strict=True):
            for index, (kind, total) in enumerate(zip(kinds, of_row, strict=True)):
                place = at(moved(goal, index * LANES), kind)
                value = builder.fadd(builder.load(place, align=size), total) if crossed else total
                builder.store(value, place, align=size)
        return context.get_dummy_value()

    return signature, codegen


def _panel(eights: int) -> Any:
    """Give the kernel for one panel of so many eights."""

    @kernel
    def panel(crossed, number, bytes, a, lda, b, ldb, c, ldc, rows, depth, ahead, apart, end):
        """Write all rows of A·B, or with ``crossed`` add all of Aᵀ·B; gives where to ask on."""
        most = OUTER if crossed else PLACES
        at = 0
        while at < rows:
            here, goal = a + at * bytes * (1 if crossed else lda), c + at * ldc * bytes
            step = LINE if ahead < end else 0
            # Once all is asked for, for what is at hand.
            spot, beside = (ahead, apart) if step else (here, 0)
            together = most if at + most <= rows else 4 if at + 4 <= rows else 1
            if crossed and together == OUTER:
                _block(OUTER, eights, 1, number, here, lda, b, ldb, goal, ldc, depth, spot, beside, step)
            elif crossed:
                _block(4, eights, 1, number, here, lda, b, ldb, goal, ldc, depth, spot, beside, step)
            elif together == PLACES:
                _block(PLACES, eights, 0, number, here, lda, b, 8 * eights, goal, ldc, depth, spot, beside, step)
            elif together == 4:
                _block(4, eights, 0, number, here, lda, b, 8 * eights, goal, ldc, depth, spot, beside, step)
            else:
                _block(1, eights, 0, number, here, lda, b, 8 * eights, goal, ldc, depth, spot, beside, step)
            at += together
            ahead += step * depth
        return ahead

    return panel


_panel1, _panel2, _panel3, _panel4 = map(_panel, (1, 2, 3, 4))


@cache
def product_address(dtype: np.dtype[Any]) -> int:
    """Give the address of the function that ``multiply`` and ``outer`` call, for float32 or float64.

    Kernels take it as an argument, so that it is compiled once and not into each of them. Raises ``KeyError`` for other
    types.
    """
    one: Any = {np.dtype(np.float32): np.float32(1), np.dtype(np.float64): np.float64(1)}[np.dtype(dtype)]
    bytes = one.itemsize

    def product(crossed, a, lda, b, ldb, c, ldc, rows, columns, depth, ahead, apart, wanted):
        first, end = 0, ahead + wanted
        while first < columns:
            wide = min(PANEL, (columns - first) // 8)
            goal, start = c + first * bytes, b + first * bytes * (1 if crossed else depth)
            if wide == 1:
                ahead = _panel1(crossed, one, bytes, a, lda, start, ldb, goal, ldc, rows, depth, ahead, apart, end)
            elif wide == 2:
                ahead = _panel2(crossed, one, bytes, a, lda, start, ldb, goal, ldc, rows, depth, ahead, apart, end)
            elif wide == 3:
                ahead = _panel3(crossed, one, bytes, a, lda, start, ldb, goal, ldc, rows, depth, ahead, apart, end)
            else:
                ahead = _panel4(crossed, one, bytes, a, lda, start, ldb, goal, ldc, rows, depth, ahead, apart, end)
            first += 8 * wide

    return function_of(product, types.void(*[types.intp] * ARGUMENTS))


@intrinsic
def _call(context, address, given):
    """Call a C function of whole numbers at ``address``."""
    signature = types.void(types.intp, types.UniTuple(types.intp, ARGUMENTS))

    def codegen(context, builder, signature, args):
        given = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [part.type for part in given])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def following(x, long, at, rows, high):
    """Give ``ahead`` for ``rows`` rows of ``long`` bytes from ``at`` on, as far as there are some before ``high``."""
    half = max(0, min(rows, high - at)) * long // 2
    return np.intp(x.ctypes.data) + at * long, half, half


@kernel
def following_both(x, y, long, at, rows, high):
    """Give ``ahead`` for the same rows of two arrays; see ``following``."""
    start = np.intp(x.ctypes.data)
    return start + at * long, np.intp(y.ctypes.data) - start, max(0, min(rows, high - at)) * long


@kernel
def multiply(address, a, lda, b, c, ldc, rows, columns, depth, ahead):
    """Write C = A·B: A is rows×depth, C rows×columns, row-major at addresses; ``b`` is what ``packed`` gave.

    ``lda`` and ``ldc`` are the values from one row to the next; ``columns`` is a multiple of 8. See the module for
    ``ahead``.
    """
    if rows > 0:
        _call(address, (0, np.intp(a), lda, np.intp(b), 0, np.intp(c), ldc, rows, columns, depth, *ahead))


@kernel
def outer(address, a, lda, b, ldb, c, ldc, rows, outputs, inputs, ahead):
    """Add Aᵀ·B to C: A is rows×outputs, B rows×inputs, C outputs×inputs; outputs and inputs are multiples of 8."""
    if rows > 0:
        _call(address, (1, np.intp(a), lda, np.intp(b), ldb, np.intp(c), ldc, outputs, inputs, rows, *ahead))


@intrinsic(prefer_literal=True)
def _copy(context, crossed, number, given, pitch, into, wide):
    """Copy 8×8 values from rows ``pitch`` apart to rows ``wide`` apart, with ``crossed`` transposed."""
    turned = bool(literal(crossed))
    signature = types.void(crossed, number, *[types.intp] * 4)

    def codegen(context, builder, signature, args):
        given, pitch, into, wide = args[2:]
        v = Vectors(builder, signature.args[1])
        v.at = ir.Constant(pitch.type, 0)
        rows = [v.load(given, index, pitch) for index in range(EIGHT)]
        for apart in (1, 2, 4) if turned else ():  # blocks of 1, 2, 4 change places
            low = [j if j & apart == 0 else j - apart + EIGHT for j in range(EIGHT)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), EIGHT), [j + more for j in low]) for more in (0, apart)]
            for index in [index for index in range(EIGHT) if not index & apart]:
                pair = rows[index], rows[index + apart]
                rows[index], rows[index + apart] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for index, row in enumerate(rows):
            v.store(row, into, index, wide)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def _pack(number, bytes, w, crossed, into, low, high):
    """Lay the columns ``low`` to ``high`` of ``w``, or with ``crossed`` of its transpose, out in panels."""
    outer, inner = w.shape
    depth, columns = (inner, outer) if crossed else (outer, inner)
    whole = depth // 8 * 8
    flat = into.reshape(-1)
    first = low
    while first < high:
        wide = 8 * min(PANEL, (high - first) // 8)
        start = np.intp(into.ctypes.data) + first * depth * bytes
        for j in range(0, wide, 8):
            for k in range(0, whole, 8):
                goal = start + (k * wide + j) * bytes
                if crossed:
                    _copy(1, number, np.intp(w.ctypes.data) + ((first + j) * depth + k) * bytes, depth, goal, wide)
                else:
                    _copy(0, number, np.intp(w.ctypes.data) + (k * columns + first + j) * bytes, columns, goal, wide)
            for k in range(whole, depth):
                for c in range(j, j + 8):
                    flat[first * depth + k * wide + c] = w[first + c, k] if crossed else w[k, first + c]
        first += wide


def packed(b: Any, threads: int = 1) -> Any:
    """Lay a depth×columns matrix, or a transposed view of one, out as ``multiply`` reads it: panel by panel."""
    into = np.empty(b.shape, b.dtype)
    crossed = not b.flags.c_contiguous
    given = (b.dtype.type(1), b.itemsize, b.T if crossed else b, crossed, into)
    run(_pack, [(*given, *ends) for ends in split(b.shape[1], threads, -(-LEAST // b.shape[0]), 8 * PANEL)])
    return into
