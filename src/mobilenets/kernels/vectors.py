"""LLVM code for vectors of channels, and the passes over maps that are written with it.

A map is places×channels in memory; the count of channels is a multiple of ``LANES``. Addresses are whole numbers, so
that a kernel can hand on any part of an array. ``number`` stands for the type of the values (its own value is unused).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mobilenets.kernels.norms import HARD_SWISH, RELU, RELU6

LANES = 8
TOGETHER = 4  # places that a pass computes at once
LINE = 64  # bytes that come from memory at once


class Vectors:
    """Writes LLVM code for vectors of ``LANES`` numbers of one type at an offset ``at`` (in values)."""

    def __init__(self, builder: Any, number: Any) -> None:
        self.builder = builder
        self.number = ir.DoubleType() if number == types.float64 else ir.FloatType()
        self.kind = ir.VectorType(self.number, LANES)
        self.bytes = 8 if number == types.float64 else 4
        self.at: Any = None

    def place(self, base: Any, step: int = 0, width: Any = None) -> Any:
        """Point at ``base`` + (``step``·``width`` + ``at``) values."""
        builder = self.builder
        offset = self.at
        if step:
            offset = builder.add(offset, builder.mul(width, ir.Constant(width.type, step)))
        offset = builder.mul(offset, ir.Constant(offset.type, self.bytes))
        return builder.inttoptr(builder.add(base, offset), self.kind.as_pointer())

    def load(self, base: Any, step: int = 0, width: Any = None) -> Any:
        """Load a vector."""
        return self.builder.load(self.place(base, step, width), align=self.bytes)

    def store(self, value: Any, base: Any, step: int = 0, width: Any = None) -> None:
        """Store a vector."""
        self.builder.store(value, self.place(base, step, width), align=self.bytes)

    def constant(self, value: float) -> Any:
        """Give a vector of one number."""
        return ir.Constant(self.kind, [ir.Constant(self.number, value)] * LANES)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Give a·b + c, rounded once."""
        name = f"llvm.fma.v{LANES}f{8 * self.bytes}"
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, (a, b, c))

    def above(self, value: Any, bound: Any) -> Any:
        """Compare lane by lane; false for NaN."""
        return self.builder.fcmp_ordered(">", value, bound)

    def activated(self, z: Any, activation: int) -> Any:
        """Give the activation of ``z``. What is not a number stays so."""
        builder, zero, six = self.builder, self.constant(0), self.constant(6)
        if activation in (RELU, RELU6):
            z = builder.select(self.above(zero, z), zero, z)
            return builder.select(self.above(z, six), six, z) if activation == RELU6 else z
        if activation == HARD_SWISH:
            moved = builder.fadd(z, self.constant(3))
            gate = builder.select(self.above(zero, moved), zero, moved)
            gate = builder.select(self.above(gate, six), six, gate)
            return builder.fmul(builder.fmul(z, gate), self.constant(1 / 6))
        return z

    def masked(self, gradient: Any, z: Any, activation: int) -> Any:
        """Give ``gradient`` times the activation's slope at ``z``, with PyTorch's values at the corners."""
        builder, zero, six = self.builder, self.constant(0), self.constant(6)
        if activation in (RELU, RELU6):
            kept = builder.select(self.above(z, zero), gradient, zero)
            return builder.select(self.above(six, z), kept, zero) if activation == RELU6 else kept
        if activation == HARD_SWISH:
            slope = self.fma(z, self.constant(1 / 3), self.constant(0.5))
            slope = builder.select(self.above(z, self.constant(-3)), slope, zero)
            slope = builder.select(self.above(self.constant(3), z), slope, self.constant(1))
            return builder.fmul(gradient, slope)
        return gradient


def ask(builder: Any, address: Any) -> None:
    """Ask for a line to be brought into the second cache; no address is a wrong one."""
    number, near = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [near, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    how = [ir.Constant(number, value) for value in (0, 2, 1)]  # to read, second cache, data
    builder.call(function, [builder.inttoptr(address, near), *how])


def literal(value: Any) -> int:
    """Give the number that a literal type stands for."""
    return int(value.literal_value)


def channel_loop(builder: Any, channels: Any) -> Any:
    """Loop over the channels in vectors."""
    return cgutils.for_range_slice(builder, ir.Constant(channels.type, 0), channels, ir.Constant(channels.type, LANES))


def _pass(pointers: str, sums: str, body: Callable[..., Any]) -> Any:
    """Make a pass over places×channels: ``f(activation, number, places, channels, *addresses)``.

    Of the addresses, those in ``pointers`` written in capitals move from place to place, the others hold one value a
    channel; ``sums`` follow them, and grow. ``body(vectors, activation, *values)`` gives what to store at the last of
    ``pointers`` (None: nothing) and what to add to the sums.
    """
    names, adding = pointers.split(), sums.split()

    @intrinsic(prefer_literal=True)
    def run(context, activation, number, places, channels, given):
        act = literal(activation)
        signature = types.void(
            activation, number, types.intp, types.intp, types.UniTuple(types.intp, len(names) + len(adding))
        )

        def codegen(context, builder, signature, args):
            _, _, places, channels, given = args
            v = Vectors(builder, signature.args[1])
            addresses = cgutils.unpack_tuple(builder, given)

            def rows(first: Any, together: int) -> None:
                """Compute ``together`` places from ``first`` on: what all of them read is loaded once."""
                row = builder.mul(first, channels)
                row = builder.mul(row, ir.Constant(channels.type, v.bytes))
                named = list(zip(names, addresses, strict=False))
                with channel_loop(builder, channels) as (at, _):
                    v.at = at
                    fixed = {name: v.load(address) for name, address in named if not name.isupper()}
                    totals = [v.load(address) for address in addresses[len(names) :]]
                    moving = {name: builder.add(address, row) for name, address in named if name.isupper()}
                    for place in range(together):
                        read = (name for name in names if name != "OUT")
                        taken = [fixed[n] if n in fixed else v.load(moving[n], place, channels) for n in read]
                        out, added = body(v, act, *taken)
                        if out is not None:
                            v.store(out, moving[names[-1]], place, channels)
                        totals = [builder.fadd(total, value) for total, value in zip(totals, added, strict=True)]
                    for address, total in zip(addresses[len(names) :], totals, strict=True):
                        v.store(total, address)

            step = ir.Constant(places.type, TOGETHER)
            whole = builder.mul(builder.udiv(places, step), step)
            with cgutils.for_range_slice(builder, ir.Constant(places.type, 0), whole, step) as (first, _):
                rows(first, TOGETHER)
            with cgutils.for_range_slice(builder, whole, places, ir.Constant(places.type, 1)) as (first, _):
                rows(first, 1)
            return context.get_dummy_value()

        return signature, codegen

    return run


@partial(_pass, "X scale shift OUT", "")
def activate(v: Vectors, act: int, x: Any, scale: Any, shift: Any) -> Any:
    """Write out = act(x·scale + shift)."""
    return v.activated(v.fma(x, scale, shift), act), ()


@partial(_pass, "X shift", "sum square")
def moments(v: Vectors, act: int, x: Any, shift: Any) -> Any:
    """Add up Σ(x − shift) and Σ(x − shift)²."""
    away = v.builder.fsub(x, shift)
    return None, (away, v.builder.fmul(away, away))


def _slopes(v: Vectors, act: int, x: Any, scale: Any, shift: Any, mean: Any, g: Any) -> Any:
    """Go behind the activation's slope, g' = g·act'(x·scale + shift), and add up Σg' and Σg'·(x − mean)."""
    g = v.masked(g, v.fma(x, scale, shift), act)
    return g, (g, v.builder.fmul(g, v.builder.fsub(x, mean)))


# g' is stored over g.
masked_slopes = _pass("X scale shift mean G", "sum product", _slopes)


@partial(_pass, "X scale shift mean more G", "sum product")
def pooled_slopes(v: Vectors, act: int, x: Any, scale: Any, shift: Any, mean: Any, more: Any, g: Any) -> Any:
    """Do the same with g + more."""
    return _slopes(v, act, x, scale, shift, mean, v.builder.fadd(g, more))


@partial(_pass, "G X scale shift k1 k2 k3 OUT", "")
def unnormalised(v: Vectors, act: int, g: Any, x: Any, scale: Any, shift: Any, k1: Any, k2: Any, k3: Any) -> Any:
    """Write out = k1·g' + k2·x + k3: the gradient behind BatchNorm."""
    g = v.masked(g, v.fma(x, scale, shift), act)
    return v.fma(g, k1, v.fma(x, k2, k3)), ()


@partial(_pass, "X shift ADDED", "")
def add(v: Vectors, act: int, x: Any, shift: Any, out: Any) -> Any:
    """Write out += x + shift, x another map."""
    return v.builder.fadd(v.builder.fadd(x, shift), out), ()


@partial(_pass, "X scale shift", "sum")
def pool(v: Vectors, act: int, x: Any, scale: Any, shift: Any) -> Any:
    """Add up Σact(x·scale + shift)."""
    return None, (v.activated(v.fma(x, scale, shift), act),)


@partial(_pass, "X gate OUT", "")
def scaled(v: Vectors, act: int, x: Any, gate: Any) -> Any:
    """Write out = x·gate."""
    return v.builder.fmul(x, gate), ()


@partial(_pass, "X gate G", "product")
def ungated(v: Vectors, act: int, x: Any, gate: Any, g: Any) -> Any:
    """Go the way back of ``scaled``: g·gate is stored over g, and Σg·x added up."""
    return v.builder.fmul(g, gate), (v.builder.fmul(g, x),)
